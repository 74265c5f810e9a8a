//! Creating and opening: the lease, the head, the tail, and what has to be said first.
//!
//! INVARIANT(known): a log is written to only where the head store has a record of it, the record's checkpoint verifies, and the
//! stored log reaches at least to it. Nothing missing is made up.

use std::{
    path::Path,
    sync::{Arc, Mutex, OnceLock, RwLock, atomic::AtomicBool},
};

use indelible_core::{
    FORMAT_VERSION,
    checkpoint::{Checkpoint, Origin},
    control::{Control, EntryKeyInfo, LogCreated, SignaturePolicy},
    entry::{KeptHead, Line},
    head::{HeadRecord, none_kept},
    hex,
    mac::{self, EntryKey, LogId},
    note::{NoteSigner as _, VerifyingKey},
    time::Micros,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, empty_root, leaf_hash},
};
use indelible_keys::{CheckpointSigner, KeyError, KeyRing, check_apart};
use indelible_store::{
    driver::{Driver, Recovered, TailCheck},
    heads::HeadStore,
    store::{LogInfo, Reader, StoreError, Writer, parse_line},
};

use crate::{
    error::{AppendError, LogError},
    log::{Inner, Log, get},
    options::Options,
    publisher::{Keep, Publisher},
    queue::{Queue, lock},
    sequencer::{ClockWatch, Sequencer, Signing},
};

impl Log {
    /// Creates a log in a directory where nothing is yet, with its entry 0, and publishes and keeps its first checkpoint.
    ///
    /// # Errors
    /// [`LogError`]. Nothing that existed is changed.
    pub fn create(path: &Path, origin: &str, keys: &KeyRing, options: Options) -> Result<Self, LogError> {
        check_apart(keys.dir(), path)?;
        Self::create_in(&options.directory(path), origin, keys, options)
    }

    /// Creates a log in any place.
    ///
    /// # Errors
    /// [`LogError`]. Nothing that existed is changed.
    pub fn create_in(place: &dyn Driver, origin: &str, keys: &KeyRing, options: Options) -> Result<Self, LogError> {
        let refused = || LogError::Origin { origin: origin.to_owned() };
        let _: Origin = origin.parse().map_err(|_| refused())?;
        check_places(keys, &options)?;
        let heads = options.heads_for(keys);
        if heads.load(origin)?.is_some() {
            return Err(LogError::OriginTaken { origin: origin.to_owned(), place: heads.place(origin) });
        }
        let log_id = LogId(options.entropy.salt());
        let info = LogInfo { origin: origin.to_owned(), log_id, format: FORMAT_VERSION };
        let store = place.create(&info)?;
        let first = HeadRecord {
            checkpoint: String::new(),
            frozen: None,
            kept: none_kept(),
            log_id,
            signed_at: options.clock.now(),
        };
        let parts = Parts {
            store,
            heads: Arc::clone(&heads),
            signer: keys.checkpoint_signer(origin)?,
            signing: signing(keys, log_id, origin),
            log_id,
            head: first,
            tree: TreeHead { size: TreeSize(0), root: empty_root() },
            next: 0,
            prev: leaf_hash(b""),
            anchored_leaf: leaf_hash(b""),
            last_time: None,
            kept: None,
            named: 0,
        };
        let predecessor = options.predecessor.clone();
        let log = start(parts, options);
        let inner = &log.inner;
        let created = Control::LogCreated(LogCreated {
            checkpoint_keys: vec![inner.signer.verifying_key().to_string()],
            entry_key: EntryKeyInfo {
                algorithm: mac::ALGORITHM.to_owned(),
                epoch: 1,
                id: keys.entry_key_id(),
                version: keys.entry_key_version(),
            },
            format: FORMAT_VERSION,
            log_id: log_id.to_string(),
            origin: origin.to_owned(),
            policy: SignaturePolicy { checkpoint_algorithms: vec!["ed25519".to_owned()], require: "all".to_owned() },
            predecessor,
        });
        inner.append_control(|_| Ok(created.clone()))?;
        inner.publish_first(origin)?;
        Ok(log)
    }

    /// Opens the log in a directory for writing. What a crash left is recovered first, and said in the log.
    ///
    /// # Errors
    /// [`LogError`]: without the lease, without the head record, or where the log contradicts it, nothing is changed.
    pub fn open(path: &Path, keys: &KeyRing, options: Options) -> Result<Self, LogError> {
        check_apart(keys.dir(), path)?;
        Self::open_in(&options.directory(path), keys, options)
    }

