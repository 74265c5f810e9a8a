//! The relay: from the outbox of a database into a log, exactly once by id.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use indelible::{AppendError, Log, LogError};
use indelible_core::{entry::MAX_EVENT_BYTES, hex};
use indelible_store::store::StoreError;
use indelible_store_postgres::{Database, Waiting};
use serde_json::{Map, Value, json};
use thiserror::Error;

/// Most digits of which a double keeps every one.
const EXACT_DIGITS: usize = 15;

/// Why the relay stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(LogError),
    /// The log was frozen.
    #[error(
        "`{origin}` was frozen ({reason}) and takes nothing any more: what waits for it in the outbox stays there; go on under a new name with `indelible log succeed`, give that name to the applications (the setting `indelible.log`, triggers installed anew), and record what waits again under it (`docs/stores.md` says how)"
    )]
    Frozen {
        /// The log.
        origin: String,
        /// Why.
        reason: String,
    },
    /// The log takes nothing any more.
    #[error("the log takes no events: what waits goes on waiting")]
    Append(#[source] AppendError),
}

impl From<LogError> for RelayError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Frozen { origin, reason } => Self::Frozen { origin, reason },
            error => Self::Log(error),
        }
    }
}

impl RelayError {
    /// Whether the same may go well soon: the database was away.
    fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => is_away(error),
            Self::Log(LogError::Store(error)) => is_away(error),
            Self::Append(error) | Self::Log(LogError::Append(error)) => match error {
                AppendError::Store(error) => is_away(error),
                AppendError::Unknown { source, .. } => matches!(&**source, LogError::Store(error) if is_away(error)),
                _ => false,
            },
            Self::Log(_) | Self::Frozen { .. } => false,
        }
    }
}

fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::TryAgain { .. } | StoreError::Database { .. })
}

/// What a relay has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Events that are durable in the log now.
    pub recorded: u64,
    /// Those of them that a relay before had recorded and not taken away.
    pub duplicates: u64,
    /// Events that the log refused; they are set aside with the reason.
    pub refused: u64,
}

/// What a relay that runs tells as it goes.
#[derive(Debug)]
pub enum Told<'a> {
    /// Events were moved.
    Moved(Relayed),
    /// Nothing can be moved now, and it is tried again. Told once, until [`Told::Back`].
    Away(&'a RelayError),
    /// It can be moved again.
    Back,
}

/// Moves events from an outbox into a log. Several may run at once.
pub struct Relay<'a> {
    database: &'a Database,
    log: &'a Log,
    batch: u32,
}

impl<'a> Relay<'a> {
    /// From this database into this log.
    #[must_use]
    pub fn new(database: &'a Database, log: &'a Log) -> Self {
        Self { database, log, batch: 1000 }
    }

    /// Moves what waits now, in batches, until nothing waits.
    ///
    /// # Errors
    /// [`RelayError`]; what was moved before stays moved, everything else waits.
    pub fn drain(&self) -> Result<Relayed, RelayError> {
        let mut total = Relayed::default();
        self.drain_into(&mut total)?;
        Ok(total)
    }

    fn drain_into(&self, total: &mut Relayed) -> Result<(), RelayError> {
        loop {
            let moved = self.step()?;
            total.recorded += moved.recorded;
            total.duplicates += moved.duplicates;
            total.refused += moved.refused;
            if moved.recorded + moved.refused == 0 {
                return Ok(());
            }
        }
    }

