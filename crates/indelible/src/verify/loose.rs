//! Lines whose place is not known yet: what stands around them decides what is told of them.

use super::report::{Finding, Kind, MAX_FINDINGS};

/// Lines of unknown place that are told one by one; the others are counted.
const MAX_LOOSE: usize = 4096;

/// Lines of unknown place since the last entry that was placed.
#[derive(Default)]
pub(super) struct Loose {
    pub(super) kept: Vec<Named>,
    /// So many more there were.
    pub(super) more: u64,
    /// Whether one of them all cannot be of a torn write.
    pub(super) whole: bool,
    /// Whether one of them all has another fault than being unsigned.
    pub(super) other: bool,
    /// An empty file that is not the last: an entry is missing, or it is a stray one, which a check of the folder tells.
    pub(super) empty: Option<String>,
}

impl Loose {
    pub(super) fn push(&mut self, named: Named, torn: Torn) {
        self.whole |= torn == Torn::Never || matches!(named.kind, Kind::Unsigned | Kind::Key);
        self.other |= named.kind != Kind::Unsigned;
        if self.kept.len() < MAX_LOOSE { self.kept.push(named) } else { self.more += 1 }
    }

    pub(super) fn len(&self) -> u64 {
        self.kept.len() as u64 + self.more
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.empty.is_none()
    }
}

/// Whether what cannot be read may be what a torn write left.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    Perhaps,
    Never,
}

/// Where a line stands, for naming it in findings.
pub(super) struct Named {
    pub(super) id: Option<String>,
    pub(super) recorded_at: Option<String>,
    pub(super) kind: Kind,
    pub(super) detail: String,
}

/// What the next anchor decides on: as many as are told, and how many more there were. However much of a log is wrong, this grows no further.
#[derive(Default)]
pub(super) struct Doubts {
    pub(super) kept: Vec<Finding>,
    pub(super) more: u64,
}

impl Doubts {
    pub(super) fn push(&mut self, finding: Finding) {
        if self.kept.len() < MAX_FINDINGS { self.kept.push(finding) } else { self.more += 1 }
    }
}
