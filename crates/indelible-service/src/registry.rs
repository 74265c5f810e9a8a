//! The registry: which logs there are, as a log.
//!
//! Each log that is made under a root is an entry of the registry, with its id and public key, and so is the freezing of one. The registry is
//! signed, chained and published like any log, and its newest head is kept beside the keys: a log that vanishes is missing from a list that cannot be
//! shortened quietly.

use std::collections::BTreeMap;

use indelible::{
    KeyRing, Location, Log, LogError, Options, manage,
    verify::{Report, Request, Verdict, VerifyError, verify},
};
use indelible_core::{
    control::Control,
    entry::{BodyKind, EntryRef, Line},
    head::HeadRecord,
    tree::LeafIndex,
};
use indelible_keys::KeyError;
use indelible_store::{
    driver::Driver,
    store::{Reader, StoreError, parse_line},
};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use crate::{
    held::Held,
    root::{Root, SUFFIX},
};

/// Read at a time.
const STEP: usize = 1 << 20;

/// Why the registry, or a log in it, cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// A log, or the registry's.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A log's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A verification came to no verdict.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Not recorded.
    #[error("the registry could not record it")]
    Append(#[from] indelible::AppendError),
    /// An origin that a registry cannot have, or that only a registry can have.
    #[error("`{origin}`: {detail}")]
    Origin {
        /// What was given.
        origin: String,
        /// Why not.
        detail: &'static str,
    },
    /// No such log is registered.
    #[error("no log `{origin}` is registered in `{root}`: `indelible logs list` shows which are")]
    Unknown {
        /// What was asked for.
        origin: String,
        /// Where.
        root: String,
    },
    /// Another registry stands in this root.
    #[error(
        "`{root}` holds the registry `{found}`, not `{wanted}`: another root was put in its place, or another is meant; `indelible verify` of `{wanted}` says what the head store knows of it"
    )]
    Other {
        /// Where.
        root: String,
        /// What is there.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// It ends before what its newest head covers.
    #[error(
        "the registry `{origin}` has {found} entries, and its newest head covers {known}: an older one was put in its place, or entries were taken away. Nothing that it says is followed: bring the newer one back, and run `indelible logs verify`"
    )]
    RolledBack {
        /// The registry.
        origin: String,
        /// Entries that are there.
        found: u64,
        /// Entries that there were.
        known: u64,
    },
    /// Its entries are not those that its newest head covers.
    #[error(
        "the entries of the registry `{origin}` do not give the root of its newest head: they were changed. Nothing that it says is followed: run `indelible logs verify`"
    )]
    Contradicts {
        /// The registry.
        origin: String,
    },
    /// The log is registered already.
    #[error("`{origin}` is registered already, by entry {index} of the registry: a name is used once")]
    Taken {
        /// What was asked for.
        origin: String,
        /// The registry's entry.
        index: u64,
    },
}

/// What the registry says of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its unique name.
    pub origin: String,
    /// Its random id.
    pub log_id: String,
    /// The key that verifies its checkpoints.
    pub public_key: String,
    /// When it was registered.
    pub since: String,
    /// The registry's entry.
    pub index: u64,
    /// How it was frozen, if it was.
    pub frozen: Option<Frozen>,
}

/// What the registry says of a log that was frozen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Frozen {
    /// The last checkpoint, a signed note.
    pub checkpoint: String,
    /// Its tree size.
    pub tree_size: u64,
    /// Why.
    pub reason: String,
}

/// How a registered log is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Present,
    /// There is no log of its name.
    Missing,
    /// Another log of the same name stands in its place.
    Replaced,
    /// It has other entries than when it was frozen.
    Grown,
    /// Something is there that cannot be read as a log.
    Unreadable,
    /// It is there, and registered nowhere.
    Unregistered,
}

impl State {
    /// The state in a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Missing => "missing",
            Self::Replaced => "replaced",
            Self::Grown => "grown",
            Self::Unreadable => "unreadable",
            Self::Unregistered => "unregistered",
        }
    }

    /// What it means for the verdict over all logs.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Present | Self::Unregistered => Verdict::Intact,
            Self::Unreadable => Verdict::Unverifiable,
            Self::Missing | Self::Replaced | Self::Grown => Verdict::Tampered,
        }
    }
}

/// A log as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its unique name.
    pub origin: String,
    /// What the registry says; `None` where it says nothing.
    pub registered: Option<Registered>,
    /// How it is found.
    pub state: State,
    /// How many entries it has, where it can be read.
    pub size: Option<u64>,
}

