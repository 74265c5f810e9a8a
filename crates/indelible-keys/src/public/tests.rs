use super::*;
use crate::CheckpointSigner;

fn private(algorithm: Algorithm) -> PrivateKey {
    let bits = matches!(algorithm, Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256).then_some(2048);
    PrivateKey::from_secret(algorithm, &CheckpointSigner::generate_secret(algorithm, bits).unwrap()).unwrap()
}

#[test]
fn public_keys_read_back_from_every_form() {
    for algorithm in Algorithm::ALL {
        let key = private(algorithm).public_key();
        let wanted = Some(algorithm);
        let vkey = key.to_vkey("a.example/log").unwrap();
        assert_eq!(PublicKey::from(&vkey), key);
        for form in [key.to_der(), key.to_pem().into(), key.to_jwk().into(), vkey.to_string().into()] {
            assert_eq!(PublicKey::read(&form, wanted).unwrap(), key, "{algorithm}");
        }
        // What says how it signs needs nobody who knows it.
        for form in [key.to_jwk(), format!("{vkey}\n")] {
            assert_eq!(PublicKey::read(form.as_bytes(), None).unwrap(), key, "{algorithm}");
        }
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let same_numbers = key.other_padding().is_some_and(|key| key.algorithm() == other);
            for (form, says) in [(key.to_der(), false), (key.to_pem().into(), false), (key.to_jwk().into(), true)] {
                match PublicKey::read(&form, Some(other)) {
                    Ok(read) => assert!(same_numbers && !says && read.algorithm() == other, "{algorithm} as {other}"),
                    Err(PublicKeyError::OtherAlgorithm { wanted, .. }) => assert_eq!(wanted, other),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn an_rsa_key_that_does_not_say_how_it_signs_is_for_pss() {
    let key = private(Algorithm::RsaPkcs1Sha256).public_key();
    let read = PublicKey::from_pem(&key.to_pem(), None).unwrap();
    assert_eq!(read.algorithm(), Algorithm::RsaPssSha256);
    assert_eq!(read.other_padding().unwrap(), key);
    let bare = key.to_jwk().replace("\"alg\":\"RS256\",", "");
    assert_eq!(PublicKey::from_jwk(&bare, None).unwrap().algorithm(), Algorithm::RsaPssSha256);
    assert_eq!(PublicKey::from_jwk(&bare, Some(Algorithm::RsaPkcs1Sha256)).unwrap(), key);
}

#[test]
fn the_examples_of_the_standards_are_read() {
    // RFC 8037 appendix A.2.
    let ed = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let key = PublicKey::from_jwk(ed, None).unwrap();
    assert_eq!(key.algorithm(), Algorithm::Ed25519);
    assert_eq!(key.material()[..4], [0xd7, 0x5a, 0x98, 0x01]);
    // RFC 8410 section 10.1, in PEM and with text around it.
    let pem = "An example:\n-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\nbye\n";
    let key = PublicKey::read(pem.as_bytes(), None).unwrap();
    assert_eq!((key.algorithm(), &key.material()[..2]), (Algorithm::Ed25519, &[0x19, 0xbf][..]));
    assert!(pem.contains(&key.to_pem()));
    // RFC 7515 appendix A.3, whose key is on P-256.
    let ec = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    assert_eq!(PublicKey::from_jwk(ec, None).unwrap().algorithm(), Algorithm::EcdsaP256Sha256);
}

#[test]
fn other_jwks_are_refused_by_name() {
    let ed = private(Algorithm::Ed25519).public_key().to_jwk();
    let rsa = private(Algorithm::RsaPssSha256).public_key().to_jwk();
    let ec = private(Algorithm::EcdsaP256Sha256).public_key().to_jwk();
    let ml = private(Algorithm::MlDsa44).public_key().to_jwk();
    let with = |jwk: &str, more: &str| jwk.replacen('{', &format!("{{{more},"), 1);
    for good in [with(&ed, r#""kid":"k","alg":"EdDSA""#), with(&ec, r#""alg":"ES256","x5c":["MII"]"#)] {
        PublicKey::from_jwk(&good, None).unwrap();
    }
    for (bad, word) in [
        ("{".to_owned(), "column"),
        ("[]".to_owned(), "column"),
        ("{}".to_owned(), "`kty`"),
        (format!("{{\"keys\":[{ed}]}}"), "set of keys"),
        (with(&ed, r#""d":"AAAA""#), "private"),
        (with(&ml, r#""priv":"AAAA""#), "private"),
        (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), "private"),
        (ed.replace("\"sig\"", "\"enc\""), "`use`"),
        (with(&ed, r#""key_ops":["sign"]"#), "`key_ops`"),
        (ed.replace("Ed25519", "Ed448"), "Ed448"),
        (ec.replace("P-256", "P-384"), "P-384"),
        (with(&ec, r#""alg":"ES384""#), "ES384"),
        (rsa.replace("PS256", "PS512"), "PS512"),
        (rsa.replace("AQAB", "AAEAAQ"), "begins with zeros"),
        (rsa.replace("AQAB", "Ag"), "no key"),
        (ml.replace("ML-DSA-44", "ML-DSA-65"), "ML-DSA-65"),
        (ml.replace(r#""alg":"ML-DSA-44","#, ""), "`alg`"),
        (ed.replace("\"x\":\"", "\"x\":\"AAAA"), "32 bytes"),
        (ed.replace("\"}", "=\"}").replace("\"x\"", "\"X\""), "`x`"),
        (with(&ed, r#""x":"AAAA""#), "column"),
        (ec.replace("\"x\":\"", "\"x\":\"=").to_owned(), "base64url"),
    ] {
        let error = PublicKey::from_jwk(&bad, None).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(word), "{bad}: {text}");
    }
    // A point that is not on the curve.
    let y = ec.split("\"y\":\"").nth(1).unwrap().split('"').next().unwrap();
    let off = ec.replace(y, &"A".repeat(43));
    assert!(matches!(PublicKey::from_jwk(&off, None), Err(PublicKeyError::Unusable(_))));
}

#[test]
fn other_pem_blocks_are_refused_with_what_to_do() {
    let pem = private(Algorithm::RsaPssSha256).public_key().to_pem();
    let body = pem.lines().nth(1).unwrap();
    for (bad, word) in [
        (pem.replace("PUBLIC KEY", "CERTIFICATE"), "openssl x509"),
        (pem.replace("PUBLIC KEY", "RSA PUBLIC KEY"), "openssl rsa"),
        (pem.replace("PUBLIC KEY", "PRIVATE KEY"), "openssl pkey -pubout"),
        (pem.replace("PUBLIC KEY", "EC PRIVATE KEY"), "openssl pkey -pubout"),
        (pem.replace("PUBLIC KEY", "\u{1b}[31m"), "u{1b}"),
        (pem.replace("-----END PUBLIC KEY-----\n", ""), "END"),
        (pem.replace("END PUBLIC", "END PRIVATE"), "begins"),
        (pem.replace(body, "%%%%"), "base64"),
        (pem.replace(&format!("{body}\n"), ""), "SubjectPublicKeyInfo"),
        (pem.repeat(2), "more than one"),
        ("no key at all".to_owned(), "this is no key"),
        ("a+b+c".to_owned(), "this is no key"),
        (String::new(), "this is no key"),
        ("0".to_owned(), "this is no key"),
        ("x".repeat(MAX_KEY_BYTES + 1), "more than a key has"),
    ] {
        let error = PublicKey::read(bad.as_bytes(), None).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(word), "{bad:.80}: {text}");
    }
    assert_eq!(PublicKey::from_pem(&pem.replace('\n', "\r\n"), None).unwrap().to_pem(), pem);
    for (label, word) in [
        ("ENCRYPTED PRIVATE KEY", "openssl pkcs8 -in"),
        ("RSA PRIVATE KEY", "openssl pkcs8 -topk8"),
        ("EC PRIVATE KEY", "openssl pkcs8 -topk8"),
        ("PUBLIC KEY", "nothing can be signed"),
    ] {
        let bad = pem.replace("PUBLIC KEY", label);
        let text = chain(&PrivateKey::read(bad.as_bytes(), None).unwrap_err());
        assert!(text.contains(word), "{label}: {text}");
    }
}

#[test]
fn private_keys_are_read_as_pkcs8_and_keep_their_secret_to_themselves() {
    use aws_lc_rs::signature::{Ed25519KeyPair, ML_DSA_44_SIGNING, ML_DSA_65_SIGNING, PqdsaKeyPair};
    for algorithm in Algorithm::ALL {
        let key = private(algorithm);
        let der = match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::from_seed_unchecked(key.secret()).unwrap().to_pkcs8v1().unwrap(),
            Algorithm::MlDsa44 => {
                PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, key.secret()).unwrap().to_pkcs8v1().unwrap()
            }
            _ => {
                let read = PrivateKey::from_pkcs8(key.secret(), Some(algorithm)).unwrap();
                assert_eq!((read.secret(), read.public_key()), (key.secret(), key.public_key()), "{algorithm}");
                continue;
            }
        };
        for form in [der.as_ref().to_vec(), pem::write(pem::PRIVATE, der.as_ref()).into()] {
            let read = PrivateKey::read(&form, None).unwrap();
            assert_eq!((read.algorithm(), read.secret()), (algorithm, key.secret()));
            assert!(!format!("{read:?}").contains("secret"));
        }
        let other = PrivateKey::from_pkcs8(der.as_ref(), Some(Algorithm::EcdsaP256Sha256)).unwrap_err();
        assert!(matches!(other, PublicKeyError::OtherAlgorithm { .. }));
        for bad in [&der.as_ref()[1..], &[der.as_ref(), &[0]].concat(), &[]] {
            assert!(matches!(PrivateKey::from_pkcs8(bad, None), Err(PublicKeyError::PrivateKey)), "{algorithm}");
        }
    }
    let other = PqdsaKeyPair::generate(&ML_DSA_65_SIGNING).unwrap().to_pkcs8v1().unwrap();
    assert!(matches!(PrivateKey::from_pkcs8(other.as_ref(), None), Err(PublicKeyError::PrivateKey)));
}

#[cfg(unix)]
#[test]
fn private_key_files_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, pem::write(pem::PRIVATE, private(Algorithm::EcdsaP256Sha256).secret())).unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    assert!(matches!(PrivateKey::load(&path, None), Err(PublicKeyError::Exposed { mode: 0o640, .. })));
    mode(0o600);
    assert_eq!(PrivateKey::load(&path, None).unwrap().algorithm(), Algorithm::EcdsaP256Sha256);
    let missing = dir.path().join("missing");
    assert!(matches!(PrivateKey::load(&missing, None), Err(PublicKeyError::Io { .. })));
    assert!(matches!(PublicKey::load(&missing, None), Err(PublicKeyError::Io { .. })));
}

proptest::proptest! {
    #[test]
    fn reading_a_key_ends_well(
        text in "(-----BEGIN (PUBLIC|PRIVATE) KEY-----\\n|\\{\"kty\":\"(OKP|EC|RSA|AKP)\",)?[A-Za-z0-9+/=_\":,{}\\n-]{0,80}(-----END (PUBLIC|PRIVATE) KEY-----)?",
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100),
    ) {
        for given in [text.as_bytes(), &bytes] {
            drop(PublicKey::read(given, None));
            drop(PrivateKey::read(given, None));
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}
