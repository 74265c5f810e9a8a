//! Where things are: the log, the keys, the heads.
//!
//! The log is named by `--log` or `INDELIBLE_LOG` and never guessed. Keys and heads have a place of their own below the user's
//! data and state directories (XDG), so that they are not beside a log by default.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use indelible::{
    Databases, KeyRing, Location, Log, LogError, Options,
    clock::{Clock as _, SystemClock},
    location::sqlcipher_key,
};
use indelible_core::{
    checkpoint::Checkpoint,
    control::{Control, EntryKeyInfo},
    entry::EntryRef,
    head,
    note::{Note, VerifyingKey},
    time::Micros,
    tree::LeafIndex,
};
use indelible_keys::{KeyError, MasterKind, MasterSource, check_apart};
use indelible_store::{
    disk::{OsDisk, SharedDisk},
    driver::Driver,
    heads::{FileHeads, HeadStore as _},
    store::Reader,
};

use crate::{
    cli::{LogPlace, PlaceArgs},
    failure::Failure,
    output, passphrase,
};

/// What the command line says of places.
pub(crate) struct Places {
    log: Option<LogPlace>,
    keys: Option<PathBuf>,
    master_key_file: Option<PathBuf>,
    databases: Databases,
    /// A passphrase that was typed and unwrapped a ring: one command asks once, however often it reads the ring.
    typed: OnceLock<MasterSource>,
}

/// A head store and how to name things in it.
pub(crate) struct Heads {
    /// The store.
    pub(crate) store: FileHeads,
    dir: PathBuf,
    suffix: String,
}

impl Heads {
    /// Where `verify --from-last` keeps how far it came. No head record has a `+v` behind its origin.
    pub(crate) fn verified_path(&self, origin: &str) -> PathBuf {
        self.dir.join(format!("{}{}+verified", head::file_name(origin), self.suffix))
    }
}

/// How a ring is read, by a directory and its master key.
type LoadRing = fn(&Path, &MasterSource) -> Result<KeyRing, KeyError>;

impl Places {
    pub(crate) fn new(args: PlaceArgs) -> Self {
        let PlaceArgs { log, keys, master_key_file } = args;
        Self { log, keys, master_key_file, databases: Databases::default(), typed: OnceLock::new() }
    }

    /// Where the log is.
    pub(crate) fn log(&self) -> Result<&Location, Failure> {
        match &self.log {
            Some(LogPlace::Here(log)) => Ok(log),
            #[cfg(feature = "client")]
            Some(LogPlace::Served(url)) => Err(Failure::Usage(format!(
                "`{url}` is on a server, and this command takes a log that is here: with a server work append, show, tail, verify, checkpoint, prove, consistency, export and log info"
            ))),
            None => Err(Failure::Usage("no log is named: give --log PLACE or set INDELIBLE_LOG".to_owned())),
        }
    }

    /// The log, where it is on a server.
    #[cfg(feature = "client")]
    pub(crate) fn served(&self) -> Option<&indelible_client::LogUrl> {
        match &self.log {
            Some(LogPlace::Served(url)) => Some(url),
            _ => None,
        }
    }

    /// What opens the log.
    pub(crate) fn driver(&self) -> Result<Box<dyn Driver>, Failure> {
        let log = self.log()?;
        Ok(log.driver(&self.options_for(log)?)?)
    }

    /// What is usual, with the databases that this process has reached.
    pub(crate) fn options(&self) -> Options {
        Options { databases: self.databases.clone(), ..Options::default() }
    }

    /// The same with the key of a file that is encrypted.
    pub(crate) fn options_for(&self, log: &Location) -> Result<Options, Failure> {
        let sqlcipher_key = match log {
            Location::Sqlite { encrypted: true, .. } => sqlcipher_key(&self.keys()?)?,
            _ => None,
        };
        Ok(Options { sqlcipher_key, ..self.options() })
    }

    /// The keys directory.
    pub(crate) fn keys(&self) -> Result<PathBuf, Failure> {
        match &self.keys {
            Some(keys) => Ok(keys.clone()),
            None => below_home("XDG_DATA_HOME", ".local/share", "keys", "--keys DIR or INDELIBLE_KEYS"),
        }
    }

    /// Where the master key of a wrapped ring is had from, by what the command line says.
    pub(crate) fn master(&self) -> MasterSource {
        self.master_key_file.clone().map_or(MasterSource::Environment, MasterSource::File)
    }

    /// The keys.
    pub(crate) fn ring(&self) -> Result<KeyRing, Failure> {
        Ok(self.load_ring(&self.keys()?)?)
    }

    /// The keys to verify with: a ring that lacks an active key signs nothing, and verifies what it can.
    pub(crate) fn ring_to_verify(&self) -> Result<KeyRing, Failure> {
        Ok(self.load_ring_by(KeyRing::load_to_verify, &self.keys()?)?)
    }

    /// The keys, made where there are none.
    pub(crate) fn ring_or_create(&self, keys: &Path) -> Result<KeyRing, Failure> {
        self.ring_or_new(keys).map(|(ring, _)| ring)
    }

    /// The same, and whether they were made.
    pub(crate) fn ring_or_new(&self, keys: &Path) -> Result<(KeyRing, bool), Failure> {
        match self.load_ring(keys) {
            Err(KeyError::Missing { .. }) => Ok((KeyRing::load_or_create_with(keys, now(), &self.master())?, true)),
            result => Ok((result?, false)),
        }
    }

