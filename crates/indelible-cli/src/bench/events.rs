//! The events that are recorded: a pool of made-up ones, the same on every machine, and the lines that a log makes of them.

use std::ops::Range;

use anyhow::Context as _;
use indelible::Log;
use indelible_core::{entry::Line, event, mac::EntryKey, tree::LeafIndex};

use super::BATCH;

/// Texts in a pool; further than a frame of a closed segment reaches, so that none compresses by its own repetition.
const TEXTS: usize = 4 * BATCH;
/// Lines for the bare loops: two batches.
const LINES: usize = 2 * BATCH;

/// Event texts of about 456 bytes without id, 500 in canonical form with one, members in the order in which people write them.
pub(crate) struct Pool {
    texts: Vec<Vec<u8>>,
    /// Mean length of the canonical form, with an id.
    pub(crate) event_bytes: usize,
}

impl Pool {
    pub(crate) fn new() -> Self {
        let mut random = Random(0x1dde_11b1e);
        let texts: Vec<Vec<u8>> = (0..TEXTS as u64).map(|n| text(&mut random, n, "")).collect();
        let id = || "0192f3c4-7d5e-7a10-9c3b-5a7f1e2d3c4b".to_owned();
        let canonical = |text: &Vec<u8>| event::parse(text, id).map_or(0, |event| event.bytes().len());
        let event_bytes = texts.iter().map(canonical).sum::<usize>() / texts.len().max(1);
        Self { texts, event_bytes }
    }

    /// A batch of texts; another one for each `n`, in a circle.
    pub(crate) fn batch(&self, n: usize) -> &[Vec<u8>] {
        let batches = self.texts.len() / BATCH;
        self.texts.chunks_exact(BATCH).nth(n % batches.max(1)).unwrap_or_default()
    }

    /// All texts, in a circle.
    pub(crate) fn circle(&self, from: usize) -> impl Iterator<Item = &Vec<u8>> {
        self.texts.iter().cycle().skip(from % self.texts.len().max(1))
    }
}

/// Texts whose ids a caller chose: random ones (version 4), so that every lookup goes to another place.
pub(crate) fn with_ids(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    (0..count as u64)
        .map(|n| {
            let (a, b) = (random.next(), random.next());
            let id = format!(
                "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
                a >> 32,
                a >> 16 & 0xffff,
                a & 0xfff,
                b >> 52,
                b & 0xffff_ffff_ffff
            );
            text(&mut random, n, &format!("\"id\":\"{id}\","))
        })
        .collect()
}

fn text(random: &mut Random, n: u64, id: &str) -> Vec<u8> {
    const NAMES: [&str; 6] =
        ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Edsger Dijkstra", "Barbara Liskov", "Tony Hoare"];
    const VERBS: [(&str, &str); 5] = [
        ("document.read", "data_access"),
        ("document.update", "data_change"),
        ("user.login", "auth"),
        ("report.export", "data_access"),
        ("role.grant", "admin"),
    ];
    const OUTCOMES: [&str; 4] = ["success", "success", "success", "denied"];
    let (action, kind) = random.pick(&VERBS);
    let user = random.below(9000) + 1000;
    let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
    format!(
        concat!(
            r#"{{{id}"occurred_at":"2026-01-31T{hour:02}:{minute:02}:{second:02}.{micros:06}Z","kind":"{kind}","action":"{action}","#,
            r#""severity":"info","outcome":"{outcome}","actor":{{"type":"user","id":"user-{user}","name":"{name}","#,
            r#""session":"s-{session:08x}"}},"targets":[{{"type":"document","id":"doc-{document}","name":"Q{quarter} report"}}],"#,
            r#""context":{{"source_ip":"203.0.113.{host}","user_agent":"Mozilla/5.0 (X11; Linux)","#,
            r#""request_id":"req-{request:012x}"}},"details":{{"pages":{pages},"bytes":{bytes},"cached":{cached}}},"tenant":"acme"}}"#,
        ),
        id = id,
        hour = hour,
        minute = minute,
        second = second,
        micros = random.below(1_000_000),
        kind = kind,
        action = action,
        outcome = random.pick(&OUTCOMES),
        user = user,
        name = random.pick(&NAMES),
        session = random.below(1 << 32),
        document = random.below(100_000),
        quarter = random.below(4) + 1,
        host = random.below(254) + 1,
        request = random.below(1 << 48),
        pages = random.below(40) + 1,
        bytes = random.below(1_000_000),
        cached = random.below(2) == 0,
    )
    .into_bytes()
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap_or(0);
        from.get(at).copied().unwrap_or_default()
    }
}

/// Stored lines of a real log, for the bare loops: the bytes that they write are those that a log writes.
pub(crate) struct Lines {
    bytes: Vec<u8>,
    /// Each line with its line feed, and the entry in it.
    at: Vec<(Range<usize>, Range<usize>)>,
    pub(crate) key: EntryKey,
}

impl Lines {
    pub(crate) fn of(log: &Log, key: EntryKey) -> anyhow::Result<Self> {
        let mut lines = Self { bytes: Vec::new(), at: Vec::new(), key };
        let mut next = 1;
        while lines.at.len() < LINES {
            let chunk = log.read(LeafIndex(next), 1 << 20)?;
            for line in chunk.lines().take(LINES - lines.at.len()) {
                let entry = Line::parse(line).context("a line of the small log")?.entry.bytes;
                let from = lines.bytes.len();
                let entry_from = from + (entry.as_ptr().addr() - line.as_ptr().addr());
                lines.bytes.extend_from_slice(line);
                lines.bytes.push(b'\n');
                lines.at.push((from..lines.bytes.len(), entry_from..entry_from + entry.len()));
                next += 1;
            }
        }
        Ok(lines)
    }

    /// Mean length of a line.
    pub(crate) fn line_bytes(&self) -> usize {
        self.bytes.len() / self.at.len().max(1)
    }

    /// Each line and the entry in it, in a circle.
    pub(crate) fn circle(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let slice = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
        self.at.iter().cycle().map(move |(line, entry)| (slice(line), slice(entry)))
    }
}
