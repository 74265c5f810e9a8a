//! Plain, gzip and Zstandard inputs, whole and cut off.

use std::{fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};
use indelible_import::{Format, ImportError, open_reader, records};

fn lines() -> String {
    // Numbers that compress badly, so that a cut loses records.
    let number = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..5000)
        .map(|n| format!("{{\"action\":\"a.b\",\"actor\":{{\"type\":\"user\",\"id\":\"{:x}\"}}}}\n", number(n)))
        .collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The good records, and the last error.
fn read(path: &Path) -> (Vec<Vec<u8>>, Option<ImportError>) {
    let (mut good, mut last) = (Vec::new(), None);
    for record in records(Format::Jsonl, None, open_reader(path).unwrap()).unwrap() {
        match record {
            Ok(record) => good.push(record.event),
            Err(error) => last = Some(error),
        }
    }
    (good, last)
}

#[test]
fn compression_is_told_by_the_first_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("named.csv");
    let text = lines();
    let (first, second) = text.split_at(text.len() / 2);
    let expect: Vec<Vec<u8>> = text.lines().map(|l| l.as_bytes().to_vec()).collect();
    for bytes in [
        text.clone().into_bytes(),
        gzip(&text),
        // Two gzip members, as rotated files that were joined have.
        [gzip(first), gzip(second)].concat(),
        zstd::encode_all(text.as_bytes(), 3).unwrap(),
        format!("\u{feff}{text}").into_bytes(),
    ] {
        fs::write(&path, bytes).unwrap();
        let (good, last) = read(&path);
        assert!(last.is_none(), "{last:?}");
        assert!(good == expect);
    }
}

#[test]
fn a_cut_off_file_is_an_error_after_the_good_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    let text = lines();
    for whole in [gzip(&text), zstd::encode_all(text.as_bytes(), 3).unwrap()] {
        for kept in [whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..kept]).unwrap();
            let (good, last) = read(&path);
            let last = last.unwrap();
            assert!(matches!(last, ImportError::Stream { .. }), "{last}");
            assert!(good.len() <= 5000 && text.as_bytes().starts_with(&good.join(&b'\n')));
            println!("{kept} of {} bytes: {} records, then {}", whole.len(), good.len(), crate::common::chain(&last));
        }
    }
    fs::write(&path, &gzip(&text)[..20_000]).unwrap();
    assert!(!read(&path).0.is_empty());
}

#[test]
fn short_and_missing_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short");
    for (bytes, good) in [(&b""[..], 0), (b"{}", 1), (b"\n\n\n", 0)] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(read(&path).0.len(), good);
    }
    let error = open_reader(folder.path().join("none")).err().unwrap();
    assert!(error.to_string().contains("none` cannot be opened"), "{error}");
}
