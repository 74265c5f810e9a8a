//! File names, the marker `log.json`, and the small file `durable`.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use indelible_core::{FORMAT_VERSION, hex, json, mac::LogId};
use indelible_store::{
    disk::{Disk, read_small},
    store::{LogInfo, MAX_BATCH_BYTES, StoreError},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A marker has an origin of at most 128 bytes and a few numbers.
const MAX_MARKER_BYTES: usize = 4096;

/// Where things are in a log directory.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the log at `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The log directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder directly under the root.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The plain segment that begins with entry `first`.
    #[must_use]
    pub fn segment(&self, first: u64) -> PathBuf {
        self.root.join("segments").join(format!("{first:020}.jsonl"))
    }

    /// The closed, compressed segment that begins with entry `first`.
    #[must_use]
    pub fn closed(&self, first: u64) -> PathBuf {
        self.root.join("segments").join(format!("{first:020}.jsonl.zst"))
    }

    /// A level of the tree.
    #[must_use]
    pub fn level(&self, level: u8) -> PathBuf {
        self.root.join("tree").join(level.to_string())
    }

    /// A kept checkpoint.
    #[must_use]
    pub fn kept(&self, number: u64) -> PathBuf {
        self.root.join("checkpoints").join(format!("{number:020}"))
    }

    /// An attachment.
    #[must_use]
    pub fn attachment(&self, digest: &[u8; 32]) -> PathBuf {
        let name = hex::encode(digest);
        self.root.join("attachments").join(name.get(..2).unwrap_or_default()).join(name)
    }

    /// Refuses folders that are none: a link would lead out of the log.
    ///
    /// # Errors
    /// [`StoreError::NotALog`], [`StoreError::Io`].
    pub fn check_folders(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        for folder in self.folders().iter().skip(1) {
            if disk.meta(folder).map_err(StoreError::io("read", folder))?.is_some_and(|meta| !meta.is_dir) {
                let detail = format!("`{}` is not a directory of its own", folder.display());
                return Err(StoreError::NotALog { place: self.root.display().to_string(), detail });
            }
        }
        Ok(())
    }

    /// Folders of a new log, parents first.
    #[must_use]
    pub fn folders(&self) -> [PathBuf; 7] {
        ["", "segments", "tree", "checkpoints", "ids", "attachments", "aside"]
            .map(|name| if name.is_empty() { self.root.clone() } else { self.root.join(name) })
    }
}

/// A segment is closed before it would grow beyond this, whatever the settings say: 64 times the usual.
pub const MAX_SEGMENT_BYTES: u64 = 4 << 30;
/// No plain segment is longer: batches up to the limit (or one batch alone, which is smaller), and a torn one behind them.
pub const MAX_PLAIN_BYTES: u64 = MAX_SEGMENT_BYTES + MAX_BATCH_BYTES as u64;

/// No log comes to more entries: what JSON can say exactly. A name or file that says more is none of a log's.
pub const MAX_ENTRIES: u64 = 1 << 53;
/// No log comes to more bytes: the highest bit of an offset says something else.
pub const MAX_POSITION: u64 = 1 << 62;

/// How a log directory is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A segment is closed before it would grow beyond this, or beyond [`MAX_SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// A segment is closed when its first entry is older than this.
    pub segment_seconds: u64,
    /// Whether closed segments get the immutable attribute where the system allows.
    pub immutable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, segment_seconds: 86_400, immutable: true }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    format: u64,
    immutable: bool,
    log_id: String,
    origin: String,
    segment_bytes: u64,
    segment_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Deserialize)]
struct AnyMarker {
    format: u64,
}

/// The bytes of `log.json`.
#[must_use]
pub fn marker_bytes(info: &LogInfo, settings: &Settings) -> Vec<u8> {
    let mut marker = Marker {
        format: u64::from(info.format),
        immutable: settings.immutable,
        log_id: info.log_id.to_string(),
        origin: info.origin.clone(),
        segment_bytes: settings.segment_bytes,
        segment_seconds: settings.segment_seconds,
        sha256: None,
    };
    marker.sha256 = Some(hex::encode(&Sha256::digest(canonical(&marker))));
    let mut bytes = canonical(&marker);
    bytes.push(b'\n');
    bytes
}

fn canonical(marker: &Marker) -> Vec<u8> {
    // Strings without escapes and small integers: writing cannot fail; an empty result fails the checksum.
    serde_json::to_vec(marker).ok().and_then(|text| json::canonicalise(&text).ok()).unwrap_or_default()
}