/// The registry of a root.
pub struct Registry {
    root: Root,
    pub(crate) place: Location,
    pub(crate) options: Options,
}

impl Registry {
    /// Makes a registry, with its log. What a crash left of the making of the same one is made to its end.
    ///
    /// # Errors
    /// [`RegistryError::Origin`] unless the name ends in `/registry`; [`RegistryError::Log`] where there is one already.
    pub fn create(root: Root, origin: &str, keys: &KeyRing, options: Options) -> Result<Self, RegistryError> {
        if !origin.ends_with(SUFFIX) {
            let detail = "a registry's name ends in `/registry`, like `example.com/registry`";
            return Err(RegistryError::Origin { origin: origin.to_owned(), detail });
        }
        if let Some(path) = root.path().filter(|path| path.join("log.json").exists()) {
            let text = format!("`{}` is a log itself: choose another directory for many", path.display());
            return Err(LogError::Refused(text).into());
        }
        let place = root.new_registry(origin);
        Log::create_in(&*place.driver(&options)?, origin, keys, options.clone())?.close()?;
        Ok(Self { root, place, options })
    }

    /// Whether a root has no registry, or what a crash left of the making of one: then [`Registry::create`] makes it.
    ///
    /// # Errors
    /// [`RegistryError`] where that cannot be seen, or where there is more than one.
    pub fn is_missing(root: &Root, keys: &KeyRing, options: &Options) -> Result<bool, RegistryError> {
        match root.find_registry(options)? {
            Some(place) => Ok(Log::is_unfinished(&*place.driver(options)?, keys, options)?),
            None => Ok(true),
        }
    }

    /// Finds the registry of a root.
    ///
    /// # Errors
    /// [`RegistryError::Log`] where there is none.
    pub fn open(root: Root, options: Options) -> Result<Self, RegistryError> {
        let place = root.registry(&options)?;
        Ok(Self { root, place, options })
    }

    /// The same, where its registry is known to have this name: a root of the same keys with another registry is refused.
    ///
    /// # Errors
    /// [`RegistryError::Other`]; [`RegistryError::Log`] where there is none.
    pub fn open_named(root: Root, name: &str, options: Options) -> Result<Self, RegistryError> {
        let registry = Self::open(root, options)?;
        let found = registry.place.driver(&registry.options)?.reader_of_entry_zero()?.info().origin.clone();
        if found != name {
            let (root, wanted) = (registry.root.to_string(), name.to_owned());
            return Err(RegistryError::Other { root, found, wanted });
        }
        Ok(registry)
    }

    /// Where the registry's own log is.
    #[must_use]
    pub fn place(&self) -> &Location {
        &self.place
    }

    /// Where a log of this root is.
    #[must_use]
    pub fn log(&self, origin: &str) -> Location {
        self.root.log(origin)
    }

