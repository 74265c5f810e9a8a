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
        // By hand: every entry that is read has one, and parsing it by the book and writing it again took longer than cutting the entry into its members.
        let text: &[u8; TEXT_LEN] = text.as_bytes().try_into().ok()?;
        let [y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0, b'T', time @ ..] = *text else { return None };
        let [h1, h0, b':', n1, n0, b':', s1, s0, b'.', f5, f4, f3, f2, f1, f0, b'Z'] = time else { return None };
        let (year, month, day) = (number(&[y3, y2, y1, y0])?, number(&[m1, m0])?, number(&[d1, d0])?);
        let (hour, minute, second) = (number(&[h1, h0])?, number(&[n1, n0])?, number(&[s1, s0])?);
        let calendar = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
        if !(calendar && hour < 24 && minute < 60 && second < 60) {
            return None;
        }
        let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        let micros = seconds * 1_000_000 + number(&[f5, f4, f3, f2, f1, f0])?;
        (micros <= Timestamp::MAX.as_microsecond()).then_some(Self(micros))
    }

    /// Reads any RFC 3339 time with a zone offset; digits beyond microseconds are cut.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, of a year that is not below 0. Years are counted from March, so that a leap day is the last of its year.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 153 days are five months from March on; 719,469 lie between 0000-03-01 and 1970-01-02.
    365 * year + leap_days + (153 * month + 2) / 5 + day - 719_469
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

    /// What jiff reads and writes again as it was.
    fn by_the_book(text: &str) -> Option<Micros> {
        Micros::parse(text).filter(|micros| micros.to_string() == text)
    }

    #[test]
    fn the_exact_form_is_read_as_jiff_reads_it() {
        let months = (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day)));
        let years = (0..=9999).filter(|year| year % 37 == 0 || year % 100 < 5 || (1960..2050).contains(year));
        let (mut good, mut bad) = (0, 0);
        for (year, (month, day)) in years.flat_map(|year| months.clone().map(move |day| (year, day))) {
            let text = format!("{year:04}-{month:02}-{day:02}T12:34:56.789012Z");
            let read = Micros::parse_exact(&text);
            assert_eq!(read, by_the_book(&text), "{text}");
            *if read.is_some() { &mut good } else { &mut bad } += 1;
        }
        assert!(good > 100_000 && bad > 10_000, "{good} {bad}");
        let times = [
            "0000-01-01T00:00:00.000000Z",
            "0001-01-01T00:00:00.000000Z",
            "9999-12-30T21:59:59.999999Z",
            "9999-12-30T22:00:00.999999Z",
            "9999-12-30T22:00:01.000000Z",
            "9999-12-31T23:59:59.999999Z",
            "2026-06-30T23:59:60.000000Z",
            "2026-06-30T24:00:00.000000Z",
            "2026-06-30T23:60:00.000000Z",
            "2026-06-30T23:59:59.99999 Z",
            "2026-06-30T23:59:59.-99999Z",
            "+026-06-30T23:59:59.999999Z",
            "2026-06-30 23:59:59.999999Z",
            "2026-06-30T23:59:59,999999Z",
            "2026-06-30T23:59:59.999999z",
            "2026-06-30T23:59:5\u{e9}.99999Z",
        ];
        for text in times {
            assert_eq!(Micros::parse_exact(text), by_the_book(text), "{text}");
        }
        for text in ["0000-01-01T00:00:00.000000Z", "9999-12-30T22:00:00.999999Z"] {
            assert!(Micros::parse_exact(text).is_some(), "{text}");
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
