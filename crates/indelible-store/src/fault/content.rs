//! The content of one simulated file: what it shows, what survives, and the changes between the two.
//!
//! INVARIANT(replay): without failed syncs, `durable` with `pending` replayed on it is `live`.

use std::{mem, sync::Arc};

use super::random::Random;
use crate::disk::Protection;

/// The unit in which a power loss keeps or loses data, in bytes.
pub const SECTOR: usize = 512;

/// What a power loss keeps of the unsynced changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    AllLost,
    AllKept,
    /// The first so many sectors and `set_len`s, in the order of writing.
    Prefix,
    /// Each sector, length and `set_len` by itself.
    Scattered,
    /// The file is as long as it was to be, without the data.
    LengthsOnly,
}

impl Fate {
    pub(super) fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::AllLost,
            1 => Self::AllKept,
            2 => Self::Prefix,
            3 => Self::Scattered,
            _ => Self::LengthsOnly,
        }
    }

    /// How many of `len` ordered steps survive.
    pub(super) fn prefix(self, len: usize, random: &mut Random) -> usize {
        match self {
            Self::AllLost => 0,
            Self::AllKept => len,
            Self::Prefix | Self::Scattered | Self::LengthsOnly => random.index(len + 1),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    SetLen(usize),
}

/// What of a change survives by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// One sector of the data of a write.
    Sector,
    /// The length that a write gives the file.
    Extension,
    /// A whole `set_len`.
    SetLen,
}

/// A file without its name. Copies share their bytes until one of them is written.
#[derive(Clone, Debug)]
pub(super) struct Content {
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    pending: Vec<Change>,
    protection: Protection,
}

impl Content {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self { live: Arc::clone(&bytes), durable: bytes, pending: Vec::new(), protection: Protection::None }
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn protection(&self) -> Protection {
        self.protection
    }

    pub(super) fn set_protection(&mut self, protection: Protection) {
        self.protection = protection;
    }

    /// Sets what is shown and what survives, whatever was there.
    pub(super) fn replace(&mut self, bytes: Vec<u8>) {
        *self = Self { protection: self.protection, ..Self::new(bytes) };
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        overwrite(Arc::make_mut(&mut self.live), offset, bytes);
        self.pending.push(Change::Write { offset, bytes: bytes.into() });
    }

    pub(super) fn set_len(&mut self, len: usize) {
        Arc::make_mut(&mut self.live).resize(len, 0);
        self.pending.push(Change::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        self.replay(|_| true);
    }

    /// What is unsynced counts as clean, and is lost to `durable`.
    pub(super) fn fail_sync(&mut self) {
        self.pending.clear();
    }

    pub(super) fn lose_power(&mut self, fate: Fate, random: &mut Random) {
        match fate {
            Fate::AllLost => self.pending.clear(),
            Fate::AllKept => self.sync(),
            Fate::Scattered => self.replay(|_| random.coin()),
            Fate::LengthsOnly => self.replay(|unit| unit != Unit::Sector),
            Fate::Prefix => {
                let units = self.pending.iter().map(Change::units).sum();
                let mut left = fate.prefix(units, random);
                self.replay(|unit| {
                    let kept = unit != Unit::Extension && left > 0;
                    left -= usize::from(kept);
                    kept
                });
            }
        }
        self.live = Arc::clone(&self.durable);
    }

    fn replay(&mut self, mut keep: impl FnMut(Unit) -> bool) {
        let pending = mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for change in &pending {
            change.replay(durable, &mut keep);
        }
    }
}

impl Change {
    fn units(&self) -> usize {
        match self {
            Self::Write { offset, bytes } => sectors(*offset, bytes).count(),
            Self::SetLen(_) => 1,
        }
    }

    fn replay(&self, content: &mut Vec<u8>, keep: &mut impl FnMut(Unit) -> bool) {
        match self {
            Self::SetLen(len) => {
                if keep(Unit::SetLen) {
                    content.resize(*len, 0);
                }
            }
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if end > content.len() && keep(Unit::Extension) {
                    content.resize(end, 0);
                }
                for (at, sector) in sectors(*offset, bytes) {
                    if keep(Unit::Sector) {
                        overwrite(content, at, sector);
                    }
                }
            }
        }
    }
}

/// Writes at `offset`, filling a gap before it with zeros.
fn overwrite(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    if let Some(target) = content.get_mut(offset..end) {
        target.copy_from_slice(bytes);
    }
}

