//! Numbers: the grammar of RFC 8259, the spelling of ECMAScript, and whether the one keeps what the other says.

use super::{
    error::{Fault, JsonErrorKind},
    scan::digits_end,
};

/// Integers of so many digits are their own canonical form: they are below 2^53.
const VERBATIM_DIGITS: usize = 15;

/// A number of the text.
pub(super) struct Number {
    /// Where it ends.
    pub(super) end: usize,
    /// Whether it stands in the text as it must be written.
    pub(super) verbatim: bool,
}

/// Reads the number that begins at `start`, by the grammar alone.
#[inline]
pub(super) fn scan(bytes: &[u8], start: usize) -> Result<Number, Fault> {
    let negative = bytes.get(start) == Some(&b'-');
    let digits = start + usize::from(negative);
    let end = digits_end(bytes, digits);
    let zero = bytes.get(digits) == Some(&b'0');
    if end == digits {
        let kind = if bytes.get(end) == Some(&b'I') { JsonErrorKind::NotANumber } else { JsonErrorKind::Unexpected };
        return Err(Fault::new(kind, if kind == JsonErrorKind::NotANumber { start } else { end }));
    }
    if zero && end - digits > 1 {
        return Err(Fault::new(JsonErrorKind::LeadingZero, start));
    }
    match bytes.get(end) {
        Some(b'.' | b'e' | b'E') => Ok(Number { end: fraction_end(bytes, end)?, verbatim: false }),
        _ => Ok(Number { end, verbatim: end - digits <= VERBATIM_DIGITS && !(negative && zero) }),
    }
}

fn fraction_end(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let mut end = start;
    if bytes.get(end) == Some(&b'.') {
        end = some_digits(bytes, end + 1)?;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = matches!(bytes.get(end + 1), Some(b'+' | b'-'));
        end = some_digits(bytes, end + 1 + usize::from(signed))?;
    }
    Ok(end)
}

fn some_digits(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    match digits_end(bytes, start) {
        end if end == start => Err(Fault::new(JsonErrorKind::Unexpected, start)),
        end => Ok(end),
    }
}

/// The canonical spelling of a number, if it denotes exactly what `text` says.
pub(super) fn canonical<'b>(text: &str, buffer: &'b mut ryu_js::Buffer) -> Option<&'b str> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let canonical = buffer.format_finite(value);
    (canonical == text || Decimal::of(canonical) == Decimal::of(text)).then_some(canonical)
}

/// The value 0.DIGITS × 10^exponent; no leading and no trailing zero, so that equal values are equal here.
#[derive(PartialEq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// Reads a number of the grammar. A zero has no sign: JSON has one zero. An exponent beyond `i64` is cut to its
    /// ends, which no finite canonical form reaches.
    fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (sign, magnitude) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
        let all = [whole.as_bytes(), fraction.as_bytes()].concat();
        let leading = all.iter().take_while(|&&digit| digit == b'0').count();
        let trailing = all.iter().skip(leading).rev().take_while(|&&digit| digit == b'0').count();
        let digits: Vec<u8> = all.iter().copied().take(all.len() - trailing).skip(leading).collect();
        if digits.is_empty() {
            return Self { negative: false, digits, exponent: 0 };
        }
        let end = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent = exponent.parse().unwrap_or(end);
        let exponent = signed(whole.len()).saturating_sub(signed(leading)).saturating_add(exponent);
        Self { negative: sign, digits, exponent }
    }
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    #[track_caller]
    fn check(text: &str, expect: Option<&str>) {
        let mut buffer = ryu_js::Buffer::new();
        assert_eq!(canonical(text, &mut buffer), expect, "{text}");
    }

    #[test]
    fn keeps_the_decimal_value_or_refuses() {
        for (text, expect) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0e7", "0"),
            ("0e99999999999999999999", "0"),
            ("1.0", "1"),
            ("-1.50", "-1.5"),
            ("1e2", "100"),
            ("100e-2", "1"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1E30", "1e+30"),
            ("1e+30", "1e+30"),
            ("1000000000000000000000", "1e+21"),
            ("100000000000000000000", "100000000000000000000"),
            ("9007199254740992", "9007199254740992"),
            ("9007199254740994", "9007199254740994"),
            ("333333333.3333333", "333333333.3333333"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            check(text, Some(expect));
        }
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "18446744073709551615",
            "0.1000000000000000055",
            "333333333.33333329",
            "1e400",
            "-1e400",
            "1e-400",
            "4e-324",
            "1e99999999999999999999",
            "1e-99999999999999999999",
            "0.10000000000000000555111512312578270211815834045410156250001",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn es6_numbers_10000() {
        let shared = std::env::var_os("INDELIBLE_SHARED")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
        let file = shared.join("vectors/jcs-rfc8785/es6-numbers-10000.csv");
        let Ok(mut lines) = csv::ReaderBuilder::new().has_headers(false).from_path(&file) else {
            eprintln!("SKIPPED (aloud): no {}", file.display());
            return;
        };
        let mut count = 0;
        for line in lines.records() {
            let line = line.unwrap();
            let value = f64::from_bits(u64::from_str_radix(&line[0], 16).unwrap());
            let mut buffer = ryu_js::Buffer::new();
            assert_eq!(buffer.format_finite(value), &line[1], "bits {}", &line[0]);
            check(&line[1], Some(&line[1]));
            count += 1;
        }
        assert_eq!(count, 10_000);
    }
}
