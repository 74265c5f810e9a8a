//! One simulated directory: the names it shows, the names that survive, and the steps between the two.

use std::collections::BTreeMap;

/// The identity of a file or directory, whatever its name.
pub(super) type Inode = u64;

/// Ties the two halves of a rename between directories together.
pub(super) type MoveId = u64;

/// A change of names.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Link { name: String, inode: Inode },
    Unlink { name: String },
    Rename { from: String, to: String, inode: Inode },
    MoveOut { name: String, to: Inode, id: MoveId },
    MoveIn { name: String, inode: Inode, id: MoveId },
}

/// The names of a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    live: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    pending: Vec<Step>,
}

impl Directory {
    pub(super) fn live(&self) -> &BTreeMap<String, Inode> {
        &self.live
    }

    pub(super) fn durable(&self) -> &BTreeMap<String, Inode> {
        &self.durable
    }

    /// Everything that is, was or may again be in here.
    pub(super) fn mentioned(&self) -> impl Iterator<Item = Inode> {
        let pending = self.pending.iter().filter_map(|step| match step {
            Step::Link { inode, .. } | Step::Rename { inode, .. } | Step::MoveIn { inode, .. } => Some(*inode),
            Step::Unlink { .. } | Step::MoveOut { .. } => None,
        });
        self.live.values().chain(self.durable.values()).copied().chain(pending)
    }

    pub(super) fn take(&mut self, step: Step) {
        step.apply(&mut self.live);
        self.pending.push(step);
    }

    pub(super) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Where the arriving half of a rename stands among the unsynced steps.
    pub(super) fn arrival(&self, wanted: MoveId) -> Option<usize> {
        self.pending.iter().position(|step| matches!(step, Step::MoveIn { id, .. } if *id == wanted))
    }

    /// Makes the first `count` unsynced steps durable. Gives the departures among them.
    pub(super) fn sync(&mut self, count: usize) -> Vec<(Inode, MoveId)> {
        let mut departures = Vec::new();
        for step in self.pending.drain(..count.min(self.pending.len())) {
            step.apply(&mut self.durable);
            if let Step::MoveOut { to, id, .. } = step {
                departures.push((to, id));
            }
        }
        departures
    }

    /// What is unsynced counts as clean, and is lost to `durable`.
    pub(super) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    /// Shows what is durable.
    pub(super) fn fall_back(&mut self) {
        self.pending.clear();
        self.live = self.durable.clone();
    }
}

impl Step {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Self::Link { name, inode } | Self::MoveIn { name, inode, .. } => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink { name } | Self::MoveOut { name, .. } => {
                names.remove(name);
            }
            Self::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}
