//! Lines of a body: each that holds something once, with its number.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::lines(bytes));
