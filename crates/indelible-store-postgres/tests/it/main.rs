//! The PostgreSQL store, against real servers that the tests start themselves.

mod conforms;
mod lost;
mod rollback;
mod server;
mod speed;
mod world;
mod worm;
mod writers;
