//! A simulated disk: one seed decides what a crash leaves, where a write tears and which bit flips.
//!
//! [`SimDisk`] keeps everything in memory. It promises less than a good file system does and never more, so that a store
//! which survives it does not live from luck:
//!
//! - **Content.** What a file shows (live) and what survives (durable) differ by the changes since its last `sync`. A power
//!   loss keeps any subset of them: nothing, everything, a prefix, single sectors of [`SECTOR`] bytes, or lengths without
//!   their data (zeros). A `set_len` survives or not as one.
//! - **Names.** Creations, renames and removals belong to their directory, and only `sync_dir` makes them durable; the `sync`
//!   of a file does not keep its name. A power loss keeps, for each directory, a prefix of them. A rename within a directory
//!   is one step. One between two directories is never lost from both, but shows under both names until the old parent is
//!   synced. Directories are not renamed from one parent to another.
//! - **Handles and leases** follow the file through renames and removals, and end with the process: after
//!   [`SimDisk::crash_in_place`] or [`SimDisk::process_crash`] every older handle gives errors.
//! - **Protection** takes effect for handles opened later and survives every crash.
//!
//! Paths are plain keys: `/log/a`, `log/a` and `./log/a` are the same file, `..` is refused. The root directory is always
//! there. Faults are described at [`Fault`], and numbered by the mutating operations: `write_at`, `sync`, `set_len`, `open`
//! with `CreateNew`, `create_dir`, `rename`, `remove`, `sync_dir`.
//!
//! Not here: time, threads, and reads that give stale data.

mod content;
mod directory;
mod plan;
mod random;
mod sim;
mod tree;

#[cfg(test)]
mod tests;

pub use self::{content::SECTOR, plan::Fault, random::Random, sim::SimDisk, tree::MAX_FILE_LEN};
