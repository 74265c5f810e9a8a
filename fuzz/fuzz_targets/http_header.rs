//! Preferences, traces, tags, codings, media types, and addresses that proxies pass on.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::header(bytes));
