//! What every store must pass, whatever it is made of.
//!
//! A store's own tests implement [`Harness`] and call [`suite`]. The suite panics at the first promise of the seam
//! ([`crate::store`]) that is not kept, and names the case in its output. Crashes are not here: they are tested by each store with its own means.

mod cases;
mod scribe;

use std::sync::Arc;

use indelible_core::tree::{TreeHead, TreeSize};

pub use self::scribe::{Scribe, fault, id, info, sign};
use crate::store::{Reader, Writer};

/// How a writer goes before it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// By [`Writer::close`].
    Closed,
    /// Without a word, as a process that is killed. Nothing that was written is lost.
    Dropped,
}

/// What a writer found when it came again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Entries that are there.
    pub size: TreeSize,
    /// Whether bounded acknowledgements may have been open.
    pub bounded: bool,
}

/// A log in the store under test, with its one writer.
pub trait Harness {
    /// The writer. At first it is that of a fresh log of [`info`] without entries.
    fn writer(&self) -> &dyn Writer;

    /// Ends the writer and opens the log again, `head` being its newest head. Lines are the log's own by [`fault`].
    fn reopen(&mut self, head: &TreeHead, leaving: Leaving) -> Found;

    /// A reader that shares nothing with the writer but the store.
    fn reader(&self) -> Arc<dyn Reader>;
}

/// Runs every case, each on a log of its own that `make` gives.
pub fn suite(make: &dyn Fn() -> Box<dyn Harness>) {
    for (name, case) in cases::ALL {
        let _named = Named(name);
        case(&mut *make());
    }
}

/// Tells which case it was, if it fails.
struct Named(&'static str);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "a test suite names what failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("conformance: `{}` failed", self.0);
        }
    }
}
