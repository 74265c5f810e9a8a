//! Creating and opening: the lease, the head, the tail, and what has to be said first.
//!
//! INVARIANT(known): a log is written to only where the head store has a record of it, the record's checkpoint verifies, and the
//! stored log reaches at least to it. Nothing missing is made up.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, OnceLock, RwLock, atomic::AtomicBool},
};

use indelible_core::{
    FORMAT_VERSION,
    checkpoint::Origin,
    control::{Control, EntryKeyInfo, LogCreated, SignaturePolicy},
    entry::Line,
    head::{HeadRecord, none_kept},
    hex,
    history::KeyHistory,
    mac::LogId,
    tile::Prover,
    time::Micros,
    tree::{Hash, LeafIndex, TreeHead, TreeSize, empty_root, leaf_hash},
};
use indelible_keys::{KeyRing, check_apart};
use indelible_store::{
    driver::{Driver, Recovered, TailCheck, TailFault},
    heads::HeadStore,
    store::{LogInfo, Reader, StoreError, StoredTree, Writer},
};

use crate::{
    bundle::prove_error,
    error::{AppendError, LogError},
    keys::{KeyFollower, LogKeys, Signing, active_set, stored_history},
    log::{Inner, Log, get},
    making,
    options::Options,
    publisher::{Keep, Publisher},
    put_back,
    queue::{Queue, lock},
    sequencer::{ClockWatch, Sequencer},
    unnamed::Unnamed,
};

impl Log {
    /// Creates a log in a directory where nothing is yet, with its entry 0, and publishes and keeps its first checkpoint. What a crash left of the making of the same
    /// log is made to its end.
    ///
    /// # Errors
    /// [`LogError`]. Nothing that existed is changed.
    pub fn create(path: &Path, origin: &str, keys: &KeyRing, options: Options) -> Result<Self, LogError> {
        check_apart(keys.dir(), path)?;
        Self::create_in(&options.directory(path), origin, keys, options)
    }

