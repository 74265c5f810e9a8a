//! Notes, keys, checkpoints and origins: what is written reads back, what is altered is found, each error is its own.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use indelible_core::checkpoint::{Checkpoint, CheckpointError, Origin};
use indelible_core::note::{MAX_NOTE_BYTES, Note, NoteError, NoteSigner, VerifyingKey};
use indelible_core::tree::{Hash, TreeHead, TreeSize};
use proptest::prelude::*;

/// A signer with a key in memory; the seed is one byte, repeated.
struct Signer {
    pair: Ed25519KeyPair,
    key: VerifyingKey,
}

impl Signer {
    fn new(name: &str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = VerifyingKey::ed25519(name, pair.public_key().as_ref().try_into().unwrap()).unwrap();
        Self { pair, key }
    }
}

impl NoteSigner for Signer {
    fn verifying_key(&self) -> &VerifyingKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError> {
        Ok(self.pair.sign(message).as_ref().to_vec())
    }
}

fn checkpoint(origin: &str) -> Checkpoint {
    Checkpoint::new(origin, TreeHead { size: TreeSize(42), root: Hash([9; 32]) })
}

#[test]
fn a_checkpoint_is_signed_and_opened() {
    let signer = Signer::new("example.com/log", 1);
    let note = checkpoint("example.com/log").sign(&[&signer]).unwrap().to_string();
    assert!(
        note.starts_with(
            "example.com/log\n42\nCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n\n\u{2014} example.com/log "
        )
    );
    assert_eq!(Checkpoint::open(note.as_bytes(), &signer.key).unwrap(), checkpoint("example.com/log"));
    assert_eq!(Note::parse(note.as_bytes()).unwrap().to_string(), note);
}

#[test]
fn any_changed_byte_of_a_checkpoint_is_found() {
    let signer = Signer::new("example.com/log", 1);
    let note = checkpoint("example.com/log").sign(&[&signer]).unwrap().to_string().into_bytes();
    for at in 0..note.len() {
        for bit in 0..8 {
            let mut bad = note.clone();
            bad[at] ^= 1 << bit;
            assert!(Checkpoint::open(&bad, &signer.key).is_err(), "byte {at}, bit {bit}");
        }
        assert!(Checkpoint::open(&note[..at], &signer.key).is_err(), "cut at {at}");
    }
    println!("changed bits of a signed checkpoint found: {}", note.len() * 8);
}

#[test]
fn errors_tell_unsigned_other_key_and_wrong_signature_apart() {
    let [ours, other, same_name] =
        [("a.example", 1), ("b.example", 2), ("a.example", 3)].map(|(n, s)| Signer::new(n, s));
    let note = Note::sign("text\n".to_owned(), &[&other, &same_name]).unwrap();
    let error = note.verify(&ours.key).unwrap_err();
    assert!(matches!(&error, NoteError::NoKnownSignature { wanted, present }
        if *wanted == ours.key.id() && *present == [other.key.id(), same_name.key.id()]));
    for key in [&ours.key, &other.key, &same_name.key] {
        assert!(error.to_string().contains(&format!("`{}`", key.id())), "{error}");
    }
    let both = Note::sign("text\n".to_owned(), &[&other, &ours]).unwrap();
    assert!(both.verify(&ours.key).is_ok() && both.verify(&other.key).is_ok());
    assert_eq!(both.signatures().iter().map(|s| s.key_id()).collect::<Vec<_>>(), [other.key.id(), ours.key.id()]);
    let altered = Note::parse(both.to_string().replace("text", "texT").as_bytes()).unwrap();
    assert!(matches!(altered.verify(&ours.key), Err(NoteError::BadSignature { key }) if key == ours.key.id()));
    // A right signature does not make up for a wrong one by the same key.
    let wrong = altered.to_string().replace("texT", "text");
    let line = Note::sign("other\n".to_owned(), &[&ours]).unwrap().to_string().split_off("other\n\n".len());
    let twice = Note::parse(format!("{wrong}{line}").as_bytes()).unwrap();
    assert!(matches!(twice.verify(&ours.key), Err(NoteError::BadSignature { .. })));
    for unsigned in ["", "text\n", "text\n\n", "text\n\nmore\n", "\n\n"] {
        assert!(matches!(Note::parse(unsigned.as_bytes()), Err(NoteError::Unsigned)), "{unsigned:?}");
    }
}

