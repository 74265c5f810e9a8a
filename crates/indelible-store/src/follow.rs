//! Whether a line is the one that comes next: its index, the chain, and which batch it says it is of.

use indelible_core::{
    entry::Line,
    tree::{Hash, leaf_hash},
};

/// Follows the lines of a log in their order. Signatures are not looked at here.
#[derive(Clone, Debug)]
pub struct Follower {
    next: u64,
    leaf: Option<Hash>,
    batch: Option<u64>,
}

impl Follower {
    /// Expects entry `next` behind an entry with this leaf hash (that of the empty string for entry 0), of this batch. `None` where that is not known:
    /// then the first line is not held against it.
    #[must_use]
    pub fn new(next: u64, leaf: Option<Hash>, batch: Option<u64>) -> Self {
        Self { next, leaf, batch }
    }

    /// Index of the line that is expected.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Leaf hash of the line before.
    #[must_use]
    pub fn leaf(&self) -> Option<Hash> {
        self.leaf
    }

    /// Looks at a line without going on to the next. Returns its leaf hash.
    ///
    /// # Errors
    /// Why it is not the next one.
    pub fn check(&self, line: &Line<'_>) -> Result<Hash, String> {
        if line.entry.index.0 != self.next {
            return Err(format!("it says that it is entry {}", line.entry.index));
        }
        if self.leaf.is_some_and(|leaf| line.entry.prev != leaf) {
            return Err("it does not continue the chain".to_owned());
        }
        let own = line.batch.0 == self.next;
        if !own && (line.batch.0 > self.next || self.batch.is_some_and(|batch| batch != line.batch.0)) {
            return Err("its batch is neither its own nor that of the line before".to_owned());
        }
        Ok(leaf_hash(line.entry.bytes))
    }

    /// Goes on behind a line that was looked at.
    pub fn advance(&mut self, line: &Line<'_>, leaf: Hash) {
        *self = Self { next: self.next + 1, leaf: Some(leaf), batch: Some(line.batch.0) };
    }

    /// [`Follower::check`], then [`Follower::advance`].
    ///
    /// # Errors
    /// Why it is not the next one.
    pub fn take(&mut self, line: &Line<'_>) -> Result<Hash, String> {
        let leaf = self.check(line)?;
        self.advance(line, leaf);
        Ok(leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Scribe;

    #[test]
    fn only_the_next_line_is_taken() {
        let mut scribe = Scribe::default();
        let batches = [scribe.batch(&[20, 20]), scribe.batch(&[20, 20, 20])];
        let text: Vec<u8> = batches.iter().flat_map(|batch| batch.bytes.clone()).collect();
        let lines: Vec<Line<'_>> = crate::store::lines(&text)
            .enumerate()
            .map(|(n, line)| crate::store::parse_line(&line[..line.len() - 1], n as u64).unwrap())
            .collect();
        let mut follower = Follower::new(0, Some(leaf_hash(b"")), None);
        for (n, line) in lines.iter().enumerate() {
            for (m, other) in lines.iter().enumerate() {
                assert_eq!(follower.check(other).is_ok(), m == n, "line {m} in the place of {n}");
            }
            follower.take(line).unwrap();
        }
        // The first line behind a place of which only the index is known.
        assert!(Follower::new(3, None, None).check(&lines[3]).is_ok());
        assert!(Follower::new(3, None, Some(0)).check(&lines[3]).is_err());
        assert!(Follower::new(3, Some(leaf_hash(b"")), None).check(&lines[3]).unwrap_err().contains("chain"));
    }
}
