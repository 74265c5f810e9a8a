//! The seam: append a batch durably, read a range, read the tree, look an id up, keep attachments.
//!
//! A store speaks of *lines* (`docs/format.md` section 5): the entry's exact bytes with batch and MAC around them. A store of
//! another kind keeps the three parts however it likes and gives the same line back.

use std::{any::Any, collections::HashMap, io, ops::Range, path::Path, time::Duration};

use indelible_core::{
    entry::{EntryError, Line},
    mac::LogId,
    tile::LevelReader,
    time::Micros,
    tree::{Hash, LeafIndex, TreeSize},
};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Bit 63 of a stored position: the line begins a batch.
pub const BATCH_START: u64 = 1 << 63;

/// The most bytes of lines in one batch: recovery never cuts more than this.
pub const MAX_BATCH_BYTES: usize = 64 << 20;

/// The longest attachment in bytes that a store takes in one piece.
pub const MAX_ATTACHMENT_BYTES: u64 = 1 << 30;

/// How long a store that is away is waited for before callers are told, where nobody says otherwise. Half of what a server gives its callers (30 s): so they are still told, and the log is opened again
/// for the next of them.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What went wrong in a store. Evidence, corruption and operation are told apart.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system refused a step.
    #[error("cannot {step} `{place}`")]
    Io {
        /// The step, as a verb.
        step: &'static str,
        /// File or directory.
        place: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no log here.
    #[error("`{place}` is no log: {detail}")]
    NotALog {
        /// Directory or database.
        place: String,
        /// What is missing, and what to do.
        detail: String,
    },
    /// A log, or something else, is here already.
    #[error("`{place}` exists already: nothing was changed; choose a path that does not exist yet")]
    Exists {
        /// Directory, or database with the log in it.
        place: String,
    },
    /// Written by a newer program.
    #[error("the log at `{place}` has format {found}, this program reads up to format {known}: use a newer program")]
    NewerFormat {
        /// Directory, or database with the log in it.
        place: String,
        /// Its format.
        found: u64,
        /// The newest that is known here.
        known: u32,
    },
    /// Another writer holds the lease.
    #[error(
        "the log at `{place}` has a writer already: stop it, or read beside it (verify, show, tail and export need no lease)"
    )]
    InUse {
        /// Directory, or file of a database.
        place: String,
    },
    /// The directory, or the file of a database, is on a network file system.
    #[error(
        "`{place}` is on a network file system, where locks and syncs are not to be relied on: use a local disk, or say that you accept it"
    )]
    NetworkFileSystem {
        /// Directory, or file of a database.
        place: String,
    },
    /// One of our own derived files is wrong. It can be rebuilt.
    #[error("`{place}` is damaged: {detail}; `indelible log repair` rebuilds it from verified entries")]
    Damaged {
        /// File, or part of a database.
        place: String,
        /// How.
        detail: String,
    },
    /// The primary data contradict what is known of them. Nothing was changed.
    #[error("entry {index}: {detail}; nothing was changed; run `indelible verify` to see all findings")]
    Evidence {
        /// First index concerned.
        index: u64,
        /// What was found.
        detail: String,
    },
    /// Nobody can tell here whether an entry is the log's own, for a secret is missing. Nothing was changed.
    #[error("entry {index} cannot be checked: {detail}; nothing was changed")]
    Unchecked {
        /// Its index.
        index: u64,
        /// What is missing, and what to do.
        detail: String,
    },
    /// What is stored contradicts itself or what is written to it, and at no single entry. Nothing was changed.
    #[error("`{place}` contradicts itself: {detail}; nothing was changed; run `indelible verify` to see all findings")]
    Contradiction {
        /// File or database.
        place: String,
        /// What was found.
        detail: String,
    },
    /// A line is no line.
    #[error("the stored line of entry {index} cannot be read")]
    Line {
        /// Index.
        index: u64,
        /// Why.
        #[source]
        source: EntryError,
    },
    /// Nothing is stored at this index.
    #[error("the log holds no entry {index}: it has {size} entries")]
    NoEntry {
        /// Index asked for.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// The body is absent though its hash is there.
    #[error("the body of entry {index} is absent")]
    Absent {
        /// Index asked for.
        index: u64,
    },
    /// Bodies were not taken away.
    #[error("nothing was pruned in `{place}`: {detail}")]
    NotPruned {
        /// File or database.
        place: String,
        /// Why, and what to do.
        detail: String,
    },
    /// A batch or attachment is larger than its limit.
    #[error("{what} of {bytes} bytes is larger than the {limit} that are allowed")]
    Limit {
        /// What.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A database refused or could not be reached. What was asked for did not happen, or only reading was asked for.
    #[error("cannot {step} in `{place}`")]
    Database {
        /// The step, as a verb with its object.
        step: &'static str,
        /// The database, without a password.
        place: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store is not as it must be before anything is written to it: an older or newer schema, a missing guard, a missing right.
    #[error("`{place}` cannot be used: {detail}")]
    Unfit {
        /// File or database.
        place: String,
        /// What is wrong with it, and what to do.
        detail: String,
    },
    /// Nothing was recorded, and the same may go well at once or soon: the connection was lost, another writer had its turn for too long.
    #[error("`{place}` cannot be used now, and nothing was recorded: {why}")]
    TryAgain {
        /// File or database.
        place: String,
        /// Why.
        why: String,
    },
    /// Logs that do not share a transaction were named for one. Nothing was recorded.
    #[error(
        "log `{origin}` cannot be appended to in one transaction with the others: it has to be in the same database, and opened by the same handle on it"
    )]
    Apart {
        /// The log that is elsewhere.
        origin: String,
    },
    /// A write or sync failed before: what is durable is not known until the log is opened again.
    #[error("the log was closed to writing by an earlier failure ({why}): mend its cause and open the log again")]
    Poisoned {
        /// The earlier failure.
        why: String,
    },
}