    /// Creates a log in any place, as [`Log::create`].
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
        if making::is_begun(place)? {
            return Self::make_whole(place, origin, keys, options);
        }
        let log_id = LogId(options.entropy.salt());
        let created = created(origin, log_id, keys, &options)?;
        let history = Arc::new(KeyHistory::of_created(&created)?);
        let log_keys = Arc::new(LogKeys::new(keys.clone(), log_id, (*history).clone(), Arc::clone(&options.clock)));
        // Before anything is made: keys that cannot sign make nothing.
        log_keys.signing(&history)?;
        let info = LogInfo { origin: origin.to_owned(), log_id, format: FORMAT_VERSION };
        let found = Found { store: place.create(&info)?, size: 0, last_leaf: leaf_hash(b""), last_time: None };
        Self::make(found, created, log_keys, options)
    }

    /// Goes on with a log that the head store does not know, since a crash stopped its making.
    fn make_whole(place: &dyn Driver, origin: &str, keys: &KeyRing, options: Options) -> Result<Self, LogError> {
        let leased = place.lease()?;
        // Whoever was making it may have come to the end of it meanwhile.
        let heads = options.heads_for(keys);
        if heads.load(origin)?.is_some() {
            return Err(LogError::OriginTaken { origin: origin.to_owned(), place: heads.place(origin) });
        }
        let info = leased.reader().info().clone();
        let said = making::said((&place.place(), leased.reader()), origin, &options)?;
        let created = said.map_or_else(|| created(origin, info.log_id, keys, &options), Ok)?;
        let history = Arc::new(KeyHistory::of_created(&created)?);
        let clock = Arc::clone(&options.clock);
        let log_keys = Arc::new(LogKeys::new(keys.clone(), info.log_id, (*history).clone(), clock));
        let check = OwnLines::new(KeyFollower::new(Arc::clone(&log_keys), history));
        let empty = TreeHead { size: TreeSize(0), root: empty_root() };
        let (store, recovered) = leased.open(&empty, &check)?;
        let Recovered { size, last_leaf, last_recorded_at: last_time, .. } = recovered;
        let log = Self::make(Found { store, size, last_leaf, last_time }, created, log_keys, options)?;
        log.inner.say_cut(&recovered)?;
        Ok(log)
    }

    /// Entry 0 where it is missing, the first head, the first kept checkpoint.
    fn make(found: Found, created: LogCreated, keys: Arc<LogKeys>, options: Options) -> Result<Self, LogError> {
        let (origin, log_id) = (created.origin.clone(), keys.log_id);
        let history = Arc::new(KeyHistory::of_created(&created)?);
        let signing = keys.signing(&history)?;
        let head = HeadRecord {
            checkpoint: String::new(),
            frozen: None,
            keys: None,
            kept: none_kept(),
            log_id,
            signed_at: options.clock.now(),
        };
        let parts = Parts {
            store: found.store,
            heads: options.heads_for(&keys.ring()),
            keys,
            anchored_history: Arc::clone(&history),
            history,
            signing,
            log_id,
            head,
            tree: TreeHead { size: TreeSize(0), root: empty_root() },
            next: found.size,
            prev: found.last_leaf,
            anchored_leaf: leaf_hash(b""),
            last_time: found.last_time,
            kept: Unnamed::default(),
            named: 0,
        };
        let log = start(parts, options);
        if found.size == 0 {
            let created = Control::LogCreated(created);
            log.inner.append_control(|index| match index.0 {
                0 => Ok(created.clone()),
                _ => Err(AppendError::record(making::by_another(&origin))),
            })?;
        }
        log.inner.publish_first(&origin)?;
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
        let shown = put_back::Shown::of(leased.reader())?;
        let head = load_head(&*heads, &info)?;
        if let Some(reason) = head.frozen {
            return Err(LogError::Frozen { origin, reason });
        }
        let (anchored_history, tree) = known_history(leased.reader(), &head, &info)?;
        let own = put_back::own_keys(keys, &anchored_history, options.clock.now());
        shown.refuse_older(leased.reader(), &head, tree.size, (&own, heads.place(&origin)))?;
        let clock = Arc::clone(&options.clock);
        let log_keys = Arc::new(LogKeys::new(keys.clone(), info.log_id, anchored_history.clone(), clock));
        let anchored_history = Arc::new(anchored_history);
        let check = OwnLines::new(KeyFollower::new(Arc::clone(&log_keys), Arc::clone(&anchored_history)));
        let (store, recovered) = leased.open(&tree, &check)?;
        if !store.shared() {
            put_back::refuse_unnamed(&head, *lock(&check.named), tree.size, &origin, heads.place(&origin))?;
        }
        let history = Arc::clone(lock(&check.follower).history());
        log_keys.know(&history);
        // Without the keys that are in force nothing could be told from what somebody else wrote: then there may be nothing behind the head.
        let signing = log_keys.signing_on(&history)?;
        let renewed = history.current_entry_key().is_none_or(|key| key.id != *signing.key_id);
        let anchored = get(&*store, LeafIndex(tree.size.0.saturating_sub(1)))?;
        let last_time = match recovered.last_recorded_at {
            Some(time) => Some(time),
            None => indelible_core::entry::EntryRef::parse(&anchored.entry).ok().and_then(|entry| entry.recorded()),
        };
        let kept = if store.shared() { Unnamed::default() } else { Unnamed::of(head.kept, recovered.size, tree) };
        let named = head.kept.number - u64::from(kept.may_be());
        let parts = Parts {
            store,
            heads,
            keys: log_keys,
            anchored_history,
            history,
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
        if renewed {
            log.inner.adopt_keys("the secret of the key before was destroyed", &[])?;
        }
        log.inner.resume(&recovered)?;
        if log.inner.adopt_keys("the ring had new keys when the log was opened", &[])?.is_some() {
            log.inner.publish(Keep::Yes)?;
        }
        Ok(log)
    }
}

/// The log ends before entries that a signed head covers.
pub(crate) fn rolled_back(size: TreeSize, known: TreeSize) -> LogError {
    let detail = format!(
        "the log ends here, the newest head covers {known} entries: it was rolled back or cut, or is a copy that was left behind, and is not to be repaired; `indelible copy` brings a copy up to date, and `indelible log succeed` goes on where the newer log is lost"
    );
    LogError::Evidence { index: size.0, detail }
}