    /// Makes a log and registers it. A log of this name that is there and that these keys open (what a crash between the two steps leaves, or a log from
    /// before there was a registry) is registered as it is; one whose making a crash stopped is made to its end.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn create_log(&self, origin: &str, keys: &KeyRing) -> Result<Log, RegistryError> {
        if origin.ends_with(SUFFIX) {
            let detail = "a name that ends in `/registry` is a registry's";
            return Err(RegistryError::Origin { origin: origin.to_owned(), detail });
        }
        // Before anything is made: keys that the registry does not know could make a log, and not register it. What a crash left uncovered is under a checkpoint then.
        let registry = self.open_own(keys)?;
        // What is not there may have been taken out: only what the head covers says that a name is free.
        let held = self.follow(keys, &Held::default())?.unwrap_or_default();
        if let Some(known) = held.logs().get(origin) {
            return Err(RegistryError::Taken { origin: origin.to_owned(), index: known.index });
        }
        let place = self.root.log(origin);
        let driver = place.driver(&self.options)?;
        let log = if driver.exists()? && !Log::is_unfinished(&*driver, keys, &self.options)? {
            Log::open_in(&*driver, keys, self.options.clone())?
        } else {
            Log::create_in(&*driver, origin, keys, self.options.clone())?
        };
        record(
            &registry,
            "log.create",
            origin,
            &json!({
                "log_id": log.log_id().to_string(),
                "public_key": log.public_key().map(|key| key.to_string()),
            }),
        )?;
        Ok(log)
    }

    /// Freezes a log: nothing is written to it any more, and the registry keeps its last checkpoint. The head is frozen first: what a crash kept from the
    /// registry is recorded when this is called again, with the reason that was given first.
    ///
    /// # Errors
    /// [`RegistryError`]; [`LogError::Frozen`] in it where the registry knows already.
    pub fn freeze(&self, origin: &str, keys: &KeyRing, reason: &str) -> Result<Frozen, RegistryError> {
        let known = self.find(origin)?;
        let registry = self.open_own(keys)?;
        let driver = self.root.log(origin).driver(&self.options)?;
        let head = match manage::freeze(&*driver, keys, &self.options, reason) {
            Err(LogError::Frozen { .. }) if known.frozen.is_none() => self.frozen_head(origin, keys)?,
            head => head?,
        };
        let tree_size = tree_size_of(head.checkpoint.as_bytes()).unwrap_or(0);
        let reason = head.frozen.unwrap_or_else(|| reason.to_owned());
        let frozen = Frozen { checkpoint: head.checkpoint, tree_size, reason };
        record(
            &registry,
            "log.freeze",
            origin,
            &json!({
                "checkpoint": frozen.checkpoint,
                "reason": frozen.reason,
                "tree_size": frozen.tree_size,
            }),
        )?;
        Ok(frozen)
    }

    /// The head of a log that was frozen, which opening has verified.
    fn frozen_head(&self, origin: &str, keys: &KeyRing) -> Result<HeadRecord, LogError> {
        let heads = self.options.heads_for(keys);
        let missing = || LogError::HeadMissing { origin: origin.to_owned(), place: heads.place(origin) };
        heads.load(origin)?.ok_or_else(missing)
    }

    /// The registry's own log, for writing.
    fn open_own(&self, keys: &KeyRing) -> Result<Log, RegistryError> {
        let driver = self.place.driver(&self.options)?;
        Log::open_in(&*driver, keys, self.options.clone()).map_err(|error| match error {
            // Whose keys have no head of it may simply have named others.
            LogError::HeadMissing { .. } => foreign_keys(&*driver, keys).unwrap_or(error).into(),
            error => error.into(),
        })
    }

    /// What the registry says of one log.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`].
    pub fn find(&self, origin: &str) -> Result<Registered, RegistryError> {
        let unknown = || RegistryError::Unknown { origin: origin.to_owned(), root: self.root.to_string() };
        self.registered()?.remove(origin).ok_or_else(unknown)
    }

    /// All logs that were registered, by name. What it says is not verified here; [`Registry::follow`] holds it against the registry's head.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn registered(&self) -> Result<BTreeMap<String, Registered>, RegistryError> {
        let reader = self.place.driver(&self.options)?.reader()?;
        let size = reader.size()?.0;
        let (mut logs, mut next) = (BTreeMap::new(), 0);
        while next < size {
            let chunk = reader.read(LeafIndex(next), STEP)?;
            for text in chunk.lines() {
                note(&parse_line(text, next)?, &mut logs);
                next += 1;
            }
        }
        Ok(logs)
    }

    /// All logs, registered or not, and how they are found.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub fn list(&self) -> Result<Vec<Listed>, RegistryError> {
        let registered = self.registered()?;
        let strangers = self.root.origins(&self.options)?.into_iter().filter(|origin| !registered.contains_key(origin));
        let mut listed: Vec<Listed> = strangers
            .map(|origin| {
                let size = self.reader(&origin).and_then(|reader| Ok(reader.size()?.0)).ok();
                Listed { origin, registered: None, state: State::Unregistered, size }
            })
            .collect();
        for (origin, known) in registered {
            let (state, size) = self.state(&known);
            listed.push(Listed { origin, registered: Some(known), state, size });
        }
        listed.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(listed)
    }

    fn reader(&self, origin: &str) -> Result<std::sync::Arc<dyn Reader>, RegistryError> {
        Ok(self.root.log(origin).driver(&self.options)?.reader_of_entry_zero()?)
    }

    /// How a log is found. One that cannot be looked at hides no other.
    fn state(&self, known: &Registered) -> (State, Option<u64>) {
        self.look(known).unwrap_or((State::Unreadable, None))
    }

    fn look(&self, known: &Registered) -> Result<(State, Option<u64>), RegistryError> {
        if !self.root.log(&known.origin).driver(&self.options)?.exists()? {
            return Ok((State::Missing, None));
        }
        let reader = match self.reader(&known.origin) {
            Err(RegistryError::Store(StoreError::NotALog { .. })) => return Ok((State::Missing, None)),
            reader => reader?,
        };
        let size = reader.size()?.0;
        if reader.info().log_id.to_string() != known.log_id {
            return Ok((State::Replaced, Some(size)));
        }
        // A writer that had it open may have recorded some more; what no checkpoint covers is told by verification.
        let covered = reader.checkpoint()?.and_then(|note| tree_size_of(&note)).unwrap_or(size);
        let grown = known.frozen.as_ref().is_some_and(|frozen| frozen.tree_size != covered);
        Ok((if grown { State::Grown } else { State::Present }, Some(size)))
    }

    /// Verifies the registry's own log.
    ///
    /// # Errors
    /// [`RegistryError::Verify`] where there is no verdict.
    pub fn verify_own(&self, keys: &KeyRing) -> Result<Report, RegistryError> {
        self.verify_at(&self.place, keys, None)
    }

    /// Verifies a registered log, a frozen one against the checkpoint that the registry keeps.
    ///
    /// # Errors
    /// [`RegistryError::Verify`] where there is no verdict.
    pub fn verify_log(&self, known: &Registered, keys: &KeyRing) -> Result<Report, RegistryError> {
        let checkpoint = known.frozen.as_ref().map(|frozen| frozen.checkpoint.clone().into_bytes());
        self.verify_at(&self.root.log(&known.origin), keys, checkpoint)
    }

    fn verify_at(
        &self,
        place: &Location,
        keys: &KeyRing,
        checkpoint: Option<Vec<u8>>,
    ) -> Result<Report, RegistryError> {
        let reader = place.driver(&self.options)?.reader_of_entry_zero()?;
        let heads = self.options.heads_for(keys);
        let origin = reader.info().origin.clone();
        let trusted = Request::of_ring(keys, &origin, self.options.clock.now()).map_err(LogError::from)?;
        let request = Request { heads: Some(&*heads), head_required: true, checkpoint, ..trusted };
        Ok(verify(&*reader, &request)?)
    }
}