impl StoreError {
    /// Wraps an I/O error with its step and place.
    pub fn io(step: &'static str, place: &Path) -> impl FnOnce(io::Error) -> Self {
        let place = place.display().to_string();
        move |source| Self::Io { step, place, source }
    }
}

/// The first 16 bytes of the SHA-256 of an event id: what id lookups compare before they read the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The fingerprint of an event id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

/// A table by fingerprints. They are spread by SHA-256 already, so its hash is a quick one, under a random seed: who chooses ids does not choose places.
pub type FingerprintMap<V> = HashMap<Fingerprint, V, foldhash::fast::RandomState>;

/// One entry of a batch.
#[derive(Clone, Debug)]
pub struct BatchEntry {
    /// Where its line stands in [`Batch::bytes`], line feed included.
    pub line: Range<usize>,
    /// Where the entry's bytes stand.
    pub entry: Range<usize>,
    /// Index of the first entry of the batch that it was first recorded in: [`Batch::first`], but where a log is copied.
    pub batch: u64,
    /// The time that it says: [`Batch::recorded_at`], but where a log is copied.
    pub recorded_at: Micros,
    /// Leaf hash.
    pub leaf: Hash,
    /// Entry signature.
    pub mac: [u8; 32],
    /// Fingerprint of the event's id; `None` for control records.
    pub id: Option<Fingerprint>,
}

/// Entries that become durable together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Index of the first.
    pub first: u64,
    /// What the log's clock read; stores that close segments by age go by it.
    pub recorded_at: Micros,
    /// Number of the kept checkpoint that one of its entries names.
    pub names: Option<u64>,
    /// Index of the last of its entries that says what the log's keys are (a `keys` record), where there is one.
    pub keys: Option<u64>,
    /// Their lines, one behind the other.
    pub bytes: Vec<u8>,
    /// What is where in `bytes`.
    pub entries: Vec<BatchEntry>,
}

/// Whole lines of consecutive entries.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    /// Index of the first.
    pub first: u64,
    /// The lines, each with its line feed.
    pub bytes: Vec<u8>,
}

