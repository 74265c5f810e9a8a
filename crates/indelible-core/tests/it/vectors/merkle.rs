//! `merkle-rfc6962`: reference roots, inclusion, consistency.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indelible_core::proof::{ConsistencyProof, InclusionProof};
use indelible_core::tree::{Frontier, Hash, LeafIndex, TreeHead, TreeSize, leaf_hash, range_root};
use serde_json::Value;

use super::{list, load, text};

fn hash(value: &Value) -> Option<Hash> {
    STANDARD.decode(value.as_str()?).ok()?.try_into().ok().map(Hash)
}

/// The hashes of a proof; `None` where one is not 32 bytes, which our types cannot hold.
fn proof(value: &Value) -> Option<Vec<Hash>> {
    value["proof"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(hash).collect()
}

/// A head for a consistency case. Some have words in place of roots: they are padded, so that the verdict is the verifier's
/// and not that of the type.
fn head(value: &Value, size: &str, root: &str) -> TreeHead {
    let mut root = STANDARD.decode(text(value, root)).unwrap();
    root.resize(32, 0);
    TreeHead { size: TreeSize(value[size].as_u64().unwrap()), root: Hash(root.try_into().unwrap()) }
}

fn verify_inclusion(vector: &Value) -> Option<bool> {
    let head = TreeHead { size: TreeSize(vector["treeSize"].as_u64()?), root: hash(&vector["root"])? };
    let proof = InclusionProof { index: LeafIndex(vector["leafIdx"].as_u64()?), hashes: proof(vector)? };
    Some(proof.verify(&hash(&vector["leafHash"])?, &head).is_ok())
}

#[test]
fn reference_roots() {
    let Some(tree) = load("merkle-rfc6962/reference-tree.json") else { return };
    let leaves: Vec<_> = list(&tree, "leaf_inputs_hex")
        .iter()
        .map(|leaf| leaf_hash(&hex::decode(leaf.as_str().unwrap()).unwrap()))
        .collect();
    let roots = list(&tree, "root_hashes_hex_by_size");
    assert_eq!(roots.len(), leaves.len() + 1);
    let mut frontier = Frontier::new();
    for (size, root) in roots.iter().enumerate() {
        let expect = Hash::from_hex(root.as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(frontier.root(), expect, "size {size}");
        assert_eq!(range_root(&leaves[..size]), expect, "size {size}");
        leaves.get(size).into_iter().for_each(|leaf| frontier.push(*leaf));
    }
    let mut nodes = 0;
    for (height, row) in list(&tree, "node_hashes_hex_by_level").iter().enumerate() {
        for (subtree, node) in leaves.chunks_exact(1 << height).zip(row.as_array().unwrap()) {
            assert_eq!(range_root(subtree).to_hex(), node.as_str().unwrap());
            nodes += 1;
        }
    }
    println!("merkle reference tree: {} roots and {nodes} nodes ran", roots.len());
}

#[test]
fn inclusion() {
    let Some(file) = load("merkle-rfc6962/inclusion.json") else { return };
    let (mut accepted, mut refused, mut unreadable) = (0, 0, 0);
    for case in list(&file, "cases") {
        let vector = &case["vector"];
        let verdict = verify_inclusion(vector);
        assert_eq!(verdict != Some(true), vector["wantErr"].as_bool().unwrap(), "{case}");
        match verdict {
            Some(true) => accepted += 1,
            Some(false) => refused += 1,
            None => unreadable += 1,
        }
    }
    assert_eq!(accepted + refused + unreadable, 98);
    println!(
        "merkle inclusion: 98 cases ran, {accepted} accepted, {refused} refused, {unreadable} with hashes that are not 32 bytes"
    );
}

/// All 98 verdicts are ours too. Three of them are policy rather than arithmetic: an old size of 0 with an empty proof and
/// nothing that speaks against it could be called consistent, since every tree begins with the empty one. We are strict
/// here, and whoever means to accept size 0 does so before asking for a proof.
#[test]
fn consistency() {
    const POLICY: [&str; 3] = [
        "testdata/consistency/additional/size1-is-zero-and-does-not-equal-size2.json",
        "testdata/consistency/additional/size1-is-zero-and-size2-is-not-zero.json",
        "testdata/consistency/additional/sizes-are-equal-zero-and-proof-is-empty.json",
    ];
    let Some(file) = load("merkle-rfc6962/consistency.json") else { return };
    let (mut accepted, mut refused, mut policy) = (0, 0, 0);
    for case in list(&file, "cases") {
        let vector = &case["vector"];
        let (old, new) = (head(vector, "size1", "root1"), head(vector, "size2", "root2"));
        let verdict = proof(vector).is_some_and(|hashes| ConsistencyProof { hashes }.verify(&old, &new).is_ok());
        assert_eq!(!verdict, vector["wantErr"].as_bool().unwrap(), "{case}");
        if verdict {
            accepted += 1
        } else {
            refused += 1
        }
        if POLICY.contains(&text(case, "path")) {
            assert!(old.size.0 == 0 && !verdict);
            policy += 1;
        }
    }
    assert_eq!((accepted + refused, policy), (98, 3));
    println!(
        "merkle consistency: 98 cases ran, {accepted} accepted, {refused} refused, 3 of these by policy: {POLICY:?}"
    );
}

/// The two other files are about proofs for subtrees `start..end` of Merkle Tree Certificates, which this log neither makes
/// nor reads. They do not run, and are not counted as passed.
#[test]
fn subtrees_are_not_ours() {
    for (path, cases) in [("subtreeinclusion", 204), ("subtreeconsistency", 118)] {
        let Some(file) = load(&format!("merkle-rfc6962/{path}.json")) else { continue };
        assert_eq!(list(&file, "cases").len(), cases);
        eprintln!("SKIPPED (aloud): {path}, {cases} cases: Merkle Tree Certificate subtrees are not part of this log");
    }
}
