//! Bodies of shortcuts: what is taken is an event of its kind.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| indelible_server::door::shortcut(bytes));
