//! JSON Web Keys.
//!
//! | algorithm | members |
//! |---|---|
//! | `ed25519` | `crv` = `Ed25519`, `kty` = `OKP`, `x` |
//! | `ecdsa-p256-sha256` | `crv` = `P-256`, `kty` = `EC`, `x`, `y` |
//! | `rsa-pss-sha256`, `rsa-pkcs1-sha256` | `alg` = `PS256` or `RS256`, `e`, `kty` = `RSA`, `n` |
//! | `ml-dsa-44` | `alg` = `ML-DSA-44`, `kty` = `AKP`, `pub` |
//!
//! and `use` = `sig`. Members that are not known are passed over, as RFC 7517 wants it; none of them may be there twice that
//! is. An `alg` of curves is not written: that of P-256, `ES256`, stands for signatures in another encoding than ours.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use indelible_core::{note::Algorithm, spki::Spki};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{PublicKey, PublicKeyError, as_wanted, rsa_algorithm, shown};

/// What is looked at of a JWK. The private members are there to be refused.
#[derive(Deserialize)]
struct Jwk {
    kty: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    #[serde(rename = "pub")]
    public: Option<String>,
    keys: Option<Value>,
    d: Option<Value>,
    p: Option<Value>,
    q: Option<Value>,
    k: Option<Value>,
    #[serde(rename = "priv")]
    private: Option<Value>,
}

pub(super) fn write(key: &PublicKey) -> String {
    let der = key.to_der();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let members = match Spki::parse(&der) {
        Ok(Spki::Ed25519(public)) => json!({ "crv": "Ed25519", "kty": "OKP", "x": encode(public) }),
        Ok(Spki::P256(point)) => {
            let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
            json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) })
        }
        Ok(Spki::Rsa { modulus, exponent }) => {
            let alg = if key.algorithm() == Algorithm::RsaPkcs1Sha256 { "RS256" } else { "PS256" };
            json!({ "alg": alg, "e": encode(exponent), "kty": "RSA", "n": encode(modulus) })
        }
        Ok(Spki::MlDsa44(public)) => json!({ "alg": "ML-DSA-44", "kty": "AKP", "pub": encode(public) }),
        Err(_) => Value::Object(Map::new()),
    };
    let mut members = members.as_object().cloned().unwrap_or_default();
    members.insert("use".to_owned(), "sig".into());
    // The members of an object come out in order of their names.
    Value::Object(members).to_string()
}

pub(super) fn read(text: &str, wanted: Option<Algorithm>) -> Result<PublicKey, PublicKeyError> {
    let jwk: Jwk = serde_json::from_str(text)
        .map_err(|error| refuse(format!("line {}, column {} is not as it should be", error.line(), error.column())))?;
    if jwk.keys.is_some() {
        return Err(refuse("it is a set of keys; give the one that is meant"));
    }
    if [&jwk.d, &jwk.p, &jwk.q, &jwk.k, &jwk.private].iter().any(|private| private.is_some()) {
        return Err(PublicKeyError::PrivateJwk);
    }
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err(refuse("its `use` is not `sig`: it is a key for something else than signatures"));
    }
    if jwk.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Err(refuse("its `key_ops` do not allow `verify`"));
    }
    match (jwk.kty.as_deref(), jwk.crv.as_deref()) {
        (Some("OKP"), Some("Ed25519")) => {
            says(&jwk, &["EdDSA", "Ed25519"])?;
            key(Algorithm::Ed25519, wanted, &sized(&jwk.x, "x", 32)?)
        }
        (Some("EC"), Some("P-256")) => {
            says(&jwk, &["ES256"])?;
            let point = [vec![4], sized(&jwk.x, "x", 32)?, sized(&jwk.y, "y", 32)?].concat();
            let point: &[u8; 65] = point.as_slice().try_into().map_err(|_| refuse("its point has not 64 bytes"))?;
            key(Algorithm::EcdsaP256Sha256, wanted, &Spki::P256(point).to_der())
        }
        (Some("RSA"), _) => {
            let (modulus, exponent) = (number(&jwk.n, "n")?, number(&jwk.e, "e")?);
            says(&jwk, &["PS256", "RS256"])?;
            let algorithm = match jwk.alg.as_deref() {
                Some("PS256") => Algorithm::RsaPssSha256,
                Some(_) => Algorithm::RsaPkcs1Sha256,
                None => rsa_algorithm(wanted),
            };
            key(algorithm, wanted, &Spki::Rsa { modulus: &modulus, exponent: &exponent }.to_der())
        }
        (Some("AKP"), _) => {
            if jwk.alg.is_none() {
                return Err(refuse("it has no `alg`, which a key of type `AKP` needs"));
            }
            says(&jwk, &["ML-DSA-44"])?;
            key(Algorithm::MlDsa44, wanted, &bytes(&jwk.public, "pub")?)
        }
        (Some(kty), crv) => {
            let curve = crv.map(|crv| format!(" and `crv` `{}`", shown(crv))).unwrap_or_default();
            Err(refuse(format!(
                "a key with `kty` `{}`{curve} is not known here; known are OKP with Ed25519, EC with P-256, RSA, and AKP with ML-DSA-44",
                shown(kty)
            )))
        }
        (None, _) => Err(refuse("it has no `kty`")),
    }
}

fn key(found: Algorithm, wanted: Option<Algorithm>, material: &[u8]) -> Result<PublicKey, PublicKeyError> {
    PublicKey::new(as_wanted(found, wanted)?, material)
}

/// Refuses a key that is for another algorithm than these.
fn says(jwk: &Jwk, known: &[&str]) -> Result<(), PublicKeyError> {
    match jwk.alg.as_deref() {
        Some(alg) if !known.contains(&alg) => {
            Err(refuse(format!("its `alg` is `{}`; known for its type is {}", shown(alg), known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn bytes(member: &Option<String>, name: &str) -> Result<Vec<u8>, PublicKeyError> {
    let text = member.as_deref().ok_or_else(|| refuse(format!("it has no `{name}`")))?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| refuse(format!("its `{name}` is not base64url without padding")))
}

fn sized(member: &Option<String>, name: &str, length: usize) -> Result<Vec<u8>, PublicKeyError> {
    let bytes = bytes(member, name)?;
    if bytes.len() == length { Ok(bytes) } else { Err(refuse(format!("its `{name}` has not {length} bytes"))) }
}

/// A number as RFC 7518 section 2 has it: without leading zeros.
fn number(member: &Option<String>, name: &str) -> Result<Vec<u8>, PublicKeyError> {
    let bytes = bytes(member, name)?;
    match bytes.first() {
        None | Some(0) => Err(refuse(format!("its `{name}` is empty or begins with zeros"))),
        Some(_) => Ok(bytes),
    }
}

fn refuse(reason: impl Into<String>) -> PublicKeyError {
    PublicKeyError::Jwk { reason: reason.into() }
}
