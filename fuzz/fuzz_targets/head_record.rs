//! Head records: only the exact bytes that we would write are a record.

#![no_main]

use indelible_core::head::HeadRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = HeadRecord::parse(bytes) {
        assert_eq!(record.to_bytes(), bytes);
    }
});