    /// Opens the log in any place for writing.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn open_in(place: &dyn Driver, keys: &KeyRing, options: Options) -> Result<Self, LogError> {
        check_places(keys, &options)?;
        // INVARIANT(lease): before the head is looked up, or a writer that is just ending moves it under our eyes.
        let leased = place.lease()?;
        let info = leased.reader().info().clone();
        let origin = info.origin.clone();
        let heads = options.heads_for(keys);
        let signer = keys.checkpoint_signer(&origin)?;
        let (head, tree) = load_head(&*heads, &info, signer.verifying_key())?;
        if let Some(reason) = head.frozen {
            return Err(LogError::Frozen { origin, reason });
        }
        let size = leased.reader().size()?;
        if size < tree.size {
            return Err(rolled_back(size, tree.size));
        }
        let created = entry_zero(leased.reader())?;
        if created.entry_key.id != keys.entry_key_id() {
            let (wanted, held) = (created.entry_key.id, keys.entry_key_id());
            return Err(KeyError::NotThisLog { wanted, held }.into());
        }
        let signing = signing(keys, info.log_id, &origin);
        let check = OwnLines { signing: &signing };
        let (store, recovered) = leased.open(&tree, &check)?;
        let anchored = get(&*store, LeafIndex(tree.size.0.saturating_sub(1)))?;
        let last_time = match recovered.last_recorded_at {
            Some(time) => Some(time),
            None => indelible_core::entry::EntryRef::parse(&anchored.entry).ok().and_then(|entry| entry.recorded()),
        };
        let kept = if store.shared() { None } else { unnamed_kept(&*store, head.kept, recovered.size)? };
        let named = head.kept.number - u64::from(kept.is_some());
        let parts = Parts {
            store,
            heads,
            signer,
            signing,
            log_id: info.log_id,
            head,
            tree,
            next: recovered.size,
            prev: recovered.last_leaf,
            anchored_leaf: leaf_hash(&anchored.entry),
            last_time,
            kept,
            named,
        };
        let log = start(parts, options);
        log.inner.resume(&recovered)?;
        Ok(log)
    }
}

/// The log ends before entries that a signed head covers.
pub(crate) fn rolled_back(size: TreeSize, known: TreeSize) -> LogError {
    let detail = format!(
        "the log ends here, the newest head covers {known} entries: it was rolled back or cut, and is not to be repaired"
    );
    LogError::Evidence { index: size.0, detail }
}

fn check_places(keys: &KeyRing, options: &Options) -> Result<(), LogError> {
    for other in &options.keep_apart {
        check_apart(keys.dir(), other)?;
    }
    Ok(())
}

fn signing(keys: &KeyRing, log_id: LogId, origin: &str) -> Signing {
    let key: EntryKey = keys.entry_key(log_id, origin, 1);
    Signing { origin: origin.into(), key_id: key.id().into(), key }
}

/// The newest head, verified; refused where it is missing or about another log.
fn load_head(heads: &dyn HeadStore, info: &LogInfo, key: &VerifyingKey) -> Result<(HeadRecord, TreeHead), LogError> {
    let place = heads.place(&info.origin);
    let Some(head) = heads.load(&info.origin)? else {
        return Err(LogError::HeadMissing { origin: info.origin.clone(), place });
    };
    if head.log_id != info.log_id {
        return Err(LogError::OtherLog { place });
    }
    let checkpoint = Checkpoint::open(head.checkpoint.as_bytes(), key)?;
    Ok((head, checkpoint.head))
}

/// Entry 0, which says what the log is.
///
/// # Errors
/// [`LogError::Evidence`] where it does not say so.
pub(crate) fn entry_zero(reader: &dyn Reader) -> Result<LogCreated, LogError> {
    let stored = get(reader, LeafIndex(0))?;
    let entry = indelible_core::entry::EntryRef::parse(&stored.entry)
        .map_err(|source| StoreError::Line { index: 0, source })?;
    match Control::parse(entry.body) {
        Ok(Control::LogCreated(created)) => Ok(created),
        _ => Err(LogError::Evidence { index: 0, detail: "it does not say what the log is".to_owned() }),
    }
}

/// The kept checkpoint that no entry names yet.
fn unnamed_kept(store: &dyn Reader, kept: KeptHead, size: u64) -> Result<Option<KeptHead>, LogError> {
    if kept.number == 0 {
        return Ok(None);
    }
    // Where these bytes do not stand, no line names it.
    let name = format!(",\"head\":{{\"number\":{},", kept.number);
    let finder = memchr::memmem::Finder::new(&name);
    let mut next = kept.size.0;
    while next < size {
        let chunk = store.read(LeafIndex(next), 1 << 18)?;
        if finder.find(&chunk.bytes).is_some() {
            for (index, line) in (next..).zip(chunk.lines()) {
                let line = parse_line(line, index)?;
                if line.entry.head.is_some_and(|head| head.number == kept.number) {
                    return Ok(None);
                }
            }
        }
        next += memchr::memchr_iter(b'\n', &chunk.bytes).count() as u64;
    }
    Ok(Some(kept))
}

struct OwnLines<'a> {
    signing: &'a Signing,
}

