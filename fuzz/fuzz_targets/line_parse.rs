//! Segment lines: no bytes make the reader stop, and a line that is taken is the sum of its parts.

#![no_main]

use indelible_core::entry::{Line, MAX_ENTRY_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = Line::parse(bytes) else { return };
    let entry = line.entry.bytes;
    assert!(entry.len() <= MAX_ENTRY_BYTES);
    let mac: String = line.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut again = format!("{{\"batch\":{},\"entry\":", line.batch).into_bytes();
    again.extend_from_slice(entry);
    again.extend_from_slice(format!(",\"mac\":\"{mac}\"}}").as_bytes());
    assert_eq!(again, bytes);
    let _time = line.entry.recorded();
    let _fault = line.entry.check_strict();
});
