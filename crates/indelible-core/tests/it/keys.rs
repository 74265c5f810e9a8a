//! Algorithms, keys of each, sets of keys and their policies.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use indelible_core::checkpoint::{Checkpoint, CheckpointError};
use indelible_core::note::{
    Algorithm, KeySet, MAX_SET_KEYS, Note, NoteError, NoteSigner, Require, VerifyingKey, cosigned_message,
};
use indelible_core::tree::{Hash, TreeHead, TreeSize};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

const LOG: &str = "a.example/log";

/// An Ed25519 signer; the seed is one byte, repeated.
struct Signer(Ed25519KeyPair, VerifyingKey);

impl Signer {
    fn new(name: &str, seed: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let key = VerifyingKey::ed25519(name, pair.public_key().as_ref().try_into().unwrap()).unwrap();
        Self(pair, key)
    }
}

impl NoteSigner for Signer {
    fn verifying_key(&self) -> &VerifyingKey {
        &self.1
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoteError> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

fn keys(seeds: &[u8]) -> Vec<VerifyingKey> {
    seeds.iter().map(|seed| Signer::new(LOG, *seed).1).collect()
}

fn set(seeds: &[u8], require: Require) -> KeySet {
    KeySet::new(keys(seeds), require).unwrap()
}

/// A checkpoint that these sign.
fn note(seeds: &[u8]) -> Note {
    let signers: Vec<_> = seeds.iter().map(|seed| Signer::new(LOG, *seed)).collect();
    let signers: Vec<&dyn NoteSigner> = signers.iter().map(|signer| signer as _).collect();
    checkpoint().sign(&signers).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(LOG, TreeHead { size: TreeSize(42), root: Hash([9; 32]) })
}

#[test]
fn algorithms_and_policies_have_one_spelling() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string().parse::<Algorithm>().unwrap(), algorithm);
    }
    for bad in ["", "Ed25519", "ed25519 ", "ml-dsa-65", "rsa"] {
        assert!(matches!(bad.parse::<Algorithm>(), Err(NoteError::UnknownAlgorithm { .. })), "{bad:?}");
    }
    for (text, require) in [("all", Require::All), ("1", Require::AtLeast(1)), ("8", Require::AtLeast(8))] {
        assert_eq!(text.parse::<Require>().unwrap(), require);
        assert_eq!(require.to_string(), text);
    }
    for bad in ["", "0", "01", "+1", "-1", "All", "4294967296", "1 "] {
        assert!(matches!(bad.parse::<Require>(), Err(NoteError::MalformedPolicy { .. })), "{bad:?}");
    }
}

#[test]
fn a_set_keeps_the_rules() {
    let ml_dsa = VerifyingKey::new(LOG, Algorithm::MlDsa44, &[7; 1312]).unwrap();
    let with = |seeds: &[u8], more: &VerifyingKey| [keys(seeds), vec![more.clone()]].concat();
    let rows: [(Vec<VerifyingKey>, Require, Option<&str>); 12] = [
        (keys(&[1]), Require::All, None),
        (keys(&[1, 2, 3, 4, 5, 6, 7, 8]), Require::AtLeast(8), None),
        (with(&[1], &ml_dsa), Require::AtLeast(2), None),
        (vec![], Require::All, Some("1 to 8 keys")),
        (keys(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), Require::All, Some("1 to 8 keys")),
        (vec![ml_dsa], Require::All, Some("`ed25519`")),
        (keys(&[1, 2, 1]), Require::All, Some("twice")),
        (with(&[1], &Signer::new("b.example/log", 2).1), Require::All, Some("different origins")),
        (with(&[], &Signer::new("b.example/log", 2).1), Require::All, None),
        (keys(&[1, 2]), Require::AtLeast(0), Some("at least one")),
        (keys(&[1, 2]), Require::AtLeast(3), Some("than there are")),
        (keys(&[1, 2]), Require::AtLeast(u32::MAX), Some("than there are")),
    ];
    for (keys, require, expect) in rows {
        match (KeySet::new(keys.clone(), require), expect) {
            (Ok(set), None) => {
                let needed = if require == Require::All { keys.len() } else { require.to_string().parse().unwrap() };
                assert_eq!((set.keys(), set.require(), set.needed()), (&keys[..], require, needed));
                assert_eq!(set.name(), keys[0].name());
                assert!(keys.iter().all(|key| set.get(&key.id()) == Some(key)));
            }
            (Err(NoteError::KeySet { reason }), Some(expect)) => assert!(reason.contains(expect), "{reason}"),
            (result, _) => panic!("{result:?}"),
        }
    }
    assert_eq!(MAX_SET_KEYS, 8);
}

