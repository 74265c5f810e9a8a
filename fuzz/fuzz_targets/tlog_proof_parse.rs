//! Inclusion proofs as text: read, written back, and verified against any head without harm.

#![no_main]

use indelible_core::{
    checkpoint::Checkpoint,
    note::Note,
    proof::TlogProof,
    tree::{TreeHead, TreeSize, empty_root},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(proof) = TlogProof::parse(text) else { return };
    assert_eq!(proof.to_string(), text);
    let head = Note::parse(proof.checkpoint.as_bytes())
        .ok()
        .and_then(|note| Checkpoint::parse(note.text()).ok())
        .map_or(TreeHead { size: TreeSize(1), root: empty_root() }, |checkpoint| checkpoint.head);
    let _verdict = proof.inclusion().verify(&empty_root(), &head);
});
