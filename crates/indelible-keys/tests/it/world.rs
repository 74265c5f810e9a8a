//! A directory for a ring, and times.

use std::{
    fs,
    path::{Path, PathBuf},
};

use indelible_core::time::Micros;
use indelible_keys::{KeyInfo, KeyRing, MasterSource, NewRing, Purpose, State};

pub(crate) const DAY: i64 = 86_400_000_000;

pub(crate) fn at(text: &str) -> Micros {
    Micros::parse(text).unwrap()
}

/// The first day of all rings here.
pub(crate) fn start() -> Micros {
    at("2026-01-01T00:00:00Z")
}

/// So many days later.
pub(crate) fn day(days: i64) -> Micros {
    Micros(start().0 + days * DAY)
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    pub(crate) fn ring_file(&self) -> PathBuf {
        self.keys().join("ring.json")
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.ring_file()).unwrap()
    }

    pub(crate) fn ring(&self) -> KeyRing {
        KeyRing::create_with(&self.keys(), start(), &NewRing::default()).unwrap()
    }

    /// A master key file with 32 equal bytes.
    pub(crate) fn master(&self, name: &str, byte: u8) -> MasterSource {
        let path = self.dir.path().join(name);
        write_private(&path, &[byte; 32]);
        MasterSource::File(path)
    }
}

pub(crate) fn write_private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

pub(crate) fn of(ring: &KeyRing, purpose: Purpose, state: State) -> Vec<KeyInfo> {
    ring.keys().filter(|key| key.purpose == purpose && key.state == state).cloned().collect()
}

pub(crate) fn active(ring: &KeyRing, purpose: Purpose) -> KeyInfo {
    let mut active = of(ring, purpose, State::Active);
    assert_eq!(active.len(), 1, "{active:?}");
    active.remove(0)
}

pub(crate) fn state(ring: &KeyRing, id: &str) -> State {
    ring.keys().find(|key| key.id == id).unwrap().state
}
