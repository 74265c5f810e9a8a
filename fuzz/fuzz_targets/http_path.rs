//! Paths and percent codes: what is captured leads to the same route again.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::path(bytes));
