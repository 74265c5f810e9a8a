//! Manifests of signed files: what is read is written as text that reads the same, and no name leads elsewhere.

#![no_main]

use std::path::{Component, Path};

use indelible_keys::files::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    let text = manifest.to_string();
    assert_eq!(text.len(), bytes.len());
    assert_eq!(Manifest::parse(text.as_bytes()).as_ref(), Ok(&manifest));
    for name in manifest.files().keys() {
        assert!(Path::new(name).components().all(|part| matches!(part, Component::Normal(_))), "{name:?}");
    }
});
