//! Whether canonical bytes are an event: one walk along the members and the tables of the schema.

use crate::{
    json::{CanonicalObject, short_pointer},
    time::Micros,
};

use super::{
    EventError, MAX_ID_BYTES, cursor,
    schema::{EVENT, Field, MAX_LEVEL, Shape},
    suggest::nearest,
};

/// Checks a whole event but for its size.
pub(super) fn check_event(object: &CanonicalObject) -> Result<(), EventError> {
    if object.bytes.first() != Some(&b'{') {
        return Err(EventError::NotAnObject { found: describe(&object.bytes, false) });
    }
    let bytes = |range| object.bytes.get(range).unwrap_or_default();
    let members = object.members.iter().map(|member| (bytes(member.name()), bytes(member.value())));
    check_members(EVENT, members, &Path::Top)
}

/// Checks an id that the caller did not bring.
pub(super) fn check_new_id(id: &str) -> Result<(), EventError> {
    match is_id(id.as_bytes()) && !id.contains(['"', '\\']) {
        true => Ok(()),
        false => Err(wrong(&Shape::Id, format!("\"{id}\"").as_bytes(), &Path::Top.member(b"id"))),
    }
}

/// The way to a value, held on the stack; written only into errors.
enum Path<'p> {
    Top,
    Member(&'p Path<'p>, &'p [u8]),
    Element(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    fn member(&'p self, name: &'p [u8]) -> Self {
        Self::Member(self, name)
    }

    fn pointer(&self) -> String {
        short_pointer(self.whole())
    }

    fn whole(&self) -> String {
        match self {
            Self::Top => String::new(),
            Self::Member(parent, name) => {
                let name = String::from_utf8_lossy(name).replace('~', "~0").replace('/', "~1");
                format!("{}/{name}", parent.whole())
            }
            Self::Element(parent, index) => format!("{}/{index}", parent.whole()),
        }
    }
}

/// Both `fields` and `members` are in canonical order.
fn check_members<'b>(
    fields: &'static [Field],
    members: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone,
    path: &Path<'_>,
) -> Result<(), EventError> {
    let mut rest = fields.iter();
    for (name, value) in members.clone() {
        // Members are sorted and there are no two of a name: a field that was passed by cannot come any more.
        let next = rest.find(|field| field.required || field.name.as_bytes() == name);
        let Some(field) = next.filter(|field| field.name.as_bytes() == name) else {
            return Err(mismatch(fields, members, path));
        };
        check_value(&field.shape, value, &path.member(name))?;
    }
    if rest.any(|field| field.required) {
        return Err(mismatch(fields, members, path));
    }
    Ok(())
}

/// Why members and fields do not go together: an unknown member, or else a missing one.
#[cold]
fn mismatch<'b>(
    fields: &'static [Field],
    members: impl Iterator<Item = (&'b [u8], &'b [u8])> + Clone,
    path: &Path<'_>,
) -> EventError {
    let known = |name: &[u8]| fields.iter().any(|field| field.name.as_bytes() == name);
    if let Some((name, _)) = members.clone().find(|(name, _)| !known(name)) {
        return unknown(fields, name, path);
    }
    let given = |field: &&Field| members.clone().any(|(name, _)| field.name.as_bytes() == name);
    let missing = fields.iter().filter(|field| field.required).find(|field| !given(field));
    let (name, expected) = missing.map_or(("", String::new()), |field| (field.name, field.shape.expected()));
    EventError::Missing { pointer: path.member(name.as_bytes()).pointer(), expected }
}

fn unknown(fields: &'static [Field], name: &[u8], path: &Path<'_>) -> EventError {
    if matches!(path, Path::Top) && name == b"control" {
        return EventError::Control;
    }
    let suggestion = nearest(&String::from_utf8_lossy(name), fields.iter().map(|field| field.name));
    EventError::UnknownMember { pointer: path.member(name).pointer(), suggestion }
}

