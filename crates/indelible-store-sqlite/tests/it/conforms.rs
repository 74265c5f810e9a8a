//! The conformance suite.

use std::{path::PathBuf, sync::Arc};

use indelible_core::{
    entry::Line,
    tree::{Hash, TreeHead, TreeSize},
};
use indelible_store::{
    conformance::{Found, Harness, Leaving, fault, info, suite},
    driver::{Driver as _, TailCheck, TailFault},
    store::{Reader, Writer},
};
use indelible_store_sqlite::SqliteDriver;

struct Own;

impl TailCheck for Own {
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<TailFault> {
        fault(line, leaf)
    }
}

struct Sqlite {
    driver: SqliteDriver,
    path: PathBuf,
    writer: Option<Arc<dyn Writer>>,
    _folder: tempfile::TempDir,
}

impl Sqlite {
    fn boxed() -> Box<dyn Harness> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let driver = at(&path);
        let writer = Some(driver.create(&info()).unwrap());
        Box::new(Self { driver, path, writer, _folder: folder })
    }
}

#[cfg(not(feature = "sqlcipher"))]
fn at(path: &std::path::Path) -> SqliteDriver {
    SqliteDriver::new(path, None)
}

#[cfg(feature = "sqlcipher")]
fn at(path: &std::path::Path) -> SqliteDriver {
    SqliteDriver::new(path, None).with_key([7; 32])
}

impl Harness for Sqlite {
    fn writer(&self) -> &dyn Writer {
        &**self.writer.as_ref().unwrap()
    }

    fn reopen(&mut self, head: &TreeHead, leaving: Leaving) -> Found {
        let writer = self.writer.take().unwrap();
        if leaving == Leaving::Closed {
            writer.close().unwrap();
        }
        drop(writer);
        let (writer, recovered) = self.driver.lease().unwrap().open(head, &Own).unwrap();
        self.writer = Some(writer);
        Found { size: TreeSize(recovered.size), bounded: recovered.bounded }
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(at(&self.path).open_reader().unwrap())
    }
}

#[test]
fn conforms() {
    suite(&Sqlite::boxed);
}
