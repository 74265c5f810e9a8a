//! The stage: keys, a log with the sample events in it, an old copy of that log, and how a copy is verified.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use indelible::{
    Keeper, KeyRing, Log, Options, Receipt,
    bundle::{Bundle, Checked},
    clock::{Clock as _, SystemClock},
    verify::{Report, Request, VerifyError, verify},
};
use indelible_core::{mac::LogId, note::VerifyingKey};
use indelible_import::samples::samples;
use indelible_store::{
    disk::{OsDisk, SharedDisk},
    heads::FileHeads,
};
use indelible_store_file::{
    FileReader, Settings,
    layout::Layout,
    segments::{self, Form},
};

/// Name of the log.
pub(super) const ORIGIN: &str = "demo.example/fernhill";
const SEED: u64 = 7;
const EVENTS: u64 = 2000;
/// Events that are recorded between two kept checkpoints.
const GROUP: usize = 250;
/// The group after which an old copy of the log is set aside; the incident comes later.
const OLD_COPY_AFTER: usize = 3;
/// Small, so that a short log has closed segments too.
const SEGMENT_BYTES: u64 = 256 << 10;

/// Keys, log and events.
pub(super) struct Stage {
    pub(super) dir: PathBuf,
    pub(super) keys: KeyRing,
    pub(super) public: VerifyingKey,
    pub(super) log_id: LogId,
    pub(super) events: Vec<Vec<u8>>,
    /// The thief's last event: the attempt to delete the audit trail.
    pub(super) incident: Receipt,
    /// The first of the thief's exports.
    pub(super) export: Receipt,
    pub(super) size: u64,
    /// Number of kept checkpoints.
    pub(super) kept: u64,
    /// Number of segments, and of compressed ones.
    pub(super) segments: (usize, usize),
    disk: SharedDisk,
    bundle: Bundle,
}

impl Stage {
    /// Makes keys and log in `dir` and records the sample events.
    pub(super) fn set(dir: &Path) -> anyhow::Result<Self> {
        let clock = SystemClock::default();
        let keys = KeyRing::load_or_create_at(&dir.join("keys"), clock.now())?;
        let settings = Settings { segment_bytes: SEGMENT_BYTES, immutable: false, ..Settings::default() };
        // Checkpoints are published where this says so, not by the clock: the story is to be the same each time.
        let options = Options { settings, keeper: Some(Keeper::manual()), ..Options::default() };
        let path = dir.join("log");
        let log = Log::create(&path, ORIGIN, &keys, options)?;
        let events: Vec<Vec<u8>> = samples(SEED, EVENTS).collect();
        let receipts = append(&log, &events, dir)?;
        let found = |action: &str| {
            let needle = format!("\"action\":\"{action}\"");
            let at = events.iter().position(|event| find(event, needle.as_bytes()).is_some());
            at.and_then(|at| receipts.get(at)).cloned().with_context(|| format!("no sample event is `{action}`"))
        };
        let (incident, export) = (found("audit_trail.delete")?, found("record.export")?);
        let (public, log_id) = (log.public_key().context("a log without a public key")?, log.log_id());
        log.close()?;
        let bundle = log.prove(incident.index)?;
        let (size, kept) = (log.size()?, log.head().0.kept.number);
        drop(log);
        let disk = OsDisk::shared();
        let list = segments::list(&*disk, &Layout::new(&path))?;
        let closed = list.iter().filter(|segment| segment.form == Form::Closed).count();
        let segments = (list.len(), closed);
        Ok(Self {
            dir: dir.to_owned(),
            keys,
            public,
            log_id,
            events,
            incident,
            export,
            size,
            kept,
            segments,
            disk,
            bundle,
        })
    }

    /// The log that is never tampered with.
    pub(super) fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Its genuine state of the middle of the week.
    pub(super) fn old_dir(&self) -> PathBuf {
        self.dir.join("old-copy")
    }

    /// The beginning of the public key's text.
    pub(super) fn public_key_start(&self) -> String {
        self.public.to_string().chars().take(ORIGIN.len() + 16).collect()
    }

    pub(super) fn verify_original(&self) -> anyhow::Result<Report> {
        Ok(self.verify(&self.log_dir(), &self.keys.heads_dir(), &Auditor::with_everything(self))?)
    }

    /// Verifies the log at `log`.
    pub(super) fn verify(&self, log: &Path, heads: &Path, auditor: &Auditor<'_>) -> Result<Report, VerifyError> {
        let reader = FileReader::open(Arc::clone(&self.disk), log)?;
        let heads = FileHeads::new(Arc::clone(&self.disk), heads);
        let request = Request {
            ring: auditor.ring,
            heads: auditor.knows_heads.then_some(&heads),
            head_required: auditor.knows_heads,
            receipts: auditor.receipts.clone(),
            ..Request::new(auditor.key.clone(), SystemClock::default().now())
        };
        verify(&reader, &request)
    }

    /// Checks the incident's bundle with the public key alone. Returns its length, too.
    pub(super) fn prove_incident(&self) -> anyhow::Result<(usize, Checked)> {
        let bytes = self.bundle.to_bytes();
        fs::write(self.dir.join("proof.json"), &bytes)?;
        let public = VerifyingKey::parse(&self.public.to_string())?;
        Ok((bytes.len(), Bundle::parse(&bytes)?.check(&public)?))
    }

    pub(super) fn proof_of_a_changed_entry_is_refused(&self) -> anyhow::Result<bool> {
        let mut changed = self.bundle.clone();
        let at = find(&changed.entry, b"denied").context("the incident's last event was not denied")?;
        if let Some(byte) = changed.entry.get_mut(at) {
            *byte = b'D';
        }
        Ok(changed.check(&self.public).is_err())
    }
}

fn append(log: &Log, events: &[Vec<u8>], dir: &Path) -> anyhow::Result<Vec<Receipt>> {
    let mut receipts = Vec::with_capacity(events.len());
    for (n, group) in events.chunks(GROUP).enumerate() {
        for result in log.append_all(group) {
            receipts.push(result?);
        }
        log.keep_checkpoint()?;
        log.tend()?;
        if n == OLD_COPY_AFTER {
            copy_dir(&dir.join("log"), &dir.join("old-copy"))?;
        }
    }
    Ok(receipts)
}

/// What whoever verifies has at hand.
pub(super) struct Auditor<'a> {
    key: VerifyingKey,
    ring: Option<&'a KeyRing>,
    knows_heads: bool,
    receipts: Vec<indelible_core::entry::WireReceipt>,
}

impl<'a> Auditor<'a> {
    /// The operator: keys and head store.
    pub(super) fn with_everything(stage: &'a Stage) -> Self {
        Self { key: stage.public.clone(), ring: Some(&stage.keys), knows_heads: true, receipts: Vec::new() }
    }

    /// Somebody who sees this log for the first time.
    pub(super) fn with_public_key(key: VerifyingKey) -> Self {
        Self { key, ring: None, knows_heads: false, receipts: Vec::new() }
    }

    /// Somebody who once recorded something here, and kept the receipt.
    pub(super) fn with_receipt(key: VerifyingKey, receipt: &Receipt) -> Self {
        Self { receipts: vec![receipt.to_wire()], ..Self::with_public_key(key) }
    }
}

/// Copies a directory with what is in it. The copy can be written whatever protects the original.
pub(super) fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        bail!("`{}` exists already", to.display());
    }
    fs::create_dir_all(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy_dir(&item.path(), &target)?;
        } else {
            fs::write(&target, fs::read(item.path())?)?;
        }
    }
    Ok(())
}

/// Where `needle` begins.
pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}
