//! PEM (RFC 7468): base64 between two lines that say what it is. Text around the block is passed over, a second block is not.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{PublicKeyError, shown};

/// The label of public keys.
pub(super) const PUBLIC: &str = "PUBLIC KEY";
/// The label of private keys that are not encrypted.
pub(super) const PRIVATE: &str = "PRIVATE KEY";

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The bytes of the one block in a text, which has to have this label.
pub(super) fn read(text: &str, wanted: &'static str) -> Result<Zeroizing<Vec<u8>>, PublicKeyError> {
    let damaged = |reason| PublicKeyError::Pem { reason };
    let mut lines = text.lines().map(str::trim_end);
    let first = lines.find_map(begins).ok_or(damaged("there is no `-----BEGIN …-----` line"))?;
    if first != wanted {
        return Err(PublicKeyError::OtherBlock { label: shown(first).into_owned(), wanted, hint: hint(first, wanted) });
    }
    let mut body = Zeroizing::new(String::with_capacity(text.len()));
    loop {
        let line = lines.next().ok_or(damaged("there is no `-----END …-----` line"))?;
        if let Some(label) = line.strip_prefix(END).and_then(|rest| rest.strip_suffix(DASHES)) {
            if label != first {
                return Err(damaged("it ends as something else than it begins"));
            }
            break;
        }
        body.push_str(line.trim_start());
    }
    if lines.any(|line| begins(line).is_some()) {
        return Err(damaged("there is more than one block: give a file with the one key that is meant"));
    }
    // `decode_vec` into a buffer that is large enough leaves no copy behind that is not wiped.
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len()));
    STANDARD.decode_vec(body.as_bytes(), &mut bytes).map_err(|_| damaged("what is between the lines is not base64"))?;
    Ok(bytes)
}

/// A block with a label, in lines of 64.
pub(super) fn write(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("{BEGIN}{label}{DASHES}\n");
    for line in bytes.chunks(48) {
        text.push_str(&STANDARD.encode(line));
        text.push('\n');
    }
    text.push_str(&format!("{END}{label}{DASHES}\n"));
    text
}

fn begins(line: &str) -> Option<&str> {
    line.strip_prefix(BEGIN)?.strip_suffix(DASHES)
}

/// What to do about a block that was not asked for.
fn hint(label: &str, wanted: &str) -> &'static str {
    match (wanted, label) {
        (PUBLIC, "CERTIFICATE" | "TRUSTED CERTIFICATE") => ": `openssl x509 -pubkey -noout -in FILE` prints it",
        (PUBLIC, "RSA PUBLIC KEY") => ": `openssl rsa -RSAPublicKey_in -pubout -in FILE` prints it",
        (PUBLIC, label) if label.ends_with("PRIVATE KEY") => ": `openssl pkey -pubout -in FILE` prints it",
        (PRIVATE, "ENCRYPTED PRIVATE KEY") => {
            ": `openssl pkcs8 -in FILE -out PLAIN` takes the encryption away; keep `PLAIN` readable by you alone"
        }
        (PRIVATE, "RSA PRIVATE KEY" | "EC PRIVATE KEY" | "EC PARAMETERS") => {
            ": `openssl pkcs8 -topk8 -nocrypt -in FILE -out PLAIN` writes it; keep `PLAIN` readable by you alone"
        }
        (PRIVATE, "PUBLIC KEY") => ": with the public key nothing can be signed",
        _ => "",
    }
}
