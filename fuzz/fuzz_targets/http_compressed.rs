//! Compressed bodies: no more comes out than may, and the budget comes back.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::compressed(bytes));