#[test]
fn refuses_what_is_not_a_note() {
    let signer = Signer::new("a.example", 1);
    let good = Note::sign("text\n".to_owned(), &[&signer]).unwrap().to_string();
    let line = &good["text\n\n".len()..];
    for bad in [
        format!("text\n{line}"),
        format!("text\n\n{line}\n"),
        format!("text\n\n{}", line.trim_end()),
        format!("text\n\n{line}x\n"),
        format!("text\r\n\n{line}"),
        format!("text\n\n{}", line.replace('\n', "\r\n")),
        format!("text\n\n{}", line.replace('\u{2014}', "-")),
        format!("text\n\n{}", line.replace("a.example", "a+example")),
        format!("text\n\n{}", line.replace("a.example", "a\u{a0}example")),
        format!("text\n\n{}", line.replace("a.example", "")),
        format!("text\n\n{}", line.replace("=\n", "\n")),
        "text\n\n\u{2014} a.example AAAAAA==\n".to_owned(),
        format!("{}\n\n{line}", "x".repeat(MAX_NOTE_BYTES)),
        format!("text\n\n{}", line.repeat(101)),
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{:?}", bad.get(..80));
    }
    assert!(Note::parse(format!("text\n\n{}", line.repeat(100)).as_bytes()).unwrap().verify(&signer.key).is_ok());
}

#[test]
fn signs_only_what_reads_back() {
    struct Mixed(Signer, VerifyingKey);
    impl NoteSigner for Mixed {
        fn verifying_key(&self) -> &VerifyingKey {
            &self.1
        }
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError> {
            self.0.sign(message)
        }
    }
    let signer = Signer::new("a.example", 1);
    for text in ["", "no newline", "tab\t\n"] {
        assert!(matches!(Note::sign(text.to_owned(), &[&signer]), Err(NoteError::Malformed { .. })), "{text:?}");
    }
    assert!(matches!(Note::sign("text\n".to_owned(), &[]), Err(NoteError::Unsigned)));
    let many: Vec<&dyn NoteSigner> = vec![&signer; 101];
    assert!(matches!(Note::sign("text\n".to_owned(), &many), Err(NoteError::Malformed { .. })));
    let other = Signer::new("a.example", 2).key;
    let mixed = Mixed(signer, other);
    assert!(matches!(Note::sign("text\n".to_owned(), &[&mixed]), Err(NoteError::BadSignature { .. })));
    let mut extended = checkpoint("a.example");
    extended.extensions.push("more".to_owned());
    assert!(matches!(extended.sign(&[&mixed.0]), Err(CheckpointError::Extensions { count: 1 })));
    for origin in ["", "a\n7\nb", "a\nb"] {
        assert!(checkpoint(origin).sign(&[&mixed.0]).is_err(), "{origin:?}");
    }
}

#[test]
fn a_key_opens_the_checkpoints_of_its_own_log_only() {
    let signer = Signer::new("a.example", 1);
    let note = checkpoint("b.example").sign(&[&signer]).unwrap().to_string();
    assert!(matches!(Checkpoint::open(note.as_bytes(), &signer.key), Err(CheckpointError::OtherOrigin { .. })));
    let other = Signer::new("b.example", 2);
    let error = Checkpoint::open(note.as_bytes(), &other.key).unwrap_err();
    assert!(matches!(error, CheckpointError::Note(NoteError::NoKnownSignature { .. })));
}

#[test]
fn refuses_what_is_not_a_checkpoint() {
    let root = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";
    for (text, expect) in [
        (String::new(), 1),
        (format!("\n42\n{root}\n"), 1),
        ("a\n".to_owned(), 2),
        (format!("a\n042\n{root}\n"), 2),
        (format!("a\n+42\n{root}\n"), 2),
        (format!("a\n18446744073709551616\n{root}\n"), 2),
        (format!("a\n42\r\n{root}\n"), 2),
        ("a\n42\n".to_owned(), 3),
        ("a\n42\nCQkJ\n".to_owned(), 3),
        (format!("a\n42\n {root}\n"), 3),
        (format!("a\n42\n{root}"), 4),
        (format!("a\n42\n{root}\n\n"), 4),
        (format!("a\n42\n{root}\nmore\n\nmore\n"), 5),
        (format!("a\n42\n{root}\nmore\nmore"), 5),
    ] {
        match Checkpoint::parse(&text) {
            Err(CheckpointError::Malformed { line, .. }) => assert_eq!(line, expect, "{text:?}"),
            other => panic!("{text:?}: {other:?}"),
        }
    }
    let extended = Checkpoint::parse(&format!("a b\n42\n{root}\nmore\nand more\n")).unwrap();
    assert_eq!(
        (extended.origin.as_str(), extended.extensions.as_slice()),
        ("a b", ["more", "and more"].map(String::from).as_slice())
    );
}