    fn load_ring(&self, keys: &Path) -> Result<KeyRing, KeyError> {
        self.load_ring_by(KeyRing::load_with, keys)
    }

    /// A passphrase that is not in the environment is asked for, where there is somebody to ask.
    fn load_ring_by(&self, load: LoadRing, keys: &Path) -> Result<KeyRing, KeyError> {
        if let Some(typed) = self.typed.get() {
            return load(keys, typed);
        }
        match load(keys, &self.master()) {
            Err(missing @ KeyError::MasterMissing { .. }) => {
                let asked = KeyRing::master_kind_of(keys)? == Some(MasterKind::Passphrase);
                match asked.then(|| passphrase::ask("passphrase of the key ring: ")).flatten() {
                    Some(text) => {
                        let source = MasterSource::Passphrase(text);
                        let ring = load(keys, &source)?;
                        self.typed.get_or_init(|| source);
                        Ok(ring)
                    }
                    None => Err(missing),
                }
            }
            result => result,
        }
    }

    /// The keys, or none where there are none.
    pub(crate) fn ring_if_any(&self) -> Result<Option<KeyRing>, Failure> {
        let Ok(keys) = self.keys() else { return Ok(None) };
        match self.load_ring(&keys) {
            Ok(ring) => Ok(Some(ring)),
            Err(KeyError::Missing { .. }) if self.keys.is_none() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The log, for reading beside a live writer or without one.
    pub(crate) fn reader(&self) -> Result<Arc<dyn Reader>, Failure> {
        Ok(self.driver()?.reader()?)
    }

    /// The log, for writing. Takes the lease.
    pub(crate) fn open(&self) -> Result<Log, Failure> {
        // The log first: who names a wrong path should not hear of keys.
        let reader = self.reader()?;
        let ring = self.ring()?;
        if let Some(path) = self.log()?.path() {
            check_apart(ring.dir(), path)?;
        }
        Log::open_in(&*self.driver()?, &ring, self.options()).map_err(|error| match error {
            LogError::HeadMissing { .. } => keys_of_another_log(&*reader, &ring).unwrap_or_else(|| error.into()),
            error => error.into(),
        })
    }
}

/// Who has no head record of a log may simply have taken the wrong keys: then entry 0 names others. (Where there is a head record, another
/// log in its place is evidence, and not said to be a mistake.)
pub(crate) fn keys_of_another_log(reader: &dyn Reader, ring: &KeyRing) -> Option<Failure> {
    let wanted = entry_key(reader).ok()?.id;
    let held = ring.entry_key_id();
    ring.keys().all(|key| key.id != wanted).then(|| KeyError::NotThisLog { wanted, held }.into())
}

/// The entry-signing key that entry 0 names.
pub(crate) fn entry_key(reader: &dyn Reader) -> Result<EntryKeyInfo, Failure> {
    let stored = indelible::log::get(reader, LeafIndex(0))?;
    match Control::parse(EntryRef::parse(&stored.entry)?.body)? {
        Control::LogCreated(created) => Ok(created.entry_key),
        _ => Err(LogError::Evidence { index: 0, detail: "it does not say what the log is".to_owned() }.into()),
    }
}

/// That a log is not there although a head store knows it, in words; `None` where none knows it.
pub(crate) fn known_head(heads: &FileHeads, origin: &str) -> Option<String> {
    let record = heads.load(origin).ok()??;
    let note = Note::parse(record.checkpoint.as_bytes()).ok()?;
    let entries = output::entries(Checkpoint::parse(note.text()).ok()?.head.size.0);
    Some(format!(
        "the head store knows `{origin}` with {entries} (`{}`): it was deleted, or another place is meant",
        heads.place(origin)
    ))
}

/// The head store of whoever holds the keys.
pub(crate) fn writers_heads(ring: &KeyRing) -> Heads {
    let dir = ring.heads_dir();
    Heads { store: FileHeads::new(OsDisk::shared(), &dir), dir, suffix: String::new() }
}

/// The head store of whoever verifies with a public key alone.
pub(crate) fn auditors_heads(key: &VerifyingKey) -> Result<Heads, Failure> {
    let dir = auditors_dir()?;
    let suffix = format!("+{}", indelible_core::hex::encode(&key.key_hash()));
    Ok(Heads { store: FileHeads::new(OsDisk::shared(), &dir).with_suffix(suffix.clone()), dir, suffix })
}

/// Where that is.
pub(crate) fn auditors_dir() -> Result<PathBuf, Failure> {
    match set("INDELIBLE_HEADS") {
        Some(dir) => Ok(dir),
        None => below_home("XDG_STATE_HOME", ".local/state", "heads", "INDELIBLE_HEADS"),
    }
}

/// The shared handle on the file system.
pub(crate) fn disk() -> SharedDisk {
    OsDisk::shared()
}

/// What time it is.
pub(crate) fn now() -> Micros {
    SystemClock::default().now()
}

fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn below_home(xdg: &str, fallback: &str, what: &str, remedy: &str) -> Result<PathBuf, Failure> {
    // The XDG base directory specification: a relative path is to be ignored.
    let base = set(xdg).filter(|path| path.is_absolute()).or_else(|| set("HOME").map(|home| home.join(fallback)));
    match base {
        Some(base) => Ok(base.join("indelible").join(what)),
        None => Err(Failure::Usage(format!("HOME is not set, so there is no default place for {what}: give {remedy}"))),
    }
}
