//! A real PostgreSQL for tests: started from the installed programs in a directory of its own, stopped and removed afterwards.
//!
//! [`TestServer::start`] gives `None` where no PostgreSQL is installed, and says `SKIPPED` aloud. Whatever else goes wrong ends the
//! test with a panic that says what: this crate serves tests alone.
//!
//! A server goes with its value, after a panic too. Where the test process dies without dropping it, a watchdog stops the
//! server and removes the directory, so a killed test run leaves nothing behind.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot have its server ends here, with the reason")]
#![expect(clippy::print_stdout, reason = "what is skipped is said aloud")]
#![cfg(unix)]

mod account;
mod certificates;
mod options;
mod pooler;
mod programs;
mod replica;
mod server;
mod snapshot;
mod watchdog;

pub use certificates::{Authority, ClientCertificate, ClientFiles, ServerCertificate};
pub use options::Options;
pub use pooler::Pooler;
pub use programs::SERVER_VARIABLE;
pub use server::TestServer;
pub use snapshot::Snapshot;
