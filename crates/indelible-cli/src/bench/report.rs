//! Conditions, rows, and how they are told. No figure goes without its durability, batch, entry size and callers.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use super::{BATCH, Bench, place};

/// The store that closes segments.
const DIRECTORY: &str = "directory";
/// Below so many entries a run is over before caches and threads are warm.
const FEW: u64 = 100_000;

/// What holds for all rows.
#[derive(Serialize)]
pub(crate) struct Conditions {
    store: String,
    cores: usize,
    filesystem: String,
    /// Whether that file system has nothing to sync to.
    filesystem_in_memory: bool,
    event_bytes: usize,
    line_bytes: usize,
    events: u64,
    durability: [&'static str; 2],
    batch: usize,
    callers: [usize; 4],
    keeper: &'static str,
    input: &'static str,
    version: &'static str,
}

impl Conditions {
    pub(crate) fn here(bench: &Bench<'_>) -> Self {
        Self::of(DIRECTORY.to_owned(), bench.dir, bench.pool.event_bytes, bench.lines.line_bytes(), bench.events)
    }

    /// Those of a store of any kind whose files are in a directory.
    pub(crate) fn of(store: String, dir: &Path, event_bytes: usize, line_bytes: usize, events: u64) -> Self {
        let filesystem = place::filesystem(dir);
        let in_directory = store == DIRECTORY;
        Self {
            store,
            cores: place::cores(),
            filesystem_in_memory: place::is_memory(&filesystem),
            filesystem,
            event_bytes,
            line_bytes,
            events,
            durability: ["durable", "bounded"],
            batch: BATCH,
            callers: [1, 2, 4, 64],
            keeper: if in_directory {
                "on: read-back, a checkpoint every second, closed segments compressed"
            } else {
                "on: read-back, a checkpoint every second"
            },
            input: "compact JSON without id, members not sorted",
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// Which side of the target a ratio should be on.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    None,
}

impl Target {
    fn met(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(ratio >= least),
            Self::AtMost(most) => Some(ratio <= most),
            Self::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {least}"),
            Self::AtMost(most) => format!("≤ {most}"),
            Self::None => "–".to_owned(),
        }
    }
}

/// How a row was measured.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// `durable`, `bounded`; `–` where nothing is written.
    pub(crate) durability: &'static str,
    /// Events of one call.
    pub(crate) batch: usize,
    pub(crate) callers: usize,
    /// What the ceiling is.
    pub(crate) against: &'static str,
    pub(crate) target: Target,
}

#[derive(Serialize)]
struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    ceiling: f64,
    ratio: f64,
    against: &'static str,
    durability: &'static str,
    batch: usize,
    callers: usize,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// All that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    conditions: Conditions,
    results: Vec<Row>,
}

impl Report {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self { conditions, results: Vec::new() }
    }

    /// Adds a figure with its ceiling.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, (value, ceiling): (f64, f64), how: How) {
        let ratio = value / ceiling;
        self.results.push(Row {
            name: name.to_owned(),
            value: round(value),
            unit,
            ceiling: round(ceiling),
            ratio: round(ratio),
            against: how.against,
            durability: how.durability,
            batch: how.batch,
            callers: how.callers,
            target: how.target.text(),
            met: how.target.met(ratio),
            note: None,
        });
    }

    /// Says something about the row that was added last.
    pub(crate) fn note(&mut self, note: String) {
        if let Some(row) = self.results.last_mut() {
            row.note = Some(note);
        }
    }

    pub(crate) fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self)?;
        writeln!(out)
    }

    pub(crate) fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        let c = &self.conditions;
        writeln!(
            out,
            "{}; {} cores, {}{}; events of {} bytes (lines of {}); large log: {} entries; keeper {}",
            c.store,
            c.cores,
            c.filesystem,
            if c.filesystem_in_memory { " (IN MEMORY: these figures say nothing about a disk)" } else { "" },
            c.event_bytes,
            c.line_bytes,
            c.events,
            c.keeper,
        )?;
        if c.events < FEW {
            let few = "a log of so few entries is over before anything is warm: ratios and MISS mean little";
            writeln!(out, "{few}; the targets are for the default --events")?;
        }
        writeln!(out)?;
        writeln!(
            out,
            "{:<26} {:>12} {:<9} {:>12} {:>6} {:>7}      {:<10} {:>5} {:>7} {:>6}  against",
            "", "value", "", "ceiling", "ratio", "target", "durability", "batch", "callers", "bytes"
        )?;
        for row in &self.results {
            let mark = match row.met {
                Some(true) => "ok",
                Some(false) => "MISS",
                None => "",
            };
            writeln!(
                out,
                "{:<26} {:>12} {:<9} {:>12} {:>6.2} {:>7} {:<5}{:<10} {:>5} {:>7} {:>6}  {}",
                row.name,
                figure(row.value),
                row.unit,
                figure(row.ceiling),
                row.ratio,
                row.target,
                mark,
                row.durability,
                row.batch,
                row.callers,
                c.event_bytes,
                row.against,
            )?;
            if let Some(note) = &row.note {
                writeln!(out, "{:<26} {note}", "")?;
            }
        }
        Ok(())
    }
}

/// Four significant digits are more than a benchmark has.
fn round(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powf(3.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

fn figure(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The middle of some figures.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The figure below which a share of them lies.
pub(crate) fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let at = (0..=last).find(|at| *at as f64 >= share * last as f64).unwrap_or(last);
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_figures() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((quantile(&[1.0, 2.0, 3.0, 4.0], 0.99) - 4.0).abs() < 1e-9);
        assert!(median(&[]).is_nan());
        assert_eq!(figure(1_234_567.0), "1,234,567");
        assert_eq!(figure(12.345), "12.35");
        assert!((round(123_456.0) - 123_500.0).abs() < 1e-6);
    }
}