fn check_value(shape: &'static Shape, value: &[u8], path: &Path<'_>) -> Result<(), EventError> {
    let good = match shape {
        Shape::Text(most) => text(value).is_some_and(|text| (1..=*most).contains(&text.len())),
        Shape::Note => text(value).is_some(),
        Shape::Id => text(value).is_some_and(is_id),
        Shape::Word(words) => text(value).is_some_and(|text| words.iter().any(|word| word.as_bytes() == text)),
        Shape::Time => text(value).is_some_and(is_time),
        Shape::Level => matches!(value, [digit] if (b'0'..=b'0' + MAX_LEVEL).contains(digit)),
        Shape::Size => value.len() <= MAX_SIZE_DIGITS && value.iter().all(u8::is_ascii_digit),
        Shape::Digest => text(value).is_some_and(is_digest),
        Shape::Free => true,
        Shape::List(shape) if value.first() == Some(&b'[') => return check_elements(shape, value, path),
        Shape::Object(fields) | Shape::TextOr(fields) if value.first() == Some(&b'{') => {
            return check_members(fields, cursor::members(value), path);
        }
        Shape::TextOr(_) => text(value).is_some_and(|text| !text.is_empty()),
        Shape::List(_) | Shape::Object(_) => false,
    };
    if good { Ok(()) } else { Err(wrong(shape, value, path)) }
}

/// What counts as a number of bytes has at most so many digits.
const MAX_SIZE_DIGITS: usize = 15;

fn check_elements(shape: &'static Shape, array: &[u8], path: &Path<'_>) -> Result<(), EventError> {
    cursor::elements(array)
        .enumerate()
        .try_for_each(|(index, element)| check_value(shape, element, &Path::Element(path, index)))
}

/// What stands between the quotes, if the value is a string.
#[inline]
fn text(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Printable, and nothing that has to be escaped, so that an id is the same in every form.
fn is_id(text: &[u8]) -> bool {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) && *byte != b'\\';
    let printable =
        || std::str::from_utf8(text).is_ok_and(|text| !text.contains(|c: char| c == '\\' || c.is_control()));
    (1..=MAX_ID_BYTES).contains(&text.len()) && (text.iter().all(plain) || printable())
}

/// RFC 3339, section 5.6. The calendar is checked here, but that far years and leap seconds are as
/// [`Micros::parse`] has them.
fn is_time(text: &[u8]) -> bool {
    let Some((moment, rest)) = text.split_first_chunk::<19>() else { return false };
    let (date, clock) = moment.split_at(11);
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' '] = date else { return false };
    let [h1, h2, b':', n1, n2, b':', s1, s2] = clock else { return false };
    let (Some(century), Some(years)) = (two_digits(*y1, *y2), two_digits(*y3, *y4)) else { return false };
    let (Some(month), Some(day)) = (two_digits(*m1, *m2), two_digits(*d1, *d2)) else { return false };
    let of_day = at_most(*h1, *h2, 23) && at_most(*n1, *n2, 59) && at_most(*s1, *s2, 60);
    let leap = if years == 0 { century % 4 == 0 } else { years % 4 == 0 };
    let in_calendar = of_day && (1..=days_in(month, leap)).contains(&day);
    let unusual = !(1..=98).contains(&century) || *s1 == b'6';
    is_zone(after_fraction(rest))
        && in_calendar
        && (!unusual || std::str::from_utf8(text).is_ok_and(|text| Micros::parse(text).is_some()))
}