fn check_places(keys: &KeyRing, options: &Options) -> Result<(), LogError> {
    for other in &options.keep_apart {
        check_apart(keys.dir(), other)?;
    }
    Ok(())
}

/// The newest head; refused where it is missing or about another log.
fn load_head(heads: &dyn HeadStore, info: &LogInfo) -> Result<HeadRecord, LogError> {
    let place = heads.place(&info.origin);
    let Some(head) = heads.load(&info.origin)? else {
        return Err(LogError::HeadMissing { origin: info.origin.clone(), place });
    };
    if head.log_id != info.log_id {
        return Err(LogError::OtherLog { place });
    }
    Ok(head)
}

/// What the log says of its keys below the newest head, and that head, verified by them.
pub(crate) fn known_history(
    reader: &dyn Reader,
    head: &HeadRecord,
    info: &LogInfo,
) -> Result<(KeyHistory, TreeHead), LogError> {
    let first = KeyHistory::of_created(&entry_zero(reader).map_err(keys_absent)?)?;
    let history = stored_history(reader, &first, info.log_id, head.keys).map_err(keys_absent)?;
    let tree = history.open(head.checkpoint.as_bytes())?.head;
    let size = reader.size()?;
    if size < tree.size {
        return Err(rolled_back(size, tree.size));
    }
    proven(reader, &history, &tree)?;
    Ok((history, tree))
}

fn keys_absent(error: LogError) -> LogError {
    match error {
        LogError::Store(StoreError::Absent { index }) => LogError::KeysAbsent { index },
        error => error,
    }
}