#[test]
fn keys_are_read_in_one_spelling() {
    let key = Signer::new("a.example", 1).key;
    let text = key.to_string();
    assert_eq!(VerifyingKey::parse(&text).unwrap(), key);
    let [name, hash, data] = text.splitn(3, '+').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let front = format!("{name}+{hash}");
    for bad in [
        String::new(),
        name.to_owned(),
        front,
        format!("+{hash}+{data}"),
        format!("a b+{hash}+{data}"),
        format!("{name}+{}+{data}", hash.to_uppercase()),
        format!("{name}+{hash}+{data} "),
        format!("{name}+{hash}+{data}="),
        format!("{name}+{hash}+"),
        format!("{name}+00000000+{data}"),
        format!("{text}\n"),
    ] {
        assert!(VerifyingKey::parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn origins_come_from_their_alphabet() {
    for good in ["a", "example.com/log42", "AZaz09._~/:@-", &"o".repeat(128)] {
        assert_eq!(good.parse::<Origin>().unwrap().as_str(), good);
        assert_eq!(Origin::try_from(good.to_owned()).unwrap().to_string(), good);
    }
    for bad in ["", "a b", "a+b", "a\"b", "a\\b", "a\nb", "\u{e9}", "a%20", &"o".repeat(129)] {
        assert!(bad.parse::<Origin>().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn notes_read_back(text in "[^\\x00-\\x09\\x0b-\\x1f]{0,60}\n", seeds in prop::collection::vec(any::<u8>(), 1..4)) {
        let signers: Vec<_> = seeds.iter().map(|seed| Signer::new("a.example/\u{e9}", *seed)).collect();
        let signers: Vec<&dyn NoteSigner> = signers.iter().map(|signer| signer as _).collect();
        let note = Note::sign(text.clone(), &signers).unwrap();
        let read = Note::parse(note.to_string().as_bytes()).unwrap();
        prop_assert_eq!(read.text(), text);
        prop_assert_eq!(&read, &note);
        for signer in signers {
            prop_assert!(read.verify(signer.verifying_key()).is_ok());
        }
    }

    #[test]
    fn reading_a_note_ends_well(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        drop(Note::parse(&bytes));
    }

    #[test]
    fn what_is_read_as_a_note_is_written_the_same(text in "(a\n){0,2}\n{0,3}(\u{2014} [a+ ]{0,2} [A-D/+=]{0,12}\n{0,2}){0,3}\\PC{0,3}\n?") {
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_string(), text);
        }
    }

    #[test]
    fn keys_read_back(name in "[^\\s+\\x00-\\x1f]{1,20}", public in any::<[u8; 32]>()) {
        let key = VerifyingKey::ed25519(&name, public).unwrap();
        prop_assert_eq!(VerifyingKey::parse(&key.to_string()).unwrap(), key);
    }

    #[test]
    fn reading_a_key_ends_well(text in "[a+ ]{0,3}\\+[0-9a-fA-F]{0,9}\\+[A-Za-z0-9+/=]{0,60}\\PC{0,2}") {
        if let Ok(key) = VerifyingKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn checkpoints_read_back(origin in "\\PC{1,30}", size in any::<u64>(), root in any::<[u8; 32]>(), extensions in prop::collection::vec("\\PC{1,9}", 0..3)) {
        let checkpoint = Checkpoint { origin, head: TreeHead { size: TreeSize(size), root: Hash(root) }, extensions };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.to_string()).unwrap(), checkpoint);
    }

    #[test]
    fn reading_a_checkpoint_ends_well(text in "[a\n]{0,3}[0-9]{0,21}\n?[A-Za-z=]{40,46}[a\n]{0,4}") {
        if let Ok(checkpoint) = Checkpoint::parse(&text) {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
    }

    #[test]
    fn reading_an_origin_ends_well(text in "\\PC{0,140}") {
        if let Ok(origin) = text.parse::<Origin>() {
            prop_assert_eq!(origin.to_string(), text);
        }
    }
}
