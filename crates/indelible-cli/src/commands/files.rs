//! `sign-file`, `verify-file`: signatures over whole files, which need neither a log nor this program to be verified.

use std::process::ExitCode;

use indelible_core::note::Algorithm;
use indelible_keys::{
    CheckpointSigner, KeyAlgorithm, KeyError, KeyInfo, Purpose, State,
    files::{Difference, FilesError, Report, sign_files, signature_path, verify_files},
    public::{PrivateKey, PublicKey},
};
use serde_json::{Value, json};

use crate::{
    cli::{SignFileArgs, VerifyFileArgs},
    exit,
    failure::Failure,
    output,
    places::{Places, now},
};

/// Signs files.
pub(crate) fn sign(places: &Places, json: bool, args: &SignFileArgs) -> Result<(), Failure> {
    let own = args.pem.as_deref().map(|pem| PrivateKey::load(pem, args.algorithm)).transpose()?;
    let of_ring;
    let signer = match &own {
        Some(key) => key.signer(),
        None => {
            of_ring = signer_of_ring(places, args)?;
            &of_ring
        }
    };
    let bar = output::progress("hashing bytes", 0);
    let signed = sign_files(&args.manifest, &args.files, signer, &mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    let (manifest, signature) = (signed.manifest.display().to_string(), signed.signature.display().to_string());
    if json {
        return output::json(&json!({
            "algorithm": signed.algorithm.name(),
            "bytes": signed.bytes,
            "files": signed.files,
            "manifest": manifest,
            "signature": signature,
        }));
    }
    output::text(&format!(
        "signed     {}, {} bytes, with `{}`\nmanifest   {}\nsignature  {}\n\
         check it with `indelible verify-file`, or with `sha256sum -c` and `openssl {}`",
        output::counted(signed.files, "file", "files"),
        signed.bytes,
        signed.algorithm,
        output::safe(&manifest),
        output::safe(&signature),
        openssl(signed.algorithm),
    ))
}

/// What signs by the key of the ring that is named, or by its active one of an algorithm.
fn signer_of_ring(places: &Places, args: &SignFileArgs) -> Result<CheckpointSigner, Failure> {
    let ring = places.ring()?;
    let id = match (&args.key, args.algorithm) {
        (Some(id), _) => id.clone(),
        (None, algorithm) => {
            let algorithm = algorithm.unwrap_or(Algorithm::Ed25519);
            let wanted =
                |key: &&KeyInfo| key.algorithm == KeyAlgorithm::Checkpoint(algorithm) && key.state == State::Active;
            let missing =
                || KeyError::NoActive { purpose: Purpose::CheckpointSigning, algorithm: algorithm.to_string() };
            ring.keys().find(wanted).ok_or_else(missing)?.id.clone()
        }
    };
    Ok(ring.file_signer_at(&id, now())?)
}

/// The command of OpenSSL that verifies such signatures.
fn openssl(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::MlDsa44 => "pkeyutl -verify -rawin",
        Algorithm::EcdsaP256Sha256 | Algorithm::RsaPkcs1Sha256 => "dgst -sha256 -verify",
        Algorithm::RsaPssSha256 => "dgst -sha256 -sigopt rsa_padding_mode:pss -verify",
    }
}

/// Verifies signed files.
pub(crate) fn verify(json: bool, args: &VerifyFileArgs) -> Result<ExitCode, Failure> {
    let key = PublicKey::load(&args.public_key, args.algorithm)?;
    // Most forms of an RSA key do not say how it signs, and both ways are by whoever holds it.
    let other = if args.algorithm.is_none() { key.other_padding() } else { None };
    let keys: Vec<PublicKey> = [key].into_iter().chain(other).collect();
    let signature = args.signature.clone().unwrap_or_else(|| signature_path(&args.manifest));
    let bar = output::progress("hashing bytes", 0);
    let report = verify_files(&args.manifest, &signature, &keys, &mut |bytes| bar.inc(bytes)).map_err(verdict)?;
    bar.finish_and_clear();
    let (status, code) = match (report.differences.is_empty(), report.unreadable.is_empty()) {
        (false, _) => ("tampered", exit::TAMPERED),
        (true, false) => ("unread", exit::COULD_NOT),
        (true, true) => ("intact", exit::OK),
    };
    if json {
        output::json(&as_json(&report, status))?;
    } else {
        output::text(&as_text(&report, status))?;
    }
    Ok(ExitCode::from(code))
}

/// A signature that is wrong is evidence; a file that is no manifest or cannot be read says nothing.
fn verdict(error: FilesError) -> Failure {
    match error {
        FilesError::WrongSignature { .. } => Failure::Evidence(exit::TAMPERED, Box::new(error)),
        error => error.into(),
    }
}

fn as_json(report: &Report, status: &str) -> Value {
    let named = |kind: &str| {
        let of_kind = report.differences.iter().filter(|found| word(found) == kind);
        of_kind.map(|found| found.name().to_owned()).collect::<Vec<_>>()
    };
    let changed = report.differences.iter().filter_map(|found| match found {
        Difference::Changed { name, expected, found } => {
            Some(json!({ "expected": expected, "found": found, "name": name }))
        }
        Difference::NotAFile { name, what } => Some(json!({ "name": name, "what": what })),
        _ => None,
    });
    let unread = report.unreadable.iter().map(|file| json!({ "error": file.error.to_string(), "name": file.name }));
    json!({
        "algorithm": report.algorithm.name(),
        "bytes": report.bytes,
        "changed": changed.collect::<Vec<_>>(),
        "files": report.files,
        "missing": named("missing"),
        "status": status,
        "surplus": named("surplus"),
        "unread": unread.collect::<Vec<_>>(),
    })
}

fn as_text(report: &Report, status: &str) -> String {
    let style = match status {
        "intact" => output::GOOD,
        "unread" => output::WARN,
        _ => output::BAD,
    };
    let files = output::counted(report.files, "file", "files");
    let mut text = format!("{style}{status}{style:#}: {files} under a right signature, `{}`", report.algorithm);
    for found in &report.differences {
        let more = match found {
            Difference::Changed { found, .. } => format!(" (now {found})"),
            Difference::NotAFile { what, .. } => format!(" ({what} now)"),
            _ => String::new(),
        };
        text.push_str(&format!("\n  {:8} {}{more}", word(found), output::safe(found.name())));
    }
    for file in &report.unreadable {
        text.push_str(&format!("\n  unread   {} ({})", output::safe(&file.name), file.error));
    }
    text
}

fn word(difference: &Difference) -> &'static str {
    match difference {
        Difference::Missing { .. } => "missing",
        Difference::Surplus { .. } => "surplus",
        _ => "changed",
    }
}
