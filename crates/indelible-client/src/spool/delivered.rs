//! Up to where events were delivered, in the file `delivered`.
//!
//! It decides which files go, so it is held against them before any goes. INVARIANT(delivered): files go only where the place that it names can be one that this spool came to:
//! not behind the last file, and not behind the end of its own. The check in it tells a torn or edited file, which is as none: then everything is delivered once more. One that is whole
//! and names a place that is not there is from another time than the files are, and is told.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use indelible_core::hex;
use indelible_store::disk::{OsDisk, read_small, replace_small};
use serde::{Deserialize, Serialize};

use super::{MAX_SMALL_BYTES, SpoolError, frame::Place, io_error};

/// No spool comes to a higher number of a file, nor to a place so far in one: what JSON can say exactly.
pub(super) const MAX_NUMBER: u64 = 1 << 53;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    check: String,
    offset: u64,
    segment: u64,
}

fn check(place: Place) -> String {
    let (segment, offset) = (place.segment.to_be_bytes(), place.offset.to_be_bytes());
    let sum = digest(&SHA256, &[b"indelible-spool-delivered/1\n".as_slice(), &segment, &offset].concat());
    hex::encode(sum.as_ref().get(..16).unwrap_or_default())
}

fn to_bytes(place: Place) -> Vec<u8> {
    let stored = Stored { check: check(place), offset: place.offset, segment: place.segment };
    serde_json::to_vec(&stored).unwrap_or_default()
}

fn parse(bytes: &[u8]) -> Option<Place> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let place = Place { segment: stored.segment, offset: stored.offset };
    (check(place) == stored.check).then_some(place)
}

/// What cannot be read is as nothing.
pub(super) fn read(dir: &Path) -> Result<Place, SpoolError> {
    let path = dir.join("delivered");
    let bytes = read_small(&OsDisk, &path, MAX_SMALL_BYTES).map_err(io_error("read", &path))?;
    let place = bytes.and_then(|bytes| parse(&bytes)).unwrap_or_default();
    if place.segment > MAX_NUMBER || place.offset > MAX_NUMBER {
        return Err(beyond(dir, place));
    }
    Ok(place)
}

pub(super) fn write(dir: &Path, place: Place) -> Result<(), SpoolError> {
    let path = dir.join("delivered");
    replace_small(&OsDisk, &path, &to_bytes(place)).map_err(io_error("write", &path))
}

/// The place is not among the files.
pub(super) fn beyond(dir: &Path, place: Place) -> SpoolError {
    let Place { segment, offset } = place;
    SpoolError::Beyond { place: dir.join("delivered").display().to_string(), segment, offset }
}

/// Holds the numbers of the files against the place. Files follow one another, and go in order, the last only behind those before it: so one of a number at or above the place's is there,
/// or none. One goes only when the place is at its end; where that cannot be read, nothing tells where they began.
pub(super) fn confront(dir: &Path, numbers: &[u64], delivered: Place) -> Result<(), SpoolError> {
    let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(()) };
    if *last < delivered.segment {
        return Err(beyond(dir, delivered));
    }
    let begin = if delivered.segment == 0 { *first } else { delivered.segment.saturating_add(1).min(*first) };
    match (begin..=*last).find(|number| numbers.binary_search(number).is_err()) {
        Some(number) => Err(SpoolError::Missing { place: super::segment::path(dir, number).display().to_string() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_and_no_changed_bit_of_it_is() {
        for place in
            [Place::default(), Place { segment: 7, offset: 4711 }, Place { segment: u64::MAX, offset: u64::MAX }]
        {
            let bytes = to_bytes(place);
            assert_eq!(parse(&bytes), Some(place));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(parse(&flipped), None, "bit {bit}");
            }
        }
    }

    #[test]
    fn numbers_near_the_largest_are_refused_and_never_counted_on() {
        let dir = tempfile::tempdir().unwrap();
        for number in [MAX_NUMBER + 1, u64::MAX - 1, u64::MAX] {
            for place in [Place { segment: number, offset: 18 }, Place { segment: 1, offset: number }] {
                std::fs::write(dir.path().join("delivered"), to_bytes(place)).unwrap();
                let error = read(dir.path()).unwrap_err();
                assert!(matches!(&error, SpoolError::Beyond { .. }), "{error}");
                assert!(error.to_string().contains("remove that file"), "{error}");
            }
        }
        let most = Place { segment: MAX_NUMBER, offset: MAX_NUMBER };
        write(dir.path(), most).unwrap();
        assert_eq!(read(dir.path()).unwrap(), most);
        confront(dir.path(), &[], most).unwrap();
        confront(dir.path(), &[MAX_NUMBER], most).unwrap();
        assert!(matches!(confront(dir.path(), &[1], most), Err(SpoolError::Beyond { .. })));
        let whole = Place { segment: 3, offset: 18 };
        assert!(matches!(confront(dir.path(), &[1, 2], whole), Err(SpoolError::Beyond { .. })));
        assert!(matches!(confront(dir.path(), &[5], whole), Err(SpoolError::Missing { .. })));
        for there in [[2, 3].as_slice(), &[3], &[4], &[]] {
            confront(dir.path(), there, whole).unwrap();
        }
    }
}
