//! What stands behind the `?`: parameters of the route, each once.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::query(bytes));
