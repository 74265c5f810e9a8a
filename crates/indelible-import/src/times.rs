//! How the records of a mapping write times.

use std::borrow::Cow;

use indelible_core::time::Micros;

use crate::{
    error::RecordError,
    event::{Text, cut},
    members::time,
};

const MEMBER: &str = "occurred_at";

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Times {
    /// RFC 3339, also with a space in the place of the `T`, as databases write it.
    #[default]
    Rfc3339,
    /// A number since 1970, with decimals or without; so many microseconds are one unit.
    Unix { unit: &'static str, micros: i128 },
}

impl Times {
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("rfc3339", Self::Rfc3339),
        ("unix_s", Self::Unix { unit: "seconds", micros: 1_000_000 }),
        ("unix_ms", Self::Unix { unit: "milliseconds", micros: 1_000 }),
        ("unix_us", Self::Unix { unit: "microseconds", micros: 1 }),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, times)| *times)
    }

    /// The time in a form that events carry.
    pub(crate) fn read(self, text: Text<'static>) -> Result<Text<'static>, RecordError> {
        match self {
            Self::Rfc3339 => time(MEMBER, with_t(text)),
            Self::Unix { unit, micros } => match since_1970(&text, micros) {
                Some(time) => Ok(Cow::Owned(time.to_string())),
                None => Err(RecordError::Unix { member: MEMBER, found: cut(&text, 64).to_owned(), unit }),
            },
        }
    }
}

fn with_t(text: Text<'static>) -> Text<'static> {
    match text.split_at_checked("2026-01-31".len()) {
        Some((day, rest)) if rest.starts_with(' ') => Cow::Owned(format!("{day}T{}", rest.trim_start())),
        _ => text,
    }
}

/// Digits behind the microseconds are cut, as they are everywhere.
fn since_1970(text: &str, unit: i128) -> Option<Micros> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let mut micros = whole.parse::<i128>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        micros += i128::from(digit - b'0') * place;
    }
    let time = Micros(i64::try_from(sign * micros).ok()?);
    // What lies beyond the years that can be written comes out as another time.
    (Micros::parse_exact(&time.to_string()) == Some(time)).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(times: &str, text: &str, expect: Option<&str>) {
        let read = Times::named(times).unwrap().read(Cow::Owned(text.to_owned()));
        assert_eq!(read.ok().as_deref(), expect, "{times} {text}");
    }

    #[test]
    fn reads_what_databases_write() {
        check("rfc3339", "2023-01-27T18:28:08.129781Z", Some("2023-01-27T18:28:08.129781Z"));
        check("rfc3339", "2023-01-27 18:28:08+02:00", Some("2023-01-27T18:28:08+02:00"));
        check("rfc3339", "2023-01-27 18:28:08", None);
        check("rfc3339", "2023-13-27 18:28:08Z", None);
        check("unix_s", "1674844088", Some("2023-01-27T18:28:08.000000Z"));
        check("unix_s", "1674844088.1297819", Some("2023-01-27T18:28:08.129781Z"));
        check("unix_ms", "1674844088129", Some("2023-01-27T18:28:08.129000Z"));
        check("unix_ms", "1674844088129.7", Some("2023-01-27T18:28:08.129700Z"));
        check("unix_us", "-1", Some("1969-12-31T23:59:59.999999Z"));
        for bad in ["", "-", "1e9", "soon", "1.2.3", "99999999999999999999999", "999999999999999"] {
            check("unix_s", bad, None);
        }
    }
}
