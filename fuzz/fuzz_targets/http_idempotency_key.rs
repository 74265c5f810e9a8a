//! A key that is taken is the id of an event, and nothing else of it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::idempotency_key(bytes));
