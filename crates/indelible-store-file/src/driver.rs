//! A directory as a place for a log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use indelible_core::{
    FORMAT_VERSION,
    control::{Control, LogCreated},
    entry::Line,
    mac::LogId,
    tree::TreeHead,
};
use indelible_store::{
    disk::{Lease, SharedDisk},
    driver::{Driver, Leased, Recovered, TailCheck},
    store::{LogInfo, Reader, StoreError, Writer},
};

use crate::{FileReader, FileWriter, Settings, layout::Layout, unfinished, writer};

/// A log's directory.
pub struct FileDriver {
    disk: SharedDisk,
    path: PathBuf,
    settings: Settings,
    accept_network_disk: bool,
}

impl FileDriver {
    /// The directory at `path`; `settings` are for a log that is made there.
    #[must_use]
    pub fn new(disk: SharedDisk, path: &Path, settings: Settings) -> Self {
        Self { disk, path: path.to_owned(), settings, accept_network_disk: false }
    }

    /// Accepts a network file system.
    #[must_use]
    pub fn accept_network_disk(mut self, accept: bool) -> Self {
        self.accept_network_disk = accept;
        self
    }

    fn check_disk(&self) -> Result<(), StoreError> {
        let network = self.disk.is_network(&self.path).map_err(StoreError::io("look at", &self.path))?;
        if network && !self.accept_network_disk {
            return Err(StoreError::NetworkFileSystem { place: self.place() });
        }
        Ok(())
    }

    /// What entry 0 says, read from the first segment.
    fn info_of_entry_zero(&self) -> Result<Option<LogInfo>, StoreError> {
        let empty = LogInfo { origin: String::new(), log_id: LogId([0; 16]), format: FORMAT_VERSION };
        let layout = Layout::new(&self.path);
        match self.disk.meta(&layout.at("segments")) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &self.path)(error)),
        }
        let probe = FileReader::with_info(Arc::clone(&self.disk), layout, empty, Settings::default());
        let runs = probe.runs()?;
        let Some(run) = runs.first() else { return Ok(None) };
        let Some(piece) = probe.pieces(run)?.into_iter().next() else { return Ok(None) };
        let bytes = probe.read_piece(run, &piece)?;
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let Ok(line) = Line::parse(line) else { return Ok(None) };
        match Control::parse(line.entry.body) {
            Ok(Control::LogCreated(LogCreated { origin, log_id, .. })) => {
                Ok(LogId::from_hex(&log_id).map(|log_id| LogInfo { origin, log_id, format: FORMAT_VERSION }))
            }
            _ => Ok(None),
        }
    }

    /// The log as files, even where `log.json` is damaged or gone.
    ///
    /// # Errors
    /// As [`Driver::reader_of_entry_zero`].
    pub fn file_reader_of_entry_zero(&self) -> Result<FileReader, StoreError> {
        let error = match FileReader::open(Arc::clone(&self.disk), &self.path) {
            Err(error @ (StoreError::Damaged { .. } | StoreError::NotALog { .. })) => error,
            result => return result,
        };
        let Some(info) = self.info_of_entry_zero()? else { return Err(error) };
        Ok(FileReader::with_info(Arc::clone(&self.disk), Layout::new(&self.path), info, Settings::default()))
    }
}

/// A log as files for reading, even where `log.json` is damaged or gone.
///
/// # Errors
/// As [`Driver::reader_of_entry_zero`].
pub fn reader_of_entry_zero(disk: &SharedDisk, path: &Path) -> Result<FileReader, StoreError> {
    FileDriver::new(Arc::clone(disk), path, Settings::default()).file_reader_of_entry_zero()
}

impl Driver for FileDriver {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn exists(&self) -> Result<bool, StoreError> {
        let there = self.disk.meta(&self.path).map_err(StoreError::io("read", &self.path))?.is_some();
        // What a crash left before there was a log is none: it can be made.
        Ok(there && !unfinished::is(&*self.disk, &Layout::new(&self.path))?)
    }

    fn create(&self, info: &LogInfo) -> Result<Arc<dyn Writer>, StoreError> {
        self.check_disk()?;
        writer::create(&self.disk, &self.path, info, &self.settings)?;
        Ok(Arc::new(FileWriter::open_empty(Arc::clone(&self.disk), &self.path)?))
    }

    fn reader(&self) -> Result<Arc<dyn Reader>, StoreError> {
        Ok(Arc::new(FileReader::open(Arc::clone(&self.disk), &self.path)?))
    }

    fn reader_of_entry_zero(&self) -> Result<Arc<dyn Reader>, StoreError> {
        Ok(Arc::new(self.file_reader_of_entry_zero()?))
    }

    fn lease(&self) -> Result<Box<dyn Leased>, StoreError> {
        self.check_disk()?;
        let lease = writer::lease(&self.disk, &self.path)?;
        let reader = FileReader::open(Arc::clone(&self.disk), &self.path)?;
        Ok(Box::new(LeasedDirectory { lease, reader }))
    }

    fn rebuild(&self, _: &dyn Reader, head: &TreeHead, kept: u64) -> Result<(), StoreError> {
        let reader = self.file_reader_of_entry_zero()?;
        writer::rebuild(&self.disk, &self.path, &reader, head, kept)
    }
}

struct LeasedDirectory {
    lease: Box<dyn Lease>,
    reader: FileReader,
}

impl Leased for LeasedDirectory {
    fn reader(&self) -> &dyn Reader {
        &self.reader
    }

    fn open(
        self: Box<Self>,
        head: &TreeHead,
        check: &dyn TailCheck,
    ) -> Result<(Arc<dyn Writer>, Recovered), StoreError> {
        let (writer, recovered) = FileWriter::open_leased(self.reader, self.lease, head, check)?;
        Ok((Arc::new(writer), recovered))
    }
}
