//! Signed notes and the checkpoints in them: what is read displays as the bytes that it was read from.

#![no_main]

use indelible_core::{
    checkpoint::Checkpoint,
    note::{Note, VerifyingKey},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = VerifyingKey::parse(text)
    {
        assert_eq!(key.to_string(), text);
    }
    let Ok(note) = Note::parse(bytes) else { return };
    assert_eq!(note.to_string().as_bytes(), bytes);
    if let Ok(checkpoint) = Checkpoint::parse(note.text()) {
        assert_eq!(checkpoint.to_string(), note.text());
    }
});
