//! How many rows are read at once, and how fast.

use std::time::{Duration, Instant};

use crate::{
    stop::Stop,
    table::{PAGE_ROWS, Row},
};

/// Bytes that a page should hold at most, as far as the pages before it tell.
const PAGE_BYTES: usize = 4 << 20;

/// Rows of the first page, when nothing is known yet.
const FIRST_PAGE: usize = 100;

/// The limit on rows per second, and the size of the next page.
pub(crate) struct Pace {
    rate: Option<u64>,
    begun: Instant,
    rows: u64,
    page: usize,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate, begun: Instant::now(), rows: 0, page: FIRST_PAGE }
    }

    /// How many rows to read now: as many as fit into memory, and no more than half a second's share.
    pub(crate) fn page(&self) -> usize {
        let share = self.rate.map_or(usize::MAX, |rate| usize::try_from(rate / 2).unwrap_or(usize::MAX));
        self.page.min(share).max(1)
    }

    /// Takes note of a page, and waits where it came too soon.
    pub(crate) fn after(&mut self, rows: &[Row], stop: &Stop) {
        let bytes: usize = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.text().len()).sum();
        self.page = if bytes > PAGE_BYTES { self.page / 2 } else { self.page * 2 }.clamp(1, PAGE_ROWS);
        let Some(rate) = self.rate else { return };
        self.rows += rows.len() as u64;
        let due = Duration::from_millis(self.rows.saturating_mul(1000) / rate.max(1));
        stop.wait(due.saturating_sub(self.begun.elapsed()));
    }

    /// Time in which there was nothing to do is not made up for.
    pub(crate) fn restart(&mut self) {
        (self.begun, self.rows) = (Instant::now(), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::Cell;

    #[test]
    fn pages_shrink_where_rows_are_large_and_keep_to_the_rate() {
        let row = |bytes: usize| vec![Row { cells: vec![Cell::Text("x".repeat(bytes))] }];
        let mut pace = Pace::new(None);
        for expected in [200, 400, 800, 1000, 1000] {
            pace.after(&row(1), &Stop::default());
            assert_eq!(pace.page(), expected);
        }
        pace.after(&row(PAGE_BYTES + 1), &Stop::default());
        assert_eq!(pace.page(), 500);
        assert_eq!((Pace::new(Some(20)).page(), Pace::new(Some(1)).page()), (10, 1));
        let mut pace = Pace::new(Some(100));
        let begun = Instant::now();
        for _ in 0..10 {
            pace.after(&row(1), &Stop::default());
        }
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }
}