impl Chunk {
    /// The lines without their line feeds.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        lines(&self.bytes).map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// The lines of `bytes`, each with its line feed; the last may have none. As `split_inclusive`, which looks at every single byte.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

/// A log's settings as its store keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogInfo {
    /// The log's unique name.
    pub origin: String,
    /// Its random id.
    pub log_id: LogId,
    /// Format version.
    pub format: u32,
}

/// A run of lines that the store keeps as one thing (a segment file, a block of rows).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of its first entry, by its name.
    pub first: u64,
    /// Where it is, for messages.
    pub place: String,
    /// Length in bytes, uncompressed, as far as it may be read.
    pub bytes: u64,
    /// Bytes behind these that no writer would have written and that are not read.
    pub beyond: u64,
    /// Whether no more will come.
    pub closed: bool,
    /// In a store of rows, the index behind the last row when this was told: a scan goes on over what it began with.
    pub end: Option<u64>,
}

/// A part of a run. What it says besides its place is the store's own: only the store reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the run, 0 for the first: a byte offset, uncompressed, or the index of a row.
    pub offset: u64,
    /// Length in bytes, uncompressed; 0 in a store of rows, which knows it only when they are read.
    pub bytes: u64,
    /// Ordinal of the store's own unit (a frame, a row) that it begins with.
    pub unit: u64,
    /// How many units.
    pub units: u64,
}

/// What a verification knows when the store checks its derived files.
pub struct Scanned<'a> {
    /// Number of entries below the newest checkpoint.
    pub anchored: TreeSize,
    /// How far the scan came: anchored entries and those behind them.
    pub end: TreeSize,
    /// Whether a writer held the lease when the scan began, or has come since: the files may have grown.
    pub held: bool,
    /// Log id and origin by entry 0.
    pub info: &'a LogInfo,
    /// Number of the newest kept checkpoint.
    pub kept: u64,
    /// Whether everything that derives from the entries is to be compared, however long that takes.
    pub strict: bool,
    /// Sum over the event ids of all entries (see [`id_digest`]); only in a strict scan, and only where no body is absent.
    pub ids: Option<[u64; 4]>,
    /// What was added up over all entries on the way; only where the scan began with entry 0 and found nothing wrong.
    pub summed: Option<Summed>,
}

/// What a scan adds up over entries that it has read anyway, so that no store has to read them again for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summed {
    /// Length of their lines, line feeds included.
    pub bytes: u64,
    /// Number of the kept checkpoint that the last of them names which names one; 0 where none does.
    pub named: u64,
}

/// A derived file, or part of a database, that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DerivedFault {
    /// File, or part of a database.
    pub place: String,
    /// What is wrong.
    pub detail: String,
}

/// The contribution of one (fingerprint, index) to the order-free sum that compares an id index with the entries.
#[must_use]
pub fn id_digest(id: Fingerprint, index: u64) -> [u64; 4] {
    let digest: [u8; 32] = Sha256::new_with_prefix(id.0).chain_update(index.to_le_bytes()).finalize().into();
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(8)) {
        *word = bytes.first_chunk().copied().map_or(0, u64::from_le_bytes);
    }
    words
}

/// Adds word by word; the order of the summands does not matter.
pub fn add_ids(sum: &mut [u64; 4], term: [u64; 4]) {
    for (sum, term) in sum.iter_mut().zip(term) {
        *sum = sum.wrapping_add(term);
    }
}

/// Bodies that an entry says were pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrunedRange {
    /// First index.
    pub first: u64,
    /// Last index, inclusive.
    pub last: u64,
    /// The entry that says so.
    pub record: u64,
}

/// Whether bodies can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruning {
    /// Not in this kind of store.
    Never,
    /// This login lacks the right.
    ByAnotherLogin,
    /// By whoever asks.
    Here,
}

/// What a store says that cannot take bodies away.
#[must_use]
pub fn never_pruned(place: String) -> StoreError {
    let detail = "only a log in PostgreSQL can be pruned; a directory's segments and an SQLite file's rows are only ever added to".to_owned();
    StoreError::NotPruned { place, detail }
}

