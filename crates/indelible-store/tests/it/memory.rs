//! The store in memory passes the suite.

use std::sync::Arc;

use indelible_core::tree::{TreeHead, TreeSize};
use indelible_store::{
    conformance::{Found, Harness, Leaving, info, suite},
    memory::MemoryStore,
    store::{Reader, Writer},
};

struct Memory(MemoryStore);

impl Harness for Memory {
    fn writer(&self) -> &dyn Writer {
        &self.0
    }

    fn reopen(&mut self, head: &TreeHead, leaving: Leaving) -> Found {
        if leaving == Leaving::Closed {
            self.0.close().unwrap();
        }
        let size = Reader::size(&self.0).unwrap();
        assert!(size >= head.size);
        Found { size: TreeSize(size.0), bounded: self.0.bounded() }
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.0.clone())
    }
}

#[test]
fn conforms() {
    suite(&|| Box::new(Memory(MemoryStore::new(info()))));
}
