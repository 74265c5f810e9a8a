use std::fs;

use indelible_core::note::{Algorithm, NoteSigner as _};

use super::*;
use crate::{
    CheckpointSigner,
    public::{PrivateKey, PublicKey},
};

/// A folder with a day of three files, and a key.
struct Desk {
    dir: tempfile::TempDir,
    key: PrivateKey,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { dir: tempfile::tempdir().unwrap(), key: key(Algorithm::Ed25519) };
        fs::create_dir_all(desk.at("day/night")).unwrap();
        desk.write("day/a", "one");
        desk.write("day/b", "two");
        desk.write("day/night/c", "");
        desk
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn sign(&self, manifest: &str, files: &[&str]) -> Result<Signed, FilesError> {
        let files: Vec<PathBuf> = files.iter().map(|file| self.at(file)).collect();
        sign_files(&self.at(manifest), &files, self.key.signer(), &mut |_| {})
    }

    fn verify(&self, manifest: &str) -> Result<Report, FilesError> {
        verify_files(&self.at(manifest), &signature_path(&self.at(manifest)), &[self.key.public_key()], &mut |_| {})
    }

    #[track_caller]
    fn differences(&self) -> Vec<String> {
        let report = self.verify("sums").unwrap();
        assert!(report.unreadable.is_empty(), "{report:?}");
        let kind = |difference: &Difference| match difference {
            Difference::Changed { .. } => "changed",
            Difference::NotAFile { what, .. } => what,
            Difference::Missing { .. } => "missing",
            Difference::Surplus { .. } => "surplus",
        };
        report.differences.iter().map(|found| format!("{} {}", kind(found), found.name())).collect()
    }
}

fn key(algorithm: Algorithm) -> PrivateKey {
    let bits = matches!(algorithm, Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256).then_some(2048);
    PrivateKey::from_secret(algorithm, &CheckpointSigner::generate_secret(algorithm, bits).unwrap()).unwrap()
}

#[test]
fn a_signed_day_is_verified_and_each_difference_has_its_name() {
    let desk = Desk::new();
    let signed = desk.sign("sums", &["day"]).unwrap();
    assert_eq!((signed.files, signed.bytes, signed.algorithm), (3, 6, Algorithm::Ed25519));
    let text = fs::read_to_string(desk.at("sums")).unwrap();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert!(text.starts_with("# all day\n") && text.ends_with(&format!("{empty}  day/night/c\n")), "{text}");
    let report = desk.verify("sums").unwrap();
    assert_eq!((report.files, report.bytes, report.differences.len()), (3, 6, 0));

    desk.write("day/a", "onf");
    desk.write("day/night/d", "more");
    fs::remove_file(desk.at("day/b")).unwrap();
    assert_eq!(desk.differences(), ["changed day/a", "missing day/b", "surplus day/night/d"]);
    fs::remove_dir_all(desk.at("day/night")).unwrap();
    fs::create_dir(desk.at("day/b")).unwrap();
    assert_eq!(desk.differences(), ["changed day/a", "a folder day/b", "missing day/night/c"]);
    fs::remove_dir_all(desk.at("day")).unwrap();
    desk.write("day", "no folder any more");
    assert_eq!(desk.differences(), ["missing day/a", "missing day/b", "missing day/night/c"]);
}

#[test]
fn single_files_say_nothing_about_their_neighbours() {
    let desk = Desk::new();
    desk.sign("sums", &["day/a", "day/night/../b", "day/a"]).unwrap();
    desk.write("day/new", "new");
    assert_eq!(desk.differences(), [""; 0]);
    assert_eq!(desk.verify("sums").unwrap().files, 2);
}