/// The parts of a write between the sector boundaries of the file, each with its offset.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        let room = SECTOR - at % SECTOR;
        let (sector, after) = rest.split_at_checked(room).unwrap_or((rest, &[]));
        let found = (at, sector);
        (at, rest) = (at + sector.len(), after);
        Some(found).filter(|(_, sector)| !sector.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    #[test]
    fn sectors_cut_at_the_boundaries_of_the_file() {
        #[track_caller]
        fn check(offset: usize, len: usize, expect: &[(usize, usize)]) {
            let bytes = vec![1; len];
            let got: Vec<_> = sectors(offset, &bytes).map(|(at, sector)| (at, sector.len())).collect();
            assert_eq!(got, expect);
        }
        check(0, 0, &[]);
        check(7, 0, &[]);
        check(0, 512, &[(0, 512)]);
        check(0, 513, &[(0, 512), (512, 1)]);
        check(510, 4, &[(510, 2), (512, 2)]);
        check(1024, 40, &[(1024, 40)]);
        check(1, 1200, &[(1, 511), (512, 512), (1024, 177)]);
    }

    /// All contents that `fate` leaves of a file `old` on which `writes` and then `set_len` were not synced.
    fn outcomes(fate: Fate, old: &[u8], writes: &[(usize, Vec<u8>)], set_len: Option<usize>) -> Vec<Vec<u8>> {
        let mut found: Vec<Vec<u8>> = (0..256)
            .map(|seed| {
                let mut content = Content::new(old.to_vec());
                writes.iter().for_each(|(offset, bytes)| content.write(*offset, bytes));
                set_len.into_iter().for_each(|len| content.set_len(len));
                content.lose_power(fate, &mut Random::new(seed));
                assert_eq!(content.live(), content.durable());
                content.live().to_vec()
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn runs(runs: &[(u8, usize)]) -> Vec<u8> {
        runs.iter().flat_map(|(byte, len)| vec![*byte; *len]).collect()
    }

    #[test]
    fn each_fate_leaves_what_it_says() {
        let old = runs(&[(1, 512)]);
        let write = [(512, runs(&[(2, 512), (3, 100)]))];
        let (one, both) = (runs(&[(1, 512), (2, 512)]), runs(&[(1, 512), (2, 512), (3, 100)]));
        let zeros = runs(&[(1, 512), (0, 612)]);
        let hole = runs(&[(1, 512), (0, 512), (3, 100)]);
        let short = runs(&[(1, 512), (2, 512), (0, 100)]);
        assert_eq!(outcomes(Fate::AllLost, &old, &write, None), slice::from_ref(&old));
        assert_eq!(outcomes(Fate::AllKept, &old, &write, None), slice::from_ref(&both));
        assert_eq!(outcomes(Fate::LengthsOnly, &old, &write, None), slice::from_ref(&zeros));
        assert_eq!(outcomes(Fate::Prefix, &old, &write, None), [old.clone(), one.clone(), both.clone()]);
        let mut scattered = vec![old, zeros, hole, one, short, both];
        scattered.sort();
        assert_eq!(outcomes(Fate::Scattered, &runs(&[(1, 512)]), &write, None), scattered);
    }

    #[test]
    fn set_len_survives_or_not_as_one() {
        let (old, cut) = (runs(&[(1, 2000)]), runs(&[(1, 700)]));
        assert_eq!(outcomes(Fate::Scattered, &old, &[], Some(700)), [cut.clone(), old.clone()]);
        assert_eq!(outcomes(Fate::Prefix, &old, &[], Some(700)), [cut, old.clone()]);
        let longer = runs(&[(1, 2000), (0, 500)]);
        assert_eq!(outcomes(Fate::Scattered, &old, &[], Some(2500)), [old, longer]);
    }

    #[test]
    fn a_write_copies_only_its_own_bytes() {
        let mut content = Content::new(vec![0; 1 << 20]);
        content.write(0, b"first");
        let (live, durable) = (content.live().as_ptr(), content.durable().as_ptr());
        for at in 0..100 {
            content.write(at * 500, b"more");
            if at % 10 == 0 {
                content.sync();
            }
            assert_eq!(content.live().as_ptr(), live);
        }
        assert_eq!(content.durable().as_ptr(), durable);
    }
}