    /// Moves what waits, and what comes, until `stop` is set.
    ///
    /// # Errors
    /// As [`Relay::drain`], but for what passes: a lost database is tried again, and `told` hears of it once.
    pub fn run(&self, stop: &AtomicBool, every: Duration, told: &dyn Fn(Told<'_>)) -> Result<(), RelayError> {
        let mut away = false;
        while !stop.load(Ordering::Acquire) {
            let mut moved = Relayed::default();
            let result = self.drain_into(&mut moved);
            if result.is_ok() && away {
                told(Told::Back);
            }
            if moved != Relayed::default() {
                told(Told::Moved(moved));
            }
            away = match result {
                Ok(()) => false,
                Err(error) if !error.is_passing() => return Err(error),
                Err(error) => {
                    if !away {
                        told(Told::Away(&error));
                    }
                    true
                }
            };
            thread::sleep(every);
        }
        Ok(())
    }

    fn step(&self) -> Result<Relayed, RelayError> {
        let taken = self.database.take_outbox(self.log.origin(), self.batch)?;
        if taken.events.is_empty() {
            return Ok(Relayed::default());
        }
        let mut texts = Vec::with_capacity(taken.events.len());
        for waiting in &taken.events {
            texts.push(self.prepare(waiting)?);
        }
        let (mut recorded, mut refused, mut moved) = (Vec::new(), Vec::new(), Relayed::default());
        for (waiting, result) in taken.events.iter().zip(self.log.append_all(&texts)) {
            match result {
                Ok(receipt) => {
                    moved.duplicates += u64::from(receipt.duplicate);
                    recorded.push(waiting.row);
                }
                Err(error) if error.is_refusal() => refused.push((waiting.row, indelible::error::chain(&error))),
                Err(error) => return Err(self.stopped(error)),
            }
        }
        if !refused.is_empty() {
            // What the log does not take must not vanish from it without a word.
            let reason = format!(
                "{} events of the outbox were refused; they stand in `indelible.outbox_refused`",
                refused.len()
            );
            self.log.record_gap(refused.len() as u64, &reason, None)?;
        }
        (moved.recorded, moved.refused) = (recorded.len() as u64, refused.len() as u64);
        taken.done(&recorded, &refused)?;
        Ok(moved)
    }

    /// Why the log takes nothing: that it was frozen meanwhile is what to tell, where it was.
    fn stopped(&self, error: AppendError) -> RelayError {
        match self.log.frozen() {
            Ok(Some(reason)) => RelayError::Frozen { origin: self.log.origin().to_owned(), reason },
            _ => RelayError::Append(error),
        }
    }

    /// The event as the log takes it: numbers that a double cannot hold as text, and what is too large for an entry as an attachment.
    fn prepare(&self, waiting: &Waiting) -> Result<Vec<u8>, RelayError> {
        let text = exact_numbers(&waiting.event);
        if text.len() <= MAX_EVENT_BYTES {
            return Ok(text.into_owned().into_bytes());
        }
        let Ok(Value::Object(mut event)) = serde_json::from_str(&text) else {
            return Ok(text.into_owned().into_bytes());
        };
        for member in ["change", "details"] {
            let Some(content) = event.remove(member) else { continue };
            let content = serde_json::to_vec(&content).unwrap_or_default();
            let digest = format!("sha256:{}", hex::encode(&self.log.put_attachment(&content)?));
            attach(&mut event, &json!({ "digest": digest, "name": format!("{member}.json"), "size": content.len() }));
        }
        Ok(Value::Object(event).to_string().into_bytes())
    }
}

fn attach(event: &mut Map<String, Value>, attachment: &Value) {
    let named = event.entry("attachments").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(named) = named {
        named.push(attachment.clone());
    }
}

/// JSON text with numbers of more digits than a double keeps as strings, as the database printed them.
fn exact_numbers(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let (mut out, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = string_end(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let rest = bytes.get(at..).unwrap_or_default();
                let len =
                    rest.iter().take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')).count();
                let number = text.get(at..at + len).unwrap_or_default();
                if !is_exact(number) {
                    out.push_str(text.get(copied..at).unwrap_or_default());
                    out.push('"');
                    out.push_str(number);
                    out.push('"');
                    copied = at + len;
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// Behind the string that begins at `at`, behind its quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn is_exact(number: &str) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0');
    let significant = if mantissa.contains('.') { significant } else { significant.trim_end_matches('0') };
    significant.len() <= EXACT_DIGITS && number.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_double_loses_become_text_and_nothing_else_changes() {
        let rows = [
            (r#"{"a": 1, "b": -2.5, "c": "12345678901234567890"}"#, None),
            (r#"{"a": 12345678901234567890}"#, Some(r#"{"a": "12345678901234567890"}"#)),
            (r#"[0.1234567890123456789, 5]"#, Some(r#"["0.1234567890123456789", 5]"#)),
            (
                r#"{"q\"7": 100000000000000000000, "x": -9007199254740993}"#,
                Some(r#"{"q\"7": 100000000000000000000, "x": "-9007199254740993"}"#),
            ),
            (r#"{"a": 123456789012345}"#, None),
        ];
        for (text, expect) in rows {
            assert_eq!(exact_numbers(text), expect.unwrap_or(text));
        }
    }
}
