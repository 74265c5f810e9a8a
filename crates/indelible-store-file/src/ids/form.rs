//! The bytes of an id file: header, filter blocks, sorted records, footer.

use indelible_store::store::Fingerprint;

use super::Record;

pub(super) const MAGIC: &[u8; 8] = b"INDIDS1\n";
pub(super) const HEADER_LEN: usize = 40;
pub(super) const HEADER: u64 = HEADER_LEN as u64;
pub(super) const BLOCK_LEN: usize = 64;
pub(super) const BLOCK: u64 = BLOCK_LEN as u64;
pub(super) const RECORD_LEN: usize = 24;
pub(super) const RECORD: u64 = RECORD_LEN as u64;
pub(super) const FOOTER_LEN: usize = 64;
pub(super) const FOOTER: u64 = FOOTER_LEN as u64;
/// 10 bits a key in a block of 512.
pub(super) const KEYS_PER_BLOCK: u64 = 51;

/// The length of a file of so many records and blocks; `None` where no file is so long.
pub(super) fn length_of(count: u64, blocks: u64) -> Option<u64> {
    let front = blocks.checked_mul(BLOCK)?.checked_add(HEADER)?;
    count.checked_mul(RECORD)?.checked_add(front)?.checked_add(FOOTER)
}

pub(super) fn parse_record(bytes: &[u8]) -> Option<Record> {
    let fingerprint = Fingerprint(*bytes.first_chunk::<16>()?);
    Some((fingerprint, u64::from_le_bytes(*bytes.last_chunk::<8>()?)))
}

pub(super) fn scale(prefix: u64, count: u64) -> u64 {
    u64::try_from((u128::from(prefix) * u128::from(count)) >> 64).unwrap_or(0)
}

pub(super) fn block_of(id: Fingerprint, blocks: u64) -> u64 {
    let prefix = id.0.first_chunk().copied().map_or(0, u32::from_be_bytes);
    u64::try_from((u128::from(prefix) * u128::from(blocks)) >> 32).unwrap_or(0)
}

pub(super) fn bits_of(id: Fingerprint) -> impl Iterator<Item = usize> {
    let x = id.0.last_chunk().copied().map_or(0, u64::from_le_bytes);
    (0..6).map(move |k| usize::try_from(x >> (9 * k) & 511).unwrap_or(0))
}