/// Where a log that several processes write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Entries that are durable.
    pub size: TreeSize,
    /// Leaf hash of the last; that of the empty string where there is none.
    pub last_leaf: Hash,
    /// Time of the last.
    pub recorded_at: Option<Micros>,
    /// Number of the kept checkpoint that no entry names yet.
    pub unnamed: Option<u64>,
    /// Index of the newest entry that says what the log's keys are, by the batches that were appended ([`Batch::keys`]); 0 where none but entry 0 does.
    pub keys: LeafIndex,
}

/// Reading, beside a live writer or without one. Every method may be called from many threads.
///
/// Each fails where the place of the log cannot be read, which its `# Errors` call *the place's*: [`StoreError::Io`] of files; of a database [`StoreError::Database`],
/// [`StoreError::TryAgain`], [`StoreError::Unfit`], [`StoreError::Contradiction`] where it contradicts itself, or [`StoreError::NotALog`] where the log is not in it any more.
pub trait Reader: Send + Sync {
    /// What log this is, by the store's own word.
    fn info(&self) -> &LogInfo;
    /// How many entries are durable. Never falls while the handle lives.
    ///
    /// # Errors
    /// The place's; [`StoreError::Damaged`] where the record of the end is gone.
    fn size(&self) -> Result<TreeSize, StoreError>;
    /// Where the log ends by a record that moves in one transaction with its entries: beside any writers, no entry below it may be missing. `None` in a store
    /// that keeps no such record.
    ///
    /// # Errors
    /// As [`Reader::size`].
    fn end(&self) -> Result<Option<End>, StoreError> {
        Ok(None)
    }
    /// Whole lines from entry `from` on: at least one, then as many as fit into `max_bytes`. Never past [`Reader::size`]. Where there is none it is an error that says why, and never an empty chunk:
    /// who reads a log to its end would not come to it.
    ///
    /// # Errors
    /// [`StoreError::NoEntry`] beyond the end, [`StoreError::Absent`] where only the hash is left, [`StoreError::Evidence`] where an entry should be and none can be read; the place's.
    fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, StoreError>;
    /// The stored runs of lines, in order of their names, for a scan that trusts nothing derived.
    ///
    /// # Errors
    /// The place's. A run that cannot be read is listed: [`Reader::read_piece`] says so.
    fn runs(&self) -> Result<Vec<Run>, StoreError>;
    /// A run cut into pieces of about a mebibyte, each of which can be read by itself.
    ///
    /// # Errors
    /// The place's; [`StoreError::Evidence`] where the run cannot be followed.
    fn pieces(&self, run: &Run) -> Result<Vec<Piece>, StoreError>;
    /// The bytes of a piece: whole lines where the store is whole, whatever stands there otherwise.
    ///
    /// # Errors
    /// The place's; [`StoreError::Evidence`] where nothing can be read there.
    fn read_piece(&self, run: &Run, piece: &Piece) -> Result<Vec<u8>, StoreError>;
    /// How many leaf hashes the stored tree covers: at least the published checkpoint's size.
    ///
    /// # Errors
    /// The place's.
    fn tree_size(&self) -> Result<TreeSize, StoreError>;
    /// Hashes `first .. first + count` of a level of the stored tree ([`indelible_core::tile`]).
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where one of them is not there; the place's.
    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError>;
    /// The published checkpoint.
    ///
    /// # Errors
    /// The place's; [`StoreError::Damaged`] for a file that can be no note by its type or length.
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError>;
    /// A kept checkpoint.
    ///
    /// # Errors
    /// As [`Reader::checkpoint`].
    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError>;
    /// The numbers under which something is kept, in their order: those of checkpoints, and whatever somebody else put there.
    ///
    /// # Errors
    /// The place's.
    fn kept_numbers(&self) -> Result<Vec<u64>, StoreError>;
    /// The highest of them.
    ///
    /// # Errors
    /// The place's.
    fn newest_kept(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.kept_numbers()?.pop())
    }
    /// Indices that an id may stand at: exact ones among them, strangers possible, none missing below [`Reader::size`].
    ///
    /// # Errors
    /// The place's; [`StoreError::Damaged`] where the index is wrong.
    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError>;
    /// Stored positions of entries `first .. first + count` with [`BATCH_START`] where a line begins a batch; `None` for a store that keeps none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where one of them is not there; the place's.
    fn positions(&self, first: u64, count: usize) -> Result<Option<Vec<u64>>, StoreError> {
        let _ = (first, count);
        Ok(None)
    }
    /// Compares the derived files with what a scan of the entries says. Each difference names its place, and says what is wrong there.
    ///
    /// # Errors
    /// The place's: then nothing is known of what is derived.
    fn check_derived(&self, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError>;
    /// Whether a writer holds the lease now.
    ///
    /// # Errors
    /// The place's.
    fn has_writer(&self) -> Result<bool, StoreError>;
    /// Whether this is a copy that another server feeds, and that may be behind it.
    ///
    /// # Errors
    /// The place's.
    fn may_lag(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
    /// An attachment by its SHA-256; not verified here.
    ///
    /// # Errors
    /// The place's; [`StoreError::Io`] too where it is longer than [`MAX_ATTACHMENT_BYTES`].
    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError>;
    /// How many bytes an attachment has; `None` where it is not stored. Its content is not looked at.
    ///
    /// # Errors
    /// The place's.
    fn attachment_size(&self, digest: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        Ok(self.attachment(digest)?.map(|content| content.len() as u64))
    }
}

/// A writer whose reads are those of the reader that it was made with, but for what a writer knows better. It is a [`Reader`] by that.
pub trait ReadsThrough: Send + Sync {
    /// Where reads go.
    fn reader(&self) -> &dyn Reader;
    /// [`Reader::tree_size`], with what is written and not yet seen by readers.
    ///
    /// # Errors
    /// As [`Reader::tree_size`].
    fn writers_tree_size(&self) -> Result<TreeSize, StoreError> {
        self.reader().tree_size()
    }
}

impl<W: ReadsThrough> Reader for W {
    fn info(&self) -> &LogInfo {
        self.reader().info()
    }

    fn size(&self) -> Result<TreeSize, StoreError> {
        self.reader().size()
    }

    fn end(&self) -> Result<Option<End>, StoreError> {
        self.reader().end()
    }

    fn read(&self, from: LeafIndex, max_bytes: usize) -> Result<Chunk, StoreError> {
        self.reader().read(from, max_bytes)
    }

    fn runs(&self) -> Result<Vec<Run>, StoreError> {
        self.reader().runs()
    }

    fn pieces(&self, run: &Run) -> Result<Vec<Piece>, StoreError> {
        self.reader().pieces(run)
    }

    fn read_piece(&self, run: &Run, piece: &Piece) -> Result<Vec<u8>, StoreError> {
        self.reader().read_piece(run, piece)
    }

    fn tree_size(&self) -> Result<TreeSize, StoreError> {
        self.writers_tree_size()
    }

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        self.reader().hashes(level, first, count)
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader().checkpoint()
    }

    fn kept(&self, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader().kept(number)
    }

    fn kept_numbers(&self) -> Result<Vec<u64>, StoreError> {
        self.reader().kept_numbers()
    }

    fn newest_kept(&self) -> Result<Option<u64>, StoreError> {
        self.reader().newest_kept()
    }

    fn lookup(&self, id: Fingerprint) -> Result<Vec<LeafIndex>, StoreError> {
        self.reader().lookup(id)
    }

    fn positions(&self, first: u64, count: usize) -> Result<Option<Vec<u64>>, StoreError> {
        self.reader().positions(first, count)
    }

    fn check_derived(&self, scanned: &Scanned<'_>) -> Result<Vec<DerivedFault>, StoreError> {
        self.reader().check_derived(scanned)
    }

    fn has_writer(&self) -> Result<bool, StoreError> {
        Ok(true)
    }

    fn may_lag(&self) -> Result<bool, StoreError> {
        self.reader().may_lag()
    }

    fn attachment(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.reader().attachment(digest)
    }

    fn attachment_size(&self, digest: &[u8; 32]) -> Result<Option<u64>, StoreError> {
        self.reader().attachment_size(digest)
    }
}

