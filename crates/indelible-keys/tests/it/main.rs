//! Rings from outside: rotation, compromise, destruction, import, master keys; random histories; processes that are killed.

mod changes;
mod kill;
mod masters;
mod model;
mod world;
