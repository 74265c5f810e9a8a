//! Where the benchmark runs: file system and cores.

use std::path::Path;

/// The kind of file system that a directory is on, by the system's mount table.
pub(crate) fn filesystem(dir: &Path) -> String {
    let unknown = || "unknown".to_owned();
    let (Ok(real), Ok(mounts)) = (dir.canonicalize(), std::fs::read_to_string("/proc/self/mounts")) else {
        return unknown();
    };
    // The last of the longest mount points that lead to the directory is the one that counts.
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?.replace("\\040", " "), words.next()?);
        real.starts_with(&point).then(|| (point.len(), kind.to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map_or_else(unknown, |(_, kind)| kind)
}

/// Whether a file system of this kind keeps its files in memory only: then there is nothing to sync.
pub(crate) fn is_memory(filesystem: &str) -> bool {
    matches!(filesystem, "tmpfs" | "ramfs")
}

/// How many threads run at a time.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
