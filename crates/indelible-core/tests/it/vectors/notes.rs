//! `c2sp-notes`: signed notes, keys, checkpoint texts, tlog-proofs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indelible_core::checkpoint::Checkpoint;
use indelible_core::note::{Note, NoteError, VerifyingKey};
use indelible_core::proof::TlogProof;
use indelible_core::tree::{Hash, LeafIndex, leaf_hash};

use super::{list, load, text};

#[test]
fn notes() {
    let Some(file) = load("c2sp-notes/notes.json") else { return };
    let (mut verified, mut syntax) = (0, 0);
    for case in list(&file, "notes") {
        let note = Note::parse(text(case, "note").as_bytes()).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(note.to_string(), text(case, "note"));
        if text(case, "name").contains("checkpoint") {
            let checkpoint = Checkpoint::parse(note.text()).unwrap();
            assert_eq!(checkpoint.to_string(), note.text());
            assert_eq!(
                (checkpoint.origin.as_str(), checkpoint.head.size.0),
                ("example.com/behind-the-sofa", 20_852_163)
            );
        }
        if case["vkey"].is_null() {
            syntax += 1;
            continue;
        }
        let key = VerifyingKey::parse(text(case, "vkey")).unwrap();
        assert_eq!(key.to_string(), text(case, "vkey"));
        note.verify(&key).unwrap_or_else(|error| panic!("{case}: {error}"));
        verified += 1;
    }
    assert_eq!((verified, syntax), (4, 3));
    println!("notes: {verified} verified, {syntax} read only, since their keys are not published");
}

#[test]
fn malformed_notes() {
    let Some(file) = load("c2sp-notes/notes.json") else { return };
    let cases = list(&file, "malformed_notes");
    for case in cases {
        let key = VerifyingKey::parse(text(case, "vkey")).unwrap();
        let bytes = STANDARD.decode(text(case, "note_base64")).unwrap();
        let error = Note::parse(&bytes).and_then(|note| note.verify(&key)).unwrap_err();
        let same = match text(case, "expect") {
            "invalid signature for known key: reject whole note" => matches!(error, NoteError::BadSignature { .. }),
            "no verifiable signatures" => matches!(error, NoteError::NoKnownSignature { .. }),
            _ => matches!(error, NoteError::Malformed { .. } | NoteError::Unsigned),
        };
        assert!(same, "{}: {error:?}", case["name"]);
    }
    println!("malformed notes: {} cases ran", cases.len());
}

#[test]
fn keys_and_checkpoint_texts() {
    let Some(file) = load("c2sp-notes/notes.json") else { return };
    for case in list(&file, "invalid_vkeys") {
        let error = VerifyingKey::parse(text(case, "vkey")).unwrap_err();
        let unknown = text(case, "why").starts_with("unknown algorithm");
        assert_eq!(matches!(error, NoteError::OtherAlgorithm { algorithm: 0x65, .. }), unknown, "{case}: {error:?}");
    }
    for case in list(&file, "checkpoint_bodies") {
        let read = Checkpoint::parse(text(case, "text"));
        assert_eq!(read.is_ok(), case["valid"] == true, "{case}");
        if let Ok(checkpoint) = read {
            assert_eq!(checkpoint.head.size.0, case["size"].as_u64().unwrap());
            assert_eq!(checkpoint.head.root, leaf_hash(text(case, "root_is_leaf_hash_of").as_bytes()));
            assert_eq!(checkpoint.to_string(), text(case, "text"));
        }
    }
    println!(
        "keys refused: {}; checkpoint texts: {}",
        list(&file, "invalid_vkeys").len(),
        list(&file, "checkpoint_bodies").len()
    );
}

#[test]
fn tlog_proofs() {
    let Some(file) = load("c2sp-notes/tlog-proof.json") else { return };
    for case in list(&file, "marshal") {
        let hash =
            |hash: &serde_json::Value| Hash(STANDARD.decode(hash.as_str().unwrap()).unwrap().try_into().unwrap());
        let proof = TlogProof {
            extra: case["extra_b64"].as_str().map(|extra| STANDARD.decode(extra).unwrap()),
            index: LeafIndex(case["index"].as_u64().unwrap()),
            hashes: list(case, "hashes_b64").iter().map(hash).collect(),
            checkpoint: text(case, "checkpoint").to_owned(),
        };
        assert_eq!(proof.to_string(), text(case, "text"));
        assert_eq!(TlogProof::parse(text(case, "text")), Ok(proof));
    }
    for case in list(&file, "reject") {
        assert!(TlogProof::parse(text(case, "text")).is_err(), "{case}");
    }
    // The example of the specification: its proof is whole, its signatures are cut short.
    let example = text(&file, "spec_example_with_elisions");
    let proof = TlogProof::parse(example).unwrap();
    assert_eq!((proof.index.0, proof.hashes.len(), proof.to_string().as_str()), (73_894, 5, example));
    assert!(Note::parse(proof.checkpoint.as_bytes()).is_err());
    println!(
        "tlog-proofs: {} written and read, {} refused",
        list(&file, "marshal").len() + 1,
        list(&file, "reject").len()
    );
}