impl TailCheck for OwnLines<'_> {
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<String> {
        if line.entry.log != &*self.signing.origin || line.entry.key != &*self.signing.key_id {
            return Some("it names another log or key".to_owned());
        }
        (!self.signing.key.verify(leaf, &line.mac)).then(|| "its signature is wrong".to_owned())
    }
}

struct Parts {
    store: Arc<dyn Writer>,
    heads: Arc<dyn HeadStore>,
    signer: CheckpointSigner,
    signing: Signing,
    log_id: LogId,
    head: HeadRecord,
    tree: TreeHead,
    next: u64,
    prev: Hash,
    anchored_leaf: Hash,
    last_time: Option<Micros>,
    kept: Option<KeptHead>,
    named: u64,
}

fn start(parts: Parts, options: Options) -> Log {
    let monotonic = options.clock.monotonic();
    let now = options.clock.now();
    // A log that was closed for a while finds the clock ahead; only a clock behind its last entry is a step.
    let wall = parts.last_time.filter(|last| last.0 > now.0).unwrap_or(now);
    let inner = Arc::new_cyclic(|me| Inner {
        me: me.clone(),
        store: parts.store,
        heads: parts.heads,
        log_id: parts.log_id,
        signing: parts.signing,
        signer: parts.signer,
        clock: options.clock,
        entropy: options.entropy,
        queue: Queue::default(),
        sequencer: Mutex::new(Sequencer { next: parts.next, prev: parts.prev, clock: ClockWatch { wall, monotonic } }),
        io: Mutex::new(()),
        kept: Mutex::new(parts.kept),
        publisher: Mutex::new(Publisher {
            head: parts.head,
            tree: parts.tree,
            last_leaf: parts.anchored_leaf,
            named: parts.named,
            kept_at: monotonic,
        }),
        keeper: options.keeper.unwrap_or_default(),
        failed: OnceLock::new(),
        closed: AtomicBool::new(false),
        closing: RwLock::default(),
        segment_closed: AtomicBool::new(false),
        unpublished_since: Mutex::new(None),
        publish_every: options.publish_every,
        keep_every: options.keep_every,
        bounded_within: options.bounded_within,
        on_full: options.on_full,
        tending: Mutex::default(),
        tend_due: AtomicBool::new(true),
        prover: Mutex::new(None),
    });
    Log::from_inner(inner)
}

impl Inner {
    /// The first checkpoint of a new log: the head store learns of the log here.
    fn publish_first(&self, origin: &str) -> Result<(), LogError> {
        {
            let mut publisher = lock(&self.publisher);
            let placeholder = publisher.head.clone();
            // INVARIANT(known): the record appears only with a checkpoint over entry 0 in it; until then there is no log.
            let first = self.first_record(&mut publisher)?;
            self.heads.swap(origin, None, &first)?;
            publisher.head = HeadRecord { kept: placeholder.kept, ..first };
            self.store.publish(publisher.head.checkpoint.as_bytes(), None)?;
        }
        self.publish(Keep::Yes)?;
        Ok(())
    }

    /// After opening: shows what a crash kept from being shown, says what was cut, and covers the tail.
    fn resume(&self, recovered: &Recovered) -> Result<(), LogError> {
        // What is not shown now is shown by the next opening: nothing newer may take its place in the head store first.
        self.show_again(recovered.clean).inspect_err(|error| self.fail(error))?;
        if let Some(cut) = &recovered.cut {
            let record = Control::Recovered {
                aside: cut.aside.clone(),
                cut_bytes: cut.bytes,
                cut_sha256: hex::encode(&cut.sha256),
                size: recovered.size,
            };
            self.append_control(|_| Ok(record.clone()))?;
        }
        // A clean end takes the marker away; what `durable` says may be older than the marker.
        if recovered.bounded {
            let since = recovered.size;
            self.append_control(|_| Ok(Control::BoundedGap { since }))?;
        }
        if self.store.size()?.0 > lock(&self.publisher).tree.size.0 {
            self.publish(Keep::No)?;
        }
        Ok(())
    }

    /// The head is swapped before its checkpoint is shown: a crash between the two is made good here. After an unclean end head and checkpoint
    /// are written again in any case: what shows may not be durable.
    fn show_again(&self, clean: bool) -> Result<(), LogError> {
        let publisher = lock(&self.publisher);
        let (head, tree) = (&publisher.head, publisher.tree);
        let newest_is_kept = head.kept.number > 0 && head.kept.size == tree.size;
        if !clean {
            self.heads.swap(&self.signing.origin, Some(head), head)?;
            return self.show(head, newest_is_kept.then_some(head.kept.number));
        }
        let kept_missing = newest_is_kept && self.store.kept(head.kept.number)?.is_none();
        if kept_missing || self.store.checkpoint()?.as_deref() != Some(head.checkpoint.as_bytes()) {
            self.show(head, kept_missing.then_some(head.kept.number))?;
        }
        Ok(())
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Append(error) => error,
            error => Self::Failed { why: crate::error::chain(&error) },
        }
    }
}