#[test]
fn as_many_keys_as_required_have_to_sign() {
    let missing = |note: &Note, seeds: &[u8], require| match set(seeds, require).verify(note) {
        Ok(()) => None,
        Err(NoteError::TooFewSignatures { missing, .. }) => Some(missing),
        Err(error) => panic!("{error}"),
    };
    let ids = |seeds: &[u8]| Some(keys(seeds).iter().map(VerifyingKey::id).collect::<Vec<_>>());
    let two = note(&[1, 3]);
    assert_eq!(missing(&two, &[1, 3], Require::All), None);
    assert_eq!(missing(&two, &[3], Require::All), None);
    assert_eq!(missing(&two, &[1, 2, 3], Require::AtLeast(2)), None);
    assert_eq!(missing(&two, &[1, 2, 3], Require::All), ids(&[2]));
    assert_eq!(missing(&two, &[1, 2, 4], Require::AtLeast(2)), ids(&[2, 4]));
    assert_eq!(missing(&two, &[5, 6], Require::AtLeast(1)), ids(&[5, 6]));
    // One key that signs twice is one key.
    assert_eq!(missing(&note(&[1, 1]), &[1, 2], Require::AtLeast(2)), ids(&[2]));
    // A key of the same bytes under another name is another key.
    let foreign = KeySet::new(vec![Signer::new("b.example/log", 1).1], Require::All).unwrap();
    assert!(matches!(foreign.verify(&two), Err(NoteError::TooFewSignatures { signed, .. }) if signed.is_empty()));
    let error = set(&[1, 2, 3], Require::All).verify(&two).unwrap_err().to_string();
    assert!(error.contains("`all`") && error.contains(&keys(&[2])[0].id().to_string()), "{error}");
}

#[test]
fn a_wrong_signature_by_a_key_of_the_set_is_not_outvoted() {
    let good = note(&[1, 2, 3]).to_string();
    let other = Checkpoint::new(LOG, TreeHead { size: TreeSize(41), root: Hash([9; 32]) });
    let wrong = other.sign(&[&Signer::new(LOG, 4)]).unwrap().to_string();
    let line = wrong.lines().last().unwrap();
    for mixed in [format!("{good}{line}\n"), good.replacen("\n\n", &format!("\n\n{line}\n"), 1)] {
        let note = Note::parse(mixed.as_bytes()).unwrap();
        assert!(set(&[1, 2, 3], Require::All).verify(&note).is_ok(), "a stranger's line says nothing");
        for require in [Require::AtLeast(1), Require::AtLeast(3), Require::All] {
            let error = set(&[1, 2, 3, 4], require).verify(&note).unwrap_err();
            assert!(matches!(error, NoteError::BadSignature { key } if key == keys(&[4])[0].id()));
        }
    }
}

#[test]
fn a_set_opens_the_checkpoints_of_its_log() {
    let note = note(&[1, 2]).to_string();
    let ours = set(&[1, 2], Require::All);
    assert_eq!(Checkpoint::open_by(note.as_bytes(), &ours).unwrap(), checkpoint());
    let few = Checkpoint::open_by(note.as_bytes(), &set(&[1, 2, 3], Require::All)).unwrap_err();
    assert!(matches!(few, CheckpointError::Note(NoteError::TooFewSignatures { .. })));
    let foreign = Checkpoint::new("b.example/log", checkpoint().head).sign(&[&Signer::new(LOG, 1)]).unwrap();
    let error = Checkpoint::open_by(foreign.to_string().as_bytes(), &set(&[1], Require::All)).unwrap_err();
    assert!(matches!(error, CheckpointError::OtherOrigin { .. }));
    for at in 0..note.len() {
        let mut bad = note.clone().into_bytes();
        bad[at] ^= 1;
        assert!(Checkpoint::open_by(&bad, &ours).is_err(), "byte {at}");
    }
}

