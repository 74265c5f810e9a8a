//! `wycheproof`: the primitives that the format rests on, through the crates that we use.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use indelible_core::note::{Algorithm, VerifyingKey};
use serde_json::Value;
use sha2::Sha256;

use super::{bytes, list, load, text};

/// Runs all cases of a file against a verdict of ours. The one `acceptable` case there is, a PKCS#1 signature whose digest
/// information leaves `NULL` out, is not accepted.
fn run(path: &str, count: usize, accepts: impl Fn(&Value, &Value) -> bool) {
    let Some(file) = load(path) else { return };
    let (mut valid, mut invalid) = (0, 0);
    for group in list(&file, "testGroups") {
        for case in list(group, "tests") {
            let expect = match text(case, "result") {
                "valid" => true,
                "invalid" => false,
                "acceptable" if case["flags"] == serde_json::json!(["MissingNull"]) => false,
                other => panic!("`{other}` in {case}"),
            };
            assert_eq!(accepts(group, case), expect, "{case}");
            if expect { valid += 1 } else { invalid += 1 }
        }
    }
    assert_eq!(valid + invalid, count);
    println!("{path}: {count} cases ran, {valid} valid, {invalid} invalid");
}

#[test]
fn ed25519() {
    run("wycheproof/ed25519_test.json", 151, |group, case| {
        let public = bytes(&group["publicKey"], "pk").try_into().unwrap();
        let key = VerifyingKey::ed25519("vector", public).unwrap();
        key.verify(&bytes(case, "msg"), &bytes(case, "sig"))
    });
}

/// The cases of a group whose key is `SubjectPublicKeyInfo`.
fn verifies(algorithm: Algorithm, group: &Value, case: &Value) -> bool {
    let public = bytes(group, "publicKeyDer");
    let key = VerifyingKey::new("vector", algorithm, &public).unwrap();
    assert_eq!(VerifyingKey::parse(&key.to_string()).unwrap(), key);
    key.verify(&bytes(case, "msg"), &bytes(case, "sig"))
}

#[test]
fn ecdsa_p256_sha256() {
    let path = "wycheproof/ecdsa_secp256r1_sha256_test.json";
    run(path, 484, |group, case| verifies(Algorithm::EcdsaP256Sha256, group, case));
}

#[test]
fn rsa_pss_sha256() {
    let path = "wycheproof/rsa_pss_2048_sha256_mgf1_32_test.json";
    run(path, 108, |group, case| verifies(Algorithm::RsaPssSha256, group, case));
}

#[test]
fn rsa_pkcs1_sha256() {
    let path = "wycheproof/rsa_signature_2048_sha256_test.json";
    run(path, 259, |group, case| verifies(Algorithm::RsaPkcs1Sha256, group, case));
}

#[test]
fn ml_dsa_44() {
    run("wycheproof/mldsa_44_verify_test.json", 180, |group, case| {
        let verifies = match VerifyingKey::new("vector", Algorithm::MlDsa44, &bytes(group, "publicKey")) {
            Ok(key) => key.verify(&bytes(case, "msg"), &bytes(case, "sig")),
            Err(_) => false,
        };
        // The context is always empty here, so a signature with another one is not one of ours, right as it may be.
        let other_context = case["ctx"].as_str().is_some_and(|context| !context.is_empty());
        if other_context {
            assert!(!verifies, "{case}");
            return text(case, "result") == "valid";
        }
        verifies
    });
}

#[test]
fn hmac_sha256() {
    run("wycheproof/hmac_sha256_test.json", 174, |group, case| {
        let mac = Hmac::<Sha256>::new_from_slice(&bytes(case, "key")).unwrap().chain_update(bytes(case, "msg"));
        let tag = bytes(case, "tag");
        assert_eq!(tag.len() as u64 * 8, group["tagSize"].as_u64().unwrap());
        mac.verify_truncated_left(&tag).is_ok()
    });
}

#[test]
fn hkdf_sha256() {
    run("wycheproof/hkdf_sha256_test.json", 86, |_, case| {
        let mut okm = vec![0; usize::try_from(case["size"].as_u64().unwrap()).unwrap()];
        let hkdf = Hkdf::<Sha256>::new(Some(&bytes(case, "salt")), &bytes(case, "ikm"));
        hkdf.expand(&bytes(case, "info"), &mut okm).is_ok() && okm == bytes(case, "okm")
    });
}
