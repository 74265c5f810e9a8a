//! Times as entries carry them: RFC 3339, UTC, microseconds, always 27 bytes.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};

/// A moment, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// The length of the written form.
pub const TEXT_LEN: usize = "2026-01-01T00:00:00.000000Z".len();

impl Micros {
    /// Reads the exact written form, `YYYY-MM-DDThh:mm:ss.ffffffZ`; `None` for any other spelling of a time.
    #[must_use]
    pub fn parse_exact(text: &str) -> Option<Self> {
        let micros = Self::parse(text)?;
        (micros.to_string() == text).then_some(micros)
    }

    /// Reads any RFC 3339 time with a zone offset; digits beyond microseconds are cut.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::MAX);
        let t = TimeZone::UTC.to_datetime(time);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            t.year(),
            t.month(),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.subsec_nanosecond() / 1000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_27_bytes_and_reads_them_back() {
        for micros in [0, 1, -1, 1_795_218_244_123_456, 253_402_207_200_999_999] {
            let text = Micros(micros).to_string();
            assert_eq!(text.len(), TEXT_LEN, "{text}");
            assert_eq!(Micros::parse_exact(&text), Some(Micros(micros)), "{text}");
        }
    }

    #[test]
    fn exact_form_refuses_other_spellings() {
        for text in ["2026-01-01T00:00:00Z", "2026-01-01t00:00:00.000000Z", "2026-01-01T00:00:00.000000+00:00", ""] {
            assert_eq!(Micros::parse_exact(text), None, "{text}");
        }
        assert_eq!(Micros::parse("2026-01-01T01:00:00.0000019+01:00"), Micros::parse("2026-01-01T00:00:00.000001Z"));
    }
}
