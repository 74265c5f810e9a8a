//! The watcher of heads sees the same in whatever pieces the bytes come.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::framing(bytes));