/// That what a history was read from is in a signed tree, as far as that covers it: what says which keys are right has no other warrant, for a key that it names may have
/// signed the tree as well as one that it hides.
pub(crate) fn proven(reader: &dyn Reader, history: &KeyHistory, tree: &TreeHead) -> Result<(), LogError> {
    let sets = history.sets().iter().map(|set| set.first);
    let said: BTreeSet<u64> = sets.chain([0, history.newest().0]).filter(|index| *index < tree.size.0).collect();
    for index in said.into_iter().map(LeafIndex) {
        let entry = get(reader, index)?.entry;
        let proof = Prover::new(StoredTree(reader), tree.size).inclusion(index).map_err(prove_error)?;
        if proof.verify(&leaf_hash(&entry), tree).is_ok() {
            continue;
        }
        let stored = reader.hashes(0, index.0, 1)?;
        if stored.first().is_some_and(|stored| proof.verify(stored, tree).is_ok()) {
            let detail = "it says what the log's keys are, and its bytes are not those that the newest checkpoint covers: `indelible verify` says more";
            return Err(LogError::Evidence { index: index.0, detail: detail.to_owned() });
        }
        let detail = format!(
            "the stored tree does not prove entry {index}, which says what the log's keys are; `indelible verify` tells whether the entries give the root of the newest head, and then `indelible log repair` makes it anew"
        );
        return Err(StoreError::Damaged { place: "tree".to_owned(), detail }.into());
    }
    Ok(())
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

struct OwnLines {
    follower: Mutex<KeyFollower>,
    /// The highest number of a kept checkpoint that one of them names.
    named: Mutex<u64>,
}

impl OwnLines {
    fn new(follower: KeyFollower) -> Self {
        Self { follower: Mutex::new(follower), named: Mutex::new(0) }
    }
}

impl TailCheck for OwnLines {
    fn fault(&self, line: &Line<'_>, leaf: &Hash) -> Option<TailFault> {
        let fault = lock(&self.follower).take(line, leaf).err();
        if let Some(head) = line.entry.head.filter(|_| fault.is_none()) {
            let mut named = lock(&self.named);
            *named = head.number.max(*named);
        }
        fault
    }

    fn unready(&self) -> Option<String> {
        lock(&self.follower).unready()
    }
}

/// A log that is being made, as far as it is.
struct Found {
    store: Arc<dyn Writer>,
    size: u64,
    last_leaf: Hash,
    last_time: Option<Micros>,
}

/// What entry 0 of a new log says.
fn created(origin: &str, log_id: LogId, keys: &KeyRing, options: &Options) -> Result<LogCreated, LogError> {
    let now = options.clock.now();
    let set = active_set(keys, origin, now)?;
    let entry_key = keys.active_entry_at(now)?;
    Ok(LogCreated {
        checkpoint_keys: set.keys().iter().map(ToString::to_string).collect(),
        entry_key: EntryKeyInfo {
            algorithm: entry_key.algorithm().to_string(),
            epoch: 1,
            id: entry_key.id().to_owned(),
            version: entry_key.version(),
        },
        format: FORMAT_VERSION,
        log_id: log_id.to_string(),
        origin: origin.to_owned(),
        policy: SignaturePolicy {
            checkpoint_algorithms: set.keys().iter().map(|key| key.algorithm().to_string()).collect(),
            require: set.require().to_string(),
        },
        predecessor: options.predecessor.clone(),
    })
}

struct Parts {
    store: Arc<dyn Writer>,
    heads: Arc<dyn HeadStore>,
    keys: Arc<LogKeys>,
    /// What the entries below the head say of the keys.
    anchored_history: Arc<KeyHistory>,
    /// What all entries say.
    history: Arc<KeyHistory>,
    signing: Arc<Signing>,
    log_id: LogId,
    head: HeadRecord,
    tree: TreeHead,
    next: u64,
    prev: Hash,
    anchored_leaf: Hash,
    last_time: Option<Micros>,
    kept: Unnamed,
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
        keys: Arc::clone(&parts.keys),
        clock: options.clock,
        entropy: options.entropy,
        queue: Queue::default(),
        sequencer: Mutex::new(Sequencer {
            next: parts.next,
            prev: parts.prev,
            clock: ClockWatch { wall, monotonic },
            origin: Arc::clone(&parts.keys.origin),
            history: parts.history,
            signing: parts.signing,
        }),
        io: Mutex::new(()),
        kept: Mutex::new(parts.kept),
        newest: Mutex::new((parts.head.clone(), parts.tree)),
        publisher: Mutex::new(Publisher {
            head: parts.head,
            tree: parts.tree,
            last_leaf: parts.anchored_leaf,
            named: parts.named,
            kept_at: monotonic,
            keys: KeyFollower::new(parts.keys, parts.anchored_history),
            signers: None,
        }),
        keeper: options.keeper.unwrap_or_default(),
        holders: Arc::default(),
        failed: OnceLock::new(),
        closed: AtomicBool::new(false),
        closing: RwLock::default(),
        segment_closed: AtomicBool::new(false),
        unpublished_since: Mutex::new(None),
        publish_every: options.publish_every,
        keep_every: options.keep_every,
        bounded_within: options.bounded_within,
        on_full: options.on_full,
        rotation: options.rotation,
        tending: Mutex::default(),
        tend_due: AtomicBool::new(true),
        prover: Mutex::new(None),
        links: Mutex::new((1, Arc::from([]))),
        setbacks: Mutex::default(),
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
            self.tell(&publisher);
        }
        self.publish(Keep::Yes)?;
        Ok(())
    }

    /// After opening: shows what a crash kept from being shown, says what was cut, and covers the tail.
    fn resume(&self, recovered: &Recovered) -> Result<(), LogError> {
        // What is not shown now is shown by the next opening: nothing newer may take its place in the head store first.
        self.show_again(recovered.clean).inspect_err(|error| self.fail(error))?;
        self.say_cut(recovered)?;
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

    fn say_cut(&self, recovered: &Recovered) -> Result<(), LogError> {
        if let Some(cut) = &recovered.cut {
            let record = Control::Recovered {
                aside: cut.aside.clone(),
                cut_bytes: cut.bytes,
                cut_sha256: hex::encode(&cut.sha256),
                size: recovered.size,
            };
            self.append_control(|_| Ok(record.clone()))?;
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
            self.heads.swap(&self.keys.origin, Some(head), head)?;
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
