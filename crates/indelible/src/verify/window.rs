//! Stored values that are read ahead, a window at a time.

use indelible_store::store::StoreError;

use super::anchors::wrong_type;

/// Hashes that are read from the stored tree at a time.
pub(super) const WINDOW: u64 = 4096;
/// Those of a level above the leaves: each stands for 256 times as many entries, and so many are one stored run.
pub(super) const LEVEL_WINDOW: u64 = 256;

/// A window of stored values that follow one another.
pub(super) struct Window<T> {
    /// How many are read at a time.
    most: u64,
    first: u64,
    values: Vec<T>,
    /// Why there are none, where what should hold them is no file.
    pub(super) no_file: Option<String>,
}

impl<T: Copy> Window<T> {
    pub(super) const fn of(most: u64) -> Self {
        Self { most, first: 0, values: Vec::new(), no_file: None }
    }

    /// The value at `index`, below `end`; reads the window from there where it is not in this one.
    pub(super) fn get(
        &mut self,
        index: u64,
        end: u64,
        read: impl FnOnce(u64, usize) -> Result<Vec<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if index >= end || self.no_file.is_some() {
            return Ok(None);
        }
        let held = index >= self.first && index - self.first < self.values.len() as u64;
        if !held {
            let count = usize::try_from(self.most.min(end - index)).unwrap_or(0);
            self.values = match read(index, count) {
                Ok(values) => values,
                // The file's length is told as a derived fault; here the value is just not known.
                Err(StoreError::Damaged { .. }) => return Ok(None),
                Err(error) => {
                    self.no_file = Some(wrong_type(&error).ok_or(error)?);
                    return Ok(None);
                }
            };
            self.first = index;
        }
        Ok(usize::try_from(index - self.first).ok().and_then(|at| self.values.get(at)).copied())
    }
}
