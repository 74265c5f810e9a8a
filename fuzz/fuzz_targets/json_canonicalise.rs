//! Canonical JSON in one pass against a value tree and another canonicaliser.
//!
//! What we take, the others take, and write byte for byte the same; what we wrote, we write again. What we refuse and they
//! take (duplicate names, numbers that would change) is not compared: refusing is the stricter side.

#![no_main]

use indelible_core::json::canonicalise;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &[u8]| {
    let Ok(ours) = canonicalise(text) else { return };
    let value: Value = serde_json::from_slice(text).expect("what we take is JSON");
    let theirs = serde_json_canonicalizer::to_vec(&value).expect("a value can be written");
    assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs));
    assert_eq!(canonicalise(&ours).expect("canonical text is taken"), ours);
});