#[test]
fn the_hash_of_a_key_is_over_name_type_and_key() {
    let public = [7; 1312];
    let key = VerifyingKey::new(LOG, Algorithm::MlDsa44, &public).unwrap();
    let typed = [b"\x06".as_slice(), &public].concat();
    let digest = Sha256::digest([LOG.as_bytes(), b"\n", &typed].concat());
    assert_eq!(key.key_hash(), digest[..4]);
    let hash = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(key.to_string(), format!("{LOG}+{hash}+{}", STANDARD.encode(typed)));
    assert_eq!(VerifyingKey::parse(&key.to_string()).unwrap(), key);
}

#[test]
fn keys_of_other_types_and_lengths_are_told_apart() {
    let text = |data: &[u8]| format!("{LOG}+00000000+{}", STANDARD.encode(data));
    for (data, expect) in [
        (b"\x02abc".as_slice(), 0x02),
        (b"\x04abc", 0x04),
        (b"\xffindelible/v1/ed448\nabc", 0xff),
        (b"\xffindelible/v1/rsa-pss-sha256", 0xff),
        (b"\xff", 0xff),
    ] {
        let error = VerifyingKey::parse(&text(data)).unwrap_err();
        assert!(matches!(error, NoteError::OtherAlgorithm { algorithm, .. } if algorithm == expect), "{error}");
        assert!(error.to_string().contains("`ml-dsa-44`"), "{error}");
    }
    for algorithm in Algorithm::ALL {
        for length in [0, 31, 33, 65, 91, 294, 1311, 1313] {
            let error = VerifyingKey::new(LOG, algorithm, &vec![4; length]).unwrap_err();
            assert!(matches!(error, NoteError::KeyMaterial { algorithm: named, .. } if named == algorithm), "{error}");
        }
    }
}

#[test]
fn an_ml_dsa_key_signs_a_checkpoint_and_nothing_else() {
    let text = checkpoint().to_string();
    let expect = [
        b"subtree/v1\n\0\x03key".as_slice(),
        &[0, 0, 0, 0, 0, 0, 1, 2],
        b"\x0da.example/log",
        &[0; 8],
        &42_u64.to_be_bytes(),
        &[9; 32],
    ];
    assert_eq!(cosigned_message("key", 258, &text).unwrap(), expect.concat());
    assert!(cosigned_message("key", i64::MAX as u64, &text).is_some());
    let long = "n".repeat(256);
    for (name, seconds, text) in [
        ("key", 1 << 63, text.clone()),
        ("key", 1, format!("{text}extension\n")),
        ("key", 1, "text\n".to_owned()),
        (&long, 1, text.clone()),
        ("key", 1, text.replace(LOG, &long)),
    ] {
        assert_eq!(cosigned_message(name, seconds, &text), None, "{text:.40}");
    }
    let key = VerifyingKey::new(LOG, Algorithm::MlDsa44, &[7; 1312]).unwrap();
    for signature in [vec![], vec![0; 7], vec![0; 8], vec![0; 2428], vec![0xff; 2428]] {
        assert!(!key.verify_note(&text, &signature) && !key.verify(text.as_bytes(), &signature));
    }
}

proptest! {
    #[test]
    fn any_key_is_read_as_it_is_written_or_not_at_all(kind in 0_usize..5, public in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(key) = VerifyingKey::new(LOG, Algorithm::ALL[kind], &public) {
            prop_assert_eq!(VerifyingKey::parse(&key.to_string()).unwrap(), key);
        }
    }
}
