//! Indexes, ends of ranges and cursors are digits and nothing else.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::number(bytes));
