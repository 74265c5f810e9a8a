//! Text forms: what is written reads back, and reading ends well for any input.

use indelible_core::proof::{ProofError, TlogProof};
use indelible_core::tile::TilePath;
use indelible_core::tree::{Hash, LeafIndex};
use proptest::prelude::*;

fn proof() -> impl Strategy<Value = TlogProof> {
    let hashes = prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..20);
    let extra = prop::option::of(prop::collection::vec(any::<u8>(), 0..60));
    (extra, any::<u64>(), hashes, "[^\r]{0,80}\n").prop_map(|(extra, index, hashes, checkpoint)| TlogProof {
        extra,
        index: LeafIndex(index),
        hashes,
        checkpoint,
    })
}

proptest! {
    #[test]
    fn proofs_read_back(proof in proof()) {
        let text = proof.to_string();
        prop_assert_eq!(TlogProof::parse(&text), Ok(proof));
    }

    #[test]
    fn what_is_read_is_written_the_same(proof in proof(), at in any::<prop::sample::Index>(), with in "[ -~\n]{0,2}") {
        let mut text = proof.to_string();
        let at = at.index(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..=at, &with);
            if let Ok(read) = TlogProof::parse(&text) {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }

    #[test]
    fn reading_a_proof_ends_well(text in "(c2sp.org/tlog-proof@v1\n)?(extra [A-Za-z=]{0,8}\n)?(index [0-9]{0,21}\n)?\\PC{0,40}\n?\n?") {
        drop(TlogProof::parse(&text));
    }

    #[test]
    fn tile_paths_read_back(level in 0u8..64, index in any::<u64>(), shift in 0u32..64, width in 1u16..=256) {
        let tile = TilePath::new(level, index >> shift, width).unwrap();
        prop_assert_eq!(tile.to_string().parse(), Ok(tile));
    }

    #[test]
    fn reading_a_tile_path_ends_well(text in "(tile/)?[0-9x/.p]{0,30}") {
        if let Ok(tile) = text.parse::<TilePath>() {
            prop_assert_eq!(tile.to_string(), text);
        }
    }
}

#[test]
fn refuses_what_is_not_a_proof() {
    let hash = "rzFuy5Go7nrpkhBwKy1HWPMM3eO/YePY54fXRoH5Cm4=\n";
    for (text, line) in [
        (String::new(), 1),
        ("c2sp.org/tlog-proof@v1".to_owned(), 1),
        ("c2sp.org/tlog-proof@v2\nindex 0\n\nc\n".to_owned(), 1),
        ("c2sp.org/tlog-proof@v1\r\nindex 0\n\nc\n".to_owned(), 1),
        ("c2sp.org/tlog-proof@v1\nindex 00\n\nc\n".to_owned(), 2),
        ("c2sp.org/tlog-proof@v1\nindex +1\n\nc\n".to_owned(), 2),
        ("c2sp.org/tlog-proof@v1\nindex 18446744073709551616\n\nc\n".to_owned(), 2),
        ("c2sp.org/tlog-proof@v1\nextra\nindex 1\n\nc\n".to_owned(), 2),
        ("c2sp.org/tlog-proof@v1\nextra YQ\nindex 1\n\nc\n".to_owned(), 2),
        ("c2sp.org/tlog-proof@v1\nextra YQ==\nextra YQ==\nindex 1\n\nc\n".to_owned(), 3),
        ("c2sp.org/tlog-proof@v1\nindex 0\n".to_owned(), 3),
        ("c2sp.org/tlog-proof@v1\nindex 0\n\n".to_owned(), 4),
        ("c2sp.org/tlog-proof@v1\nindex 0\n\nc".to_owned(), 4),
        (format!("c2sp.org/tlog-proof@v1\nindex 0\n{}\nc\n", hash.repeat(129)), 131),
        (format!("c2sp.org/tlog-proof@v1\nindex 0\n\n{}\n", "c".repeat(2 << 20)), 1),
    ] {
        match TlogProof::parse(&text) {
            Err(ProofError::Malformed { line: found, .. }) => assert_eq!(found, line, "{:?}", text.get(..60)),
            other => panic!("{text:?}: {other:?}"),
        }
    }
}