/// Reads `log.json`.
///
/// # Errors
/// [`StoreError::NotALog`], [`StoreError::NewerFormat`], [`StoreError::Damaged`].
pub fn read_marker(disk: &dyn Disk, layout: &Layout) -> Result<(LogInfo, Settings), StoreError> {
    let path = layout.at("log.json");
    let place = || path.display().to_string();
    let bytes = match read_small(disk, &path, MAX_MARKER_BYTES) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => None,
        Err(error)
            if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::IsADirectory) =>
        {
            return Err(StoreError::Damaged { place: place(), detail: error.to_string() });
        }
        result => result.map_err(StoreError::io("read", &path))?,
    };
    let Some(bytes) = bytes else { return Err(no_log(disk, layout)) };
    let damaged = |detail: &str| StoreError::Damaged { place: place(), detail: detail.to_owned() };
    match serde_json::from_slice::<AnyMarker>(&bytes) {
        Ok(any) if any.format > u64::from(FORMAT_VERSION) => {
            let place = layout.root().display().to_string();
            return Err(StoreError::NewerFormat { place, found: any.format, known: FORMAT_VERSION });
        }
        Ok(_) => {}
        Err(_) => return Err(damaged("it is not the marker of a log")),
    }
    let mut marker: Marker = serde_json::from_slice(&bytes).map_err(|_| damaged("a member is missing or unknown"))?;
    let stated = marker.sha256.take();
    if stated != Some(hex::encode(&Sha256::digest(canonical(&marker)))) {
        return Err(damaged("its checksum does not fit"));
    }
    let log_id = LogId::from_hex(&marker.log_id).ok_or_else(|| damaged("`log_id` cannot be read"))?;
    let info = LogInfo { origin: marker.origin, log_id, format: FORMAT_VERSION };
    let settings = Settings {
        segment_bytes: marker.segment_bytes,
        segment_seconds: marker.segment_seconds,
        immutable: marker.immutable,
    };
    if marker_bytes(&info, &settings) != bytes {
        return Err(damaged("it is not in canonical form"));
    }
    Ok((info, settings))
}

fn no_log(disk: &dyn Disk, layout: &Layout) -> StoreError {
    let place = layout.root().display().to_string();
    let detail = match (disk.meta(layout.root()), disk.meta(&layout.at("segments"))) {
        (Ok(None), _) => "there is nothing at that path; `indelible init` creates a log",
        (_, Ok(Some(_))) => {
            "`log.json` is missing though there are segments; `indelible log repair` writes it again from entry 0"
        }
        (Ok(Some(meta)), _) if !meta.is_dir => {
            "it is a file, not a directory; to read foreign records use `indelible import`"
        }
        _ => "the directory has no `log.json`; `indelible init` creates a log at a path that does not exist yet",
    };
    StoreError::NotALog { place, detail: detail.to_owned() }
}

/// How far a log is synced, by the file `durable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Entries.
    pub size: u64,
    /// Position behind the last one.
    pub bytes: u64,
    /// Whether the writer ended cleanly.
    pub done: bool,
}

/// Length of the file `durable`.
pub const DURABLE_BYTES: usize = 128;

impl Durable {
    /// The stored form.
    #[must_use]
    pub fn to_bytes(self) -> [u8; DURABLE_BYTES] {
        let state = if self.done { "done" } else { "open" };
        let head = format!("indelible-durable/1 size={:020} bytes={:020} state={state}", self.size, self.bytes);
        let digest = Sha256::digest(head.as_bytes());
        let line = format!("{head} check={}", hex::encode(digest.get(..8).unwrap_or_default()));
        let mut bytes = [b' '; DURABLE_BYTES];
        for (slot, byte) in bytes.iter_mut().zip(line.bytes().chain(std::iter::repeat_n(b' ', DURABLE_BYTES))) {
            *slot = byte;
        }
        if let Some(last) = bytes.last_mut() {
            *last = b'\n';
        }
        bytes
    }

    /// Reads the stored form; `None` for anything that [`Durable::to_bytes`] would not have written.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut words = text.split_ascii_whitespace().skip(1);
        let size = words.next()?.strip_prefix("size=")?.parse().ok()?;
        let position = words.next()?.strip_prefix("bytes=")?.parse().ok()?;
        let done = words.next()? == "state=done";
        let durable = Self { size, bytes: position, done };
        let can_be = size <= MAX_ENTRIES && position <= MAX_POSITION;
        (can_be && durable.to_bytes() == bytes).then_some(durable)
    }

    /// Reads the file; `None` where it is missing or not whole (it is never synced, so a power cut may leave anything).
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn read(disk: &dyn Disk, layout: &Layout) -> Result<Option<Self>, StoreError> {
        let path = layout.at("durable");
        match read_small(disk, &path, DURABLE_BYTES) {
            Ok(bytes) => Ok(bytes.and_then(|bytes| Self::parse(&bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_says_nothing_that_no_log_comes_to() {
        let most = Durable { size: MAX_ENTRIES, bytes: MAX_POSITION, done: true };
        assert_eq!(Durable::parse(&most.to_bytes()), Some(most));
        for (size, bytes) in [(MAX_ENTRIES + 1, 0), (u64::MAX, 0), (1, MAX_POSITION + 1), (1, u64::MAX)] {
            let durable = Durable { size, bytes, done: false };
            assert_eq!(Durable::parse(&durable.to_bytes()), None, "{durable:?}");
        }
    }

    #[test]
    fn durable_round_trips_and_notices_every_bit() {
        let durable = Durable { size: 12, bytes: 9_999, done: false };
        let bytes = durable.to_bytes();
        assert_eq!(Durable::parse(&bytes), Some(durable));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes;
                changed[at] ^= 1 << bit;
                assert_eq!(Durable::parse(&changed), None, "byte {at} bit {bit}");
            }
        }
    }
}
