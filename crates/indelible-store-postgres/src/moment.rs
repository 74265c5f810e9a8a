//! A time as the server sends it, in microseconds since 1970.
//!
//! Computed here and not by the server: `extract` counts in decimal numbers there, for every row of a scan.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

/// From 1970 to 2000, where the server's own count begins.
const TO_2000_US: i64 = 946_684_800_000_000;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, since 1970.
const FIRST_US: i64 = -62_135_596_800_000_000;
const LAST_US: i64 = 253_402_300_799_999_999;

/// A `timestamptz`; `None` for what no entry can say, as `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Option<i64>);

impl<'a> FromSql<'a> for Moment {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let since_1970 = i64::from_sql(ty, raw)?.checked_add(TO_2000_US);
        Ok(Self(since_1970.filter(|us| (FIRST_US..=LAST_US).contains(us))))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

#[cfg(test)]
mod tests {
    use indelible_core::time::Micros;

    use super::*;

    #[track_caller]
    fn check(since_2000: i64, expect: Option<i64>) {
        let read = Moment::from_sql(&Type::TIMESTAMPTZ, &since_2000.to_be_bytes()).unwrap();
        assert_eq!(read, Moment(expect), "{since_2000}");
    }

    #[test]
    fn a_time_is_counted_from_1970_and_what_no_entry_can_say_is_none() {
        let of = |text: &str| Micros::parse(text).unwrap().0;
        let to_2000 = of("2000-01-01T00:00:00Z");
        for us in [0, -1, of("2026-11-30T17:00:00.123456Z"), of("0001-01-01T00:00:00Z"), of("9999-12-30T21:59:59Z")] {
            check(us - to_2000, Some(us));
        }
        check(of("0001-01-01T00:00:00Z") - to_2000 - 1, None);
        // The last day of 9999 is beyond what jiff reads.
        let last = of("9999-12-30T00:00:00Z") + 2 * 86_400_000_000;
        check(last - to_2000 - 1, Some(last - 1));
        check(last - to_2000, None);
        // `infinity` and `-infinity`.
        check(i64::MAX, None);
        check(i64::MIN, None);
        assert!(Moment::from_sql(&Type::TIMESTAMPTZ, &[0; 7]).is_err());
    }
}
