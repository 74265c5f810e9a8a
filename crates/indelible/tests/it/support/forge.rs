//! What an attacker with access to the files, and perhaps to the entry key, does to a closed log.

use std::path::PathBuf;

use indelible_core::{
    entry::{BodyKind, EntryStart, Line, Tail},
    mac::{EntryKey, LogId},
    tree::{Hash, LeafIndex, leaf_hash},
};
use indelible_store::{disk::OsDisk, store::Reader as _};

use crate::world::{ORIGIN, World, overwrite};

impl World {
    /// The one segment of a log that has not grown beyond it.
    pub(crate) fn segment(&self) -> PathBuf {
        self.log_path().join("segments").join(format!("{:020}.jsonl", 0))
    }

    /// Its lines, each with its line feed.
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(self.segment()).unwrap();
        bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
    }

    pub(crate) fn put_lines(&self, lines: &[Vec<u8>]) {
        overwrite(&self.segment(), &lines.concat());
    }

    /// Changes one line without signing it anew.
    pub(crate) fn edit_line(&self, index: usize, edit: impl FnOnce(&[u8]) -> Vec<u8>) {
        let mut lines = self.lines();
        lines[index] = edit(&lines[index]);
        self.put_lines(&lines);
    }

    pub(crate) fn log_id(&self) -> LogId {
        indelible_store_file::driver::reader_of_entry_zero(&OsDisk::shared(), &self.log_path()).unwrap().info().log_id
    }

    /// The key of somebody who stole it.
    pub(crate) fn stolen_entry_key(&self) -> EntryKey {
        self.keys.entry_key(self.log_id(), ORIGIN, 1)
    }

    /// Appends a control record that is signed with the entry key in force, as its thief would.
    pub(crate) fn append_forged(&self, control: &indelible_core::control::Control) {
        let lines = self.lines();
        let ring = self.ring();
        let id = parsed(lines.last().unwrap()).entry.key.to_owned();
        let epochs = lines.iter().map(|line| parsed(line).entry.key.to_owned());
        let mut ids: Vec<String> = epochs.collect();
        ids.dedup();
        let key = ring.entry(&id).unwrap().key(self.log_id(), ORIGIN, ids.len() as u64);
        let forged = appended(&lines, &key, BodyKind::Control, &control.canonical().unwrap());
        self.put_lines(&[lines, vec![forged]].concat());
    }

    /// Takes a key out of the ring, as if somebody had lost it.
    pub(crate) fn forget_key(&self, id: &str) {
        let path = self.keys.dir().join("ring.json");
        let mut ring: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        ring["keys"].as_array_mut().unwrap().retain(|key| key["id"] != id);
        std::fs::write(&path, serde_json::to_vec(&ring).unwrap()).unwrap();
    }

    /// Flips a bit in every attachment.
    pub(crate) fn edit_attachments(&self) {
        let mut folders = vec![self.log_path().join("attachments")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let mut bytes = std::fs::read(entry.path()).unwrap();
                bytes[0] ^= 1;
                overwrite(&entry.path(), &bytes);
            }
        }
    }

    /// Writes `tree/0` as the lines have it now.
    pub(crate) fn rewrite_leaves(&self) {
        let leaves: Vec<u8> = self.lines().iter().flat_map(|line| leaf_of(line).0).collect();
        overwrite(&self.log_path().join("tree/0"), &leaves);
    }
}

pub(crate) fn replace(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

pub(crate) fn parsed(line: &[u8]) -> Line<'_> {
    Line::parse(line.strip_suffix(b"\n").unwrap()).unwrap()
}

pub(crate) fn leaf_of(line: &[u8]) -> Hash {
    leaf_hash(parsed(line).entry.bytes)
}

/// Writes the lines from `from` on anew, chained and signed, with the bodies that `edit` gives.
pub(crate) fn reseal(lines: &mut [Vec<u8>], from: usize, key: &EntryKey, edit: impl Fn(usize, &[u8]) -> Vec<u8>) {
    for at in from..lines.len() {
        let prev = leaf_of(&lines[at - 1]);
        let old = lines[at].clone();
        let line = parsed(&old);
        let body = edit(at, line.entry.body);
        let tail = Tail {
            head: line.entry.head,
            index: line.entry.index,
            key: line.entry.key,
            log: line.entry.log,
            bounded: line.entry.bounded,
            prev,
            recorded_at: line.entry.recorded_at,
        };
        let mut start = EntryStart::new(line.entry.kind, body, line.entry.salt);
        if line.entry.bounded {
            start = start.bounded();
        }
        let mut out = Vec::new();
        start.seal(&tail, line.batch, |leaf| key.sign(leaf), &mut out);
        lines[at] = out;
    }
}

/// A line of its own batch behind the last, chained and signed.
pub(crate) fn appended(lines: &[Vec<u8>], key: &EntryKey, kind: BodyKind, body: &[u8]) -> Vec<u8> {
    appended_at(LeafIndex(lines.len() as u64), lines, key, kind, body)
}

/// The same where `lines` are the last file only.
pub(crate) fn appended_at(index: LeafIndex, lines: &[Vec<u8>], key: &EntryKey, kind: BodyKind, body: &[u8]) -> Vec<u8> {
    let last = parsed(lines.last().unwrap());
    let tail = Tail {
        head: None,
        index,
        key: last.entry.key,
        log: last.entry.log,
        bounded: false,
        prev: leaf_of(lines.last().unwrap()),
        recorded_at: last.entry.recorded_at,
    };
    let mut out = Vec::new();
    EntryStart::new(kind, body, [7; 16]).seal(&tail, index, |leaf| key.sign(leaf), &mut out);
    out
}