/// A turn: until it goes, nobody else appends to the logs that it was taken for. One that goes without [`Turn::append`] has changed nothing.
///
/// Logs are named by their positions, in the order in which they were given when the turn was taken.
pub trait Turn {
    /// Where each log ends.
    fn ends(&self) -> &[End];
    /// [`Reader::lookup`] for many ids at once, each in the log at its position.
    fn lookup(&mut self, ids: &[(usize, Fingerprint)]) -> Result<Vec<Vec<LeafIndex>>, TurnError>;
    /// [`Reader::read`] in the log at `log`. By the turn's own connection, where there is one: another may not be had before the turn ends.
    fn read(&mut self, log: usize, from: LeafIndex, max_bytes: usize) -> Result<Chunk, TurnError>;
    /// [`Reader::kept`] in the log at `log`, in the same way.
    fn kept(&mut self, log: usize, number: u64) -> Result<Option<Vec<u8>>, TurnError>;
    /// Appends a batch to each log, to all of them or to none, and ends the turn. A log whose batch has no entries is left as it is. At return all of
    /// it is durable. What is known after an error, [`TurnError`] says.
    fn append(self: Box<Self>, batches: &[&Batch]) -> Result<(), TurnError>;
}

/// Why a turn came to nothing. After [`StoreError::TryAgain`], and where a log is named, surely nothing was recorded in any of the logs. After any other error all of the
/// handles are poisoned: the batches may be there or not, all of them or none, and opening again tells.
#[derive(Debug, Error)]
#[error("a turn came to nothing")]
pub struct TurnError {
    /// The log that it is about, by its position; that one's handle is poisoned. `None` where it is about all of them.
    pub log: Option<usize>,
    /// What went wrong.
    #[source]
    pub error: StoreError,
}