/// That the registry was made with other keys, where its entry 0 names them.
fn foreign_keys(driver: &dyn Driver, keys: &KeyRing) -> Option<LogError> {
    let stored = indelible::log::get(&*driver.reader().ok()?, LeafIndex(0)).ok()?;
    let Ok(Control::LogCreated(created)) = Control::parse(EntryRef::parse(&stored.entry).ok()?.body) else {
        return None;
    };
    let (wanted, held) = (created.entry_key.id, keys.entry_key_id());
    keys.keys().all(|key| key.id != wanted).then(|| KeyError::NotThisLog { wanted, held }.into())
}

fn record(registry: &Log, action: &str, origin: &str, details: &Value) -> Result<(), RegistryError> {
    let event = json!({
        "action": action,
        "actor": { "id": "indelible", "type": "system" },
        "details": details,
        "kind": "admin",
        "targets": [{ "id": origin, "type": "log" }],
    });
    registry.append_json(event.to_string().as_bytes())?;
    Ok(registry.close()?)
}

/// How many entries a checkpoint covers.
pub(crate) fn tree_size_of(note: &[u8]) -> Option<u64> {
    let note = indelible_core::note::Note::parse(note).ok()?;
    Some(indelible_core::checkpoint::Checkpoint::parse(note.text()).ok()?.head.size.0)
}

/// What a registry's entry says of logs; others say nothing.
pub(crate) fn note(line: &Line<'_>, logs: &mut BTreeMap<String, Registered>) {
    #[derive(Deserialize)]
    struct Event {
        action: String,
        #[serde(default)]
        details: Value,
        #[serde(default)]
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        id: String,
        r#type: String,
    }
    #[derive(Deserialize)]
    struct Created {
        log_id: String,
        public_key: String,
    }
    let entry: &EntryRef<'_> = &line.entry;
    if entry.kind != BodyKind::Event {
        return;
    }
    let Ok(event) = serde_json::from_slice::<Event>(entry.body) else { return };
    let Some(target) = event.targets.into_iter().find(|target| target.r#type == "log") else { return };
    match event.action.as_str() {
        "log.create" => {
            let Ok(Created { log_id, public_key }) = serde_json::from_value(event.details) else { return };
            let (since, index) = (entry.recorded_at.to_owned(), entry.index.0);
            let known = Registered { origin: target.id.clone(), log_id, public_key, since, index, frozen: None };
            // The first word counts: a later one cannot put another log in its place.
            logs.entry(target.id).or_insert(known);
        }
        "log.freeze" => {
            let Ok(frozen) = serde_json::from_value::<Frozen>(event.details) else { return };
            if let Some(known) = logs.get_mut(&target.id) {
                known.frozen.get_or_insert(frozen);
            }
        }
        _ => {}
    }
}
