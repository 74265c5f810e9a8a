//! Opening an input: a file or the standard input, plain, gzip or Zstandard.
//!
//! What an input is compressed with is told by its first bytes and never by its name. A compressed file that is cut off is
//! an error at the place where the cut is; it never looks like a shorter file. Decompression streams: a small file that
//! unpacks to a large one costs time and never memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use crate::error::InputError;

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Read in one go.
const BUFFER_BYTES: usize = 64 * 1024;

/// Opens the file at `path`, or the standard input where `path` is `-`, and decompresses it where it is compressed.
///
/// # Errors
/// If the file cannot be opened or its first bytes cannot be read.
pub fn open_reader(path: impl AsRef<Path>) -> Result<Box<dyn BufRead + Send>, InputError> {
    let path = path.as_ref();
    let opened = if path == Path::new("-") { plain(io::stdin()) } else { File::open(path).and_then(plain) };
    opened.map_err(|source| InputError::Open { path: path.to_owned(), source })
}

fn plain(mut reader: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut start = Vec::with_capacity(ZSTD.len());
    reader.by_ref().take(4).read_to_end(&mut start)?;
    let (gzip, zstd) = (start.starts_with(&GZIP), start.starts_with(&ZSTD));
    let whole: Chain<Cursor<Vec<u8>>, _> = Cursor::new(start).chain(reader);
    Ok(if gzip {
        buffered(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
    } else if zstd {
        buffered(zstd::Decoder::with_buffer(BufReader::with_capacity(BUFFER_BYTES, whole))?)
    } else {
        buffered(whole)
    })
}

fn buffered(reader: impl Read + Send + 'static) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, reader))
}