impl From<StoreError> for TurnError {
    fn from(error: StoreError) -> Self {
        Self { log: None, error }
    }
}

/// Writing. Where the store is not [`Writer::shared`], one process holds this at a time.
///
/// What `# Errors` call *the place's* is as in [`Reader`]. Behind a failure that leaves open what is durable, appends are [`StoreError::Poisoned`], and in files other writes too.
pub trait Writer: Reader + Any {
    /// Whether other processes append to the same log. Then every append needs a turn.
    fn shared(&self) -> bool {
        false
    }
    /// For how long a turn that could not be had ([`StoreError::TryAgain`]) is tried for again before callers are told.
    fn patience(&self) -> Duration {
        PATIENCE
    }
    /// Takes the turns of this log and of `others` in a shared store, in one transaction. Heads are locked in the store's own order of logs, so that two who want the same
    /// logs never wait for each other. Waits within limits ([`StoreError::TryAgain`]).
    ///
    /// # Errors
    /// [`StoreError::TryAgain`] where the turn cannot be had; [`StoreError::Poisoned`]; the place's. [`StoreError::Apart`] for logs that are not in one database by one handle, or are in a store that is not shared: there the caller's memory is right, and no turn is needed.
    fn take_turn<'a>(&'a self, others: &[&'a (dyn Writer + 'static)]) -> Result<Box<dyn Turn + 'a>, TurnError> {
        let _ = others;
        Err(StoreError::Apart { origin: self.info().origin.clone() }.into())
    }
    /// Appends a batch, in a shared store in a turn of its own. At return it is durable. After [`StoreError::TryAgain`] it is surely not there; after any other error the
    /// handle is poisoned and the batch may be there or not; opening again tells.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a batch above [`MAX_BATCH_BYTES`], [`StoreError::Evidence`] for one that does not go on where the log ends; [`StoreError::Poisoned`]; the place's.
    fn append(&self, batch: &Batch) -> Result<Appended, StoreError>;
    /// Makes ids findable from now on, before their entries are durable. Called in the order of the entries; `end` is the index behind the last. A shared store
    /// has nothing to do: there ids are looked up within the turn, when all that others recorded is durable.
    fn claim(&self, ids: &[(Fingerprint, u64)], end: u64) {
        let _ = (ids, end);
    }
    /// A token that changes whenever ids move from memory to where only [`Reader::lookup`] finds them.
    fn id_token(&self) -> u64 {
        0
    }
    /// Like [`Reader::lookup`] for ids claimed since an earlier lookup that was made under `token`: cheap where the token still holds.
    ///
    /// # Errors
    /// As [`Reader::lookup`].
    fn lookup_recent(&self, id: Fingerprint, token: u64) -> Result<Vec<LeafIndex>, StoreError> {
        let _ = token;
        self.lookup(id)
    }
    /// Extends the stored tree by the leaf hashes of `lines` (already verified, starting at [`Reader::tree_size`]), with its derived
    /// offsets. Not yet durable.
    ///
    /// # Errors
    /// [`StoreError::TryAgain`] where another process extended it meanwhile; [`StoreError::Poisoned`]; the place's.
    fn extend_tree(&self, leaves: &[Hash], lines: &Chunk) -> Result<(), StoreError>;
    /// Makes the stored tree durable.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`]; the place's.
    fn sync_tree(&self) -> Result<(), StoreError>;
    /// Replaces the published checkpoint; with a number, keeps it as well. Durable at return. A shared store never replaces a checkpoint by one of a
    /// smaller tree, and remembers a kept one as not named until a batch names it ([`Batch::names`]).
    ///
    /// # Errors
    /// [`StoreError::Contradiction`] in a shared store that keeps another one under that number, or ends before it; [`StoreError::Poisoned`]; the place's.
    fn publish(&self, checkpoint: &[u8], keep: Option<u64>) -> Result<(), StoreError>;
    /// Stores an attachment durably under the SHA-256 of its content, which is returned.
    ///
    /// # Errors
    /// [`StoreError::Limit`] above [`MAX_ATTACHMENT_BYTES`]; [`StoreError::Unfit`] where a database holds something else under that digest; [`StoreError::Poisoned`]; the place's.
    fn put_attachment(&self, content: &[u8]) -> Result<[u8; 32], StoreError>;
    /// Whether [`Writer::prune`] can do anything here.
    ///
    /// # Errors
    /// The place's.
    fn pruning(&self) -> Result<Pruning, StoreError> {
        Ok(Pruning::Never)
    }
    /// Takes the bodies of a range away, durably, where an entry below the published checkpoint says just that they were pruned; their hashes and ids stay, and so do control
    /// records. Says how many; `told` hears how many so far. After a failure a part is gone, and the rest goes when this is called again.
    ///
    /// # Errors
    /// [`StoreError::NotPruned`] where it is on no record, or never can be; the place's.
    fn prune(&self, range: &PrunedRange, told: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
        let _ = (range, told);
        Err(never_pruned(self.info().origin.clone()))
    }
    /// Says that bounded acknowledgements may be open (until [`Writer::close`]). Durable at return.
    ///
    /// # Errors
    /// The place's: then nothing may be acknowledged so.
    fn mark_bounded(&self) -> Result<(), StoreError>;
    /// Work that can wait: compresses closed segments below `anchored`, merges id files. Returns whether there is more.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`]; the place's. No entry is lost by it, and it is tried again.
    fn tend(&self, anchored: TreeSize) -> Result<bool, StoreError>;
    /// A clean end: everything was appended, checkpointed and published.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`]; the place's. No entry is lost by it: the log is recovered when it is opened.
    fn close(&self) -> Result<(), StoreError>;
}

/// What an append did besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// A segment was closed before this batch: a kept checkpoint is due.
    pub segment_closed: bool,
}

/// The stored tree of a reader, for proofs.
pub struct StoredTree<'a>(pub &'a dyn Reader);

impl LevelReader for StoredTree<'_> {
    type Error = StoreError;

    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, StoreError> {
        self.0.hashes(level, first, count)
    }
}

/// Parses the line of entry `index`.
///
/// # Errors
/// [`StoreError::Line`].
pub fn parse_line(line: &[u8], index: u64) -> Result<Line<'_>, StoreError> {
    Line::parse(line).map_err(|source| StoreError::Line { index, source })
}