fn days_in(month: u8, leap: bool) -> u8 {
    match month {
        2 => 28 + u8::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// What follows the seconds' fraction; a point without digits is left standing.
fn after_fraction(rest: &[u8]) -> &[u8] {
    match rest {
        [b'.', fraction @ ..] => match fraction.iter().position(|byte| !byte.is_ascii_digit()) {
            Some(digits @ 1..) => fraction.get(digits..).unwrap_or_default(),
            _ => rest,
        },
        _ => rest,
    }
}

fn is_zone(zone: &[u8]) -> bool {
    match zone {
        b"Z" | b"z" => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => at_most(*h1, *h2, 23) && at_most(*m1, *m2, 59),
        _ => false,
    }
}

fn at_most(tens: u8, ones: u8, most: u8) -> bool {
    two_digits(tens, ones).is_some_and(|number| number <= most)
}

fn two_digits(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

fn is_digest(text: &[u8]) -> bool {
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    text.strip_prefix(b"sha256:").is_some_and(|digits| digits.len() == 64 && digits.iter().all(hex))
}

#[cold]
fn wrong(shape: &'static Shape, value: &[u8], path: &Path<'_>) -> EventError {
    let names_value = matches!(shape, Shape::Word(_) | Shape::Time | Shape::Level | Shape::Size);
    let mut found = describe(value, names_value);
    if let (Shape::Word(words), Some(word)) = (shape, text(value))
        && let Some(near) = nearest(&String::from_utf8_lossy(word), words.iter().copied())
    {
        found = format!("{found}; did you mean `{near}`?");
    }
    EventError::Wrong { pointer: path.pointer(), expected: shape.expected(), found }
}

const SHOWN_CHARS: usize = 40;

/// What a value is, for an error: its type and size, or itself where it can hold nothing confidential.
fn describe(value: &[u8], itself: bool) -> String {
    let shown = || String::from_utf8_lossy(value).chars().take(SHOWN_CHARS).collect::<String>();
    match value.first() {
        Some(b'"') if itself => format!("`{}`", shown().trim_matches('"')),
        Some(b'"') => match value.len() - 2 {
            0 => "an empty string".to_owned(),
            length => format!("a string of {length} bytes"),
        },
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b'n') => "null (leave the member out)".to_owned(),
        Some(b't' | b'f') => "a boolean".to_owned(),
        _ if itself => format!("`{}`", shown()),
        _ => "a number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for good in [
            "2026-01-31T08:00:00Z",
            "2026-01-31t08:00:00z",
            "2026-01-31 08:00:00.5+01:00",
            "2026-01-31T08:00:00.123456789-23:59",
            "2000-02-29T00:00:00Z",
            "0001-01-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "9899-12-31T23:59:59-23:59",
        ] {
            assert!(is_time(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31T08:00:00",
            "2026-01-31T08:00:00.Z",
            "2026-02-30T08:00:00Z",
            "2026-01-31T25:00:00Z",
            "2026-01-31T08:00:00+0100",
            "2026-01-31T08:00:00+01:00[Europe/Paris]",
            "2026-01-31T08:00Z",
            "31 Jan 2026",
            "20260131T080000Z",
            "2026-01-31T08:00:61Z",
            "2026-01-31T08:60:00Z",
            "2026-00-31T08:00:00Z",
            "2026-13-31T08:00:00Z",
            "2026-01-00T08:00:00Z",
            "1900-02-29T08:00:00Z",
            "2026-01-31T08:00:00.5",
            "9999-12-31T23:59:59Z",
        ] {
            assert!(!is_time(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn every_day_is_judged_as_the_calendar_does() {
        for year in [1900, 2000, 2023, 2024, 2100, 9999] {
            for (month, day) in (0..=13).flat_map(|month| (0..=32).map(move |day| (month, day))) {
                let text = format!("{year}-{month:02}-{day:02}T12:00:00Z");
                assert_eq!(is_time(text.as_bytes()), Micros::parse(&text).is_some(), "{text}");
            }
        }
    }

    #[test]
    fn ids() {
        let longest = "x".repeat(MAX_ID_BYTES);
        for good in ["a", "order:17/é 😀", "0190…", &longest] {
            assert!(is_id(good.as_bytes()), "{good}");
        }
        let long = "x".repeat(MAX_ID_BYTES + 1);
        for bad in ["", "a\\n", "\u{7f}", "\u{85}", &long] {
            assert!(!is_id(bad.as_bytes()), "{bad}");
        }
    }
}
