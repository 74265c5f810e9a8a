//! From a public key that is trusted to the keys that sign a log now.
//!
//! Whoever verifies brings a public key. It vouches for the newest checkpoint where it signed that, or where it signed the first kept checkpoint over the change that
//! ended its time: that one names its followers, in an entry below its root (`docs/format.md` section 3).

use indelible_core::{
    history::KeyHistory,
    note::{Note, VerifyingKey},
    tree::TreeSize,
};

/// The keys that are trusted, and how far their word was followed.
pub(super) struct Trust {
    keys: Vec<VerifyingKey>,
    /// The first and the last set that each of them is in, of those that are in any.
    reigns: Vec<(usize, usize)>,
    /// The last sets whose followers one of them vouched for.
    followed: Vec<usize>,
}

/// How the keys that are trusted stand to the checkpoint that a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// They vouch for it.
    Vouched,
    /// The log does not know them.
    Strange,
    /// They are in force only behind it, from that entry on.
    NotYet(u64),
    /// They were replaced, and no kept checkpoint shows that they knew.
    Lost,
    /// They are in force, and others signed without them, as the policy allows.
    Silent,
}

impl Trust {
    pub(super) fn new(keys: &[VerifyingKey], history: &KeyHistory) -> Self {
        let reigns = keys.iter().filter_map(|key| history.reign_of(key)).collect();
        Self { keys: keys.to_vec(), reigns, followed: Vec::new() }
    }

    /// The history grew: a key may come into force that was not known.
    pub(super) fn renew(&mut self, history: &KeyHistory) {
        self.reigns = self.keys.iter().filter_map(|key| history.reign_of(key)).collect();
    }

    /// A kept checkpoint is the first one over changes of keys.
    pub(super) fn passed(&mut self, history: &KeyHistory, before: TreeSize, size: TreeSize, note: &Note) {
        let over = history.set_number(before)..history.set_number(size);
        if self.signed(note) {
            let ended = self.reigns.iter().map(|(_, last)| *last).filter(|last| over.contains(last));
            self.followed.extend(ended);
        }
    }

    fn signed(&self, note: &Note) -> bool {
        self.keys.iter().any(|key| note.verify(key).is_ok())
    }

    /// How they stand to the newest checkpoint. `kept`: the size of the newest kept one, where none is missing.
    pub(super) fn standing(
        &self,
        history: &KeyHistory,
        newest: Option<(TreeSize, &Note)>,
        kept: Option<TreeSize>,
    ) -> Standing {
        let Some(first) = self.reigns.iter().map(|(first, _)| *first).min() else {
            // What brought them is absent, and that is told; what one of them signed it vouches for.
            let signed = newest.is_some_and(|(_, note)| self.signed(note));
            return if signed { Standing::Vouched } else { Standing::Strange };
        };
        let Some((size, note)) = newest else { return Standing::Vouched };
        let number = history.set_number(size);
        if number < first {
            return Standing::NotYet(history.sets().get(first).map_or(0, |set| set.first));
        }
        let reigns = self.reigns.iter().any(|(first, last)| (*first..=*last).contains(&number));
        // No kept one is over the change yet: the newest is by those before as well then, which the scan has checked.
        let over = kept.map_or(number, |kept| history.set_number(kept))..number;
        let first_over = self.reigns.iter().any(|(_, last)| over.contains(last));
        let vouched = (reigns || first_over) && self.signed(note) || self.followed.iter().any(|last| *last < number);
        match (vouched, reigns) {
            (true, _) => Standing::Vouched,
            (false, true) => Standing::Silent,
            (false, false) => Standing::Lost,
        }
    }
}