#[test]
fn a_manifest_may_stand_in_the_folder_that_it_speaks_for() {
    let desk = Desk::new();
    desk.sign("sums", &["."]).unwrap();
    assert_eq!(desk.differences(), [""; 0]);
    desk.write("more", "");
    desk.write("sums.sig.old", "");
    assert_eq!(desk.differences(), ["surplus more", "surplus sums.sig.old"]);
    // A folder and one within it: what is in both is reported once.
    let desk = Desk::new();
    desk.sign("sums", &["day/night", "day"]).unwrap();
    desk.write("day/night/new", "");
    assert_eq!(desk.differences(), ["surplus day/night/new"]);
}

#[cfg(unix)]
#[test]
fn links_are_neither_signed_nor_followed() {
    use std::os::unix::fs::symlink;
    let desk = Desk::new();
    symlink(desk.at("day/a"), desk.at("link")).unwrap();
    symlink(desk.at("day"), desk.at("folder")).unwrap();
    for (file, word) in [("link", "symbolic link"), ("folder", "symbolic link")] {
        let error = desk.sign("sums", &[file]).unwrap_err();
        assert!(matches!(error, FilesError::NotAFile { .. }) && error.to_string().contains(word), "{error}");
    }
    // By way of a link the file is the one that it leads to, under its own name.
    desk.sign("sums", &["folder/a", "day/b", "day/night/c"]).unwrap();
    assert!(fs::read_to_string(desk.at("sums")).unwrap().contains("  day/a\n"));
    fs::rename(desk.at("day/a"), desk.at("elsewhere")).unwrap();
    symlink(desk.at("elsewhere"), desk.at("day/a")).unwrap();
    fs::rename(desk.at("day/night"), desk.at("night")).unwrap();
    symlink(desk.at("night"), desk.at("day/night")).unwrap();
    assert_eq!(desk.differences(), ["a symbolic link day/a", "a symbolic link day/night/c"]);
    let error = desk.sign("more", &["day"]).unwrap_err();
    assert!(matches!(error, FilesError::NotAFile { .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_plain_text_are_refused_and_reported() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let desk = Desk::new();
    desk.sign("sums", &["day"]).unwrap();
    let raw = desk.at("day").join(OsStr::from_bytes(b"\xff"));
    fs::write(&raw, "x").unwrap();
    assert_eq!(desk.differences(), ["surplus day/\u{fffd}"]);
    let signed = |file: &Path| sign_files(&desk.at("more"), &[file.to_owned()], desk.key.signer(), &mut |_| {});
    for file in [raw.as_path(), &desk.at("day")] {
        assert!(matches!(signed(file), Err(FilesError::Name { source: NameError::NotText, .. })));
    }
    fs::remove_file(raw).unwrap();
    for name in ["day/a\nb", "day/a\\b", "day/\u{202e}txt.exe"] {
        desk.write(name, "x");
        for file in [desk.at(name), desk.at("day")] {
            assert!(matches!(signed(&file), Err(FilesError::Name { source: NameError::Characters, .. })), "{name:?}");
        }
        fs::remove_file(desk.at(name)).unwrap();
    }
    assert!(!desk.at("more").exists() && !desk.at("more.sig").exists() && !desk.at("more.tmp").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_read_is_neither_right_nor_wrong() {
    let desk = Desk::new();
    desk.sign("sums", &["day"]).unwrap();
    // A name that is too long for the system, under a right signature.
    let name = "n".repeat(300);
    let text = fs::read_to_string(desk.at("sums")).unwrap() + &format!("{}  {name}\n", "0".repeat(64));
    let signature = desk.key.signer().sign(text.as_bytes()).unwrap();
    desk.write("sums", &text);
    fs::write(desk.at("sums.sig"), signature).unwrap();
    let report = desk.verify("sums").unwrap();
    assert!(report.differences.is_empty());
    assert_eq!(report.unreadable.iter().map(|unreadable| unreadable.name.as_str()).collect::<Vec<_>>(), [name]);
}

#[test]
fn nothing_is_overwritten_and_nothing_stays_half() {
    let desk = Desk::new();
    for there in ["sums", "sums.sig"] {
        desk.write(there, "mine");
        assert!(matches!(desk.sign("sums", &["day"]), Err(FilesError::Exists { .. })));
        assert_eq!(fs::read_to_string(desk.at(there)).unwrap(), "mine");
        fs::remove_file(desk.at(there)).unwrap();
    }
    fs::create_dir(desk.at("empty")).unwrap();
    fs::create_dir(desk.at("below")).unwrap();
    for (manifest, files, expect) in [
        ("sums", vec![], "no file to sign"),
        ("sums", vec!["empty"], "no file to sign"),
        ("sums", vec!["day", "missing"], "cannot read"),
        ("below/sums", vec!["day/a"], "not beneath"),
        ("missing/sums", vec!["day/a"], "cannot find the folder"),
    ] {
        let error = desk.sign(manifest, &files).unwrap_err();
        assert!(error.to_string().contains(expect), "{files:?}: {error}");
        assert!(!desk.at(manifest).exists() && !signature_path(&desk.at(manifest)).exists());
    }
    let names = fs::read_dir(desk.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn every_byte_of_manifest_and_signature_is_signed() {
    let desk = Desk::new();
    desk.sign("sums", &["day"]).unwrap();
    for file in ["sums", "sums.sig"] {
        let good = fs::read(desk.at(file)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(desk.at(file), &bad).unwrap();
            assert!(matches!(desk.verify("sums"), Err(FilesError::WrongSignature { .. })), "{file}, byte {at}");
        }
        fs::write(desk.at(file), [&good[..], b"\n"].concat()).unwrap();
        assert!(matches!(desk.verify("sums"), Err(FilesError::WrongSignature { .. })), "{file}");
        fs::write(desk.at(file), good).unwrap();
    }
    assert!(desk.verify("sums").is_ok());
    fs::write(desk.at("sums.sig"), vec![0; 2000]).unwrap();
    assert!(matches!(desk.verify("sums"), Err(FilesError::TooLarge { .. })));
    fs::remove_file(desk.at("sums.sig")).unwrap();
    assert!(matches!(desk.verify("sums"), Err(FilesError::Io { .. })));
}

#[test]
fn each_algorithm_signs_files_but_the_one_that_others_cannot_verify() {
    for algorithm in Algorithm::ALL {
        let mut desk = Desk::new();
        desk.key = key(algorithm);
        if algorithm == Algorithm::MlDsa44 {
            assert!(matches!(desk.sign("sums", &["day"]), Err(FilesError::Algorithm { .. })));
            continue;
        }
        assert_eq!(desk.sign("sums", &["day"]).unwrap().algorithm, algorithm);
        assert_eq!(desk.verify("sums").unwrap().algorithm, algorithm);
        let stranger: PublicKey = key(algorithm).public_key();
        let (manifest, signature) = (desk.at("sums"), desk.at("sums.sig"));
        let verify = |keys: &[PublicKey]| verify_files(&manifest, &signature, keys, &mut |_| {});
        assert!(matches!(verify(std::slice::from_ref(&stranger)), Err(FilesError::WrongSignature { .. })));
        assert!(verify(&[stranger, desk.key.public_key()]).is_ok());
        if let Some(other) = desk.key.public_key().other_padding() {
            assert!(verify(std::slice::from_ref(&other)).is_err());
            assert_eq!(verify(&[other, desk.key.public_key()]).unwrap().algorithm, algorithm);
        }
    }
}

#[test]
fn a_right_signature_over_no_manifest_says_nothing() {
    let desk = Desk::new();
    for text in ["", "a.example/log\n42\nCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n", "not a manifest\n"] {
        desk.write("sums", text);
        fs::write(desk.at("sums.sig"), desk.key.signer().sign(text.as_bytes()).unwrap()).unwrap();
        assert!(matches!(desk.verify("sums"), Err(FilesError::Malformed { .. })), "{text:?}");
    }
}
