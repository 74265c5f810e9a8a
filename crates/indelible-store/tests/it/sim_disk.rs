//! The simulated disk against a plain model, and against the real one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io,
    path::{Path, PathBuf},
};

use indelible_store::{
    disk::{Disk, Open, OsDisk},
    fault::{Random, SimDisk},
};

const DIRS: [&str; 2] = ["d", "e"];
const NAMES: u64 = 4;
const LEN_LIMIT: u64 = 3000;

fn some_dir(random: &mut Random) -> PathBuf {
    PathBuf::from(DIRS[random.index(DIRS.len())])
}

fn some_bytes(random: &mut Random) -> Vec<u8> {
    let len = random.index(1200);
    (0..len).map(|_| random.next_u64().to_le_bytes()[0]).collect()
}

fn some_name(random: &mut Random, dir: &Path) -> PathBuf {
    dir.join(random.below(NAMES).to_string())
}

#[derive(Clone, Debug, Default, PartialEq)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
    clean: bool,
}

/// Files by number, and names that lead to a number: as they show and as they were when their directory was last synced.
#[derive(Default)]
struct Model {
    files: Vec<File>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    /// Names that were there at some time since their directory was last synced.
    possible: BTreeSet<PathBuf>,
    unsynced_dirs: BTreeSet<PathBuf>,
}

impl Model {
    fn of(contents: BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let mut model = Self::default();
        for (path, bytes) in contents {
            model.live.insert(path, model.files.len());
            model.files.push(File { live: bytes.clone(), synced: bytes, clean: true });
        }
        model.durable = model.live.clone();
        model.possible = model.live.keys().cloned().collect();
        model
    }

    fn renamed(&mut self, path: &Path) {
        self.unsynced_dirs.insert(path.parent().unwrap().to_owned());
        self.possible.insert(path.to_owned());
    }

    fn sync_dir(&mut self, dir: &Path) {
        self.durable.retain(|path, _| !path.starts_with(dir));
        let shown: Vec<_> = self.live.iter().filter(|(path, _)| path.starts_with(dir)).collect();
        self.durable.extend(shown.into_iter().map(|(path, file)| (path.clone(), *file)));
        self.possible.retain(|path| !path.starts_with(dir) || self.live.contains_key(path));
        self.unsynced_dirs.remove(dir);
    }

    /// One random operation, on the disk and here.
    fn step(&mut self, disk: &SimDisk, random: &mut Random) {
        let dir = some_dir(random);
        let (path, other) = (some_name(random, &dir), some_name(random, &dir));
        let Some(&number) = self.live.get(&path) else {
            if random.below(3) == 0 {
                disk.open(&path, Open::CreateNew).unwrap();
                self.live.insert(path.clone(), self.files.len());
                self.files.push(File { clean: true, ..File::default() });
                self.renamed(&path);
            }
            return;
        };
        let file = &mut self.files[number];
        let open = |how| disk.open(&path, how).unwrap();
        match random.below(12) {
            0..=3 => {
                let bytes = some_bytes(random);
                let offset = random.index(file.live.len() + 600);
                open(Open::Write).write_at(&bytes, offset as u64).unwrap();
                if !bytes.is_empty() {
                    let end = offset + bytes.len();
                    file.live.resize(file.live.len().max(end), 0);
                    file.live[offset..end].copy_from_slice(&bytes);
                    file.clean = false;
                }
            }
            4 => {
                let len = random.below(LEN_LIMIT);
                open(Open::Write).set_len(len).unwrap();
                file.live.resize(usize::try_from(len).unwrap(), 0);
                file.clean = false;
            }
            5..=6 => {
                open(Open::Read).sync().unwrap();
                file.synced = file.live.clone();
                file.clean = true;
            }
            7 => {
                disk.rename(&path, &other).unwrap();
                if path != other {
                    self.live.remove(&path);
                    self.live.insert(other.clone(), number);
                    self.renamed(&other);
                }
            }
            8 => {
                disk.remove(&path).unwrap();
                self.live.remove(&path);
                self.renamed(&path);
            }
            9 => {
                disk.sync_dir(&dir).unwrap();
                self.sync_dir(&dir);
            }
            _ => {
                let mut bytes = vec![0; file.live.len() + 1];
                let got = open(Open::Read).read_at(&mut bytes, 0).unwrap();
                assert_eq!(bytes[..got], file.live);
            }
        }
    }

    fn check(&self, disk: &SimDisk) {
        let expect = |names: &BTreeMap<PathBuf, usize>, bytes: fn(&File) -> &Vec<u8>| -> BTreeMap<PathBuf, Vec<u8>> {
            names.iter().map(|(path, number)| (path.clone(), bytes(&self.files[*number]).clone())).collect()
        };
        assert_eq!(disk.snapshot(), expect(&self.live, |file| &file.live));
        assert_eq!(disk.durable_snapshot(), expect(&self.durable, |file| &file.synced));
    }

    /// What was synced is there, and nothing that never was.
    fn check_crashed(&self, disk: &SimDisk) {
        let found = disk.snapshot();
        assert_eq!(disk.durable_snapshot(), found);
        let possible = found.keys().all(|path| self.possible.contains(path));
        assert!(possible, "{:?} of {:?}", found.keys(), self.possible);
        for dir in DIRS.map(PathBuf::from) {
            if self.unsynced_dirs.contains(&dir) {
                continue;
            }
            let inside = |path: &&PathBuf| path.starts_with(&dir);
            let (there, synced) = (found.keys().filter(inside), self.live.keys().filter(inside));
            assert_eq!(there.collect::<Vec<_>>(), synced.collect::<Vec<_>>());
            for (path, number) in self.live.iter().filter(|(path, _)| path.starts_with(&dir)) {
                let file = &self.files[*number];
                assert!(!file.clean || found[path] == file.synced, "{}", path.display());
            }
        }
    }
}

#[test]
fn random_operations_and_crashes_agree_with_the_model() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let disk = SimDisk::new(seed);
        for dir in DIRS {
            disk.create_dir(Path::new(dir)).unwrap();
        }
        disk.sync_dir(Path::new("")).unwrap();
        let mut model = Model::default();
        for _ in 0..4 {
            for _ in 0..random.below(80) {
                model.step(&disk, &mut random);
                if random.below(8) == 0 {
                    model.check(&disk);
                }
            }
            model.check(&disk);
            for _ in 0..4 {
                model.check_crashed(&disk.crash());
            }
            disk.process_crash();
            model.check(&disk);
            disk.crash_in_place(random.next_u64());
            model.check_crashed(&disk);
            model = Model::of(disk.snapshot());
        }
    }
}

/// The result of an operation without what may differ: the text of an error.
fn outcome<T: Debug>(result: io::Result<T>) -> Result<T, io::ErrorKind> {
    result.map_err(|error| error.kind())
}

/// One random operation; what it gave as text. The same `random` gives the same operation on every disk.
fn operate(disk: &dyn Disk, root: &Path, random: &mut Random) -> String {
    let (dir, other_dir) = (root.join(some_dir(random)), root.join(some_dir(random)));
    let (path, other) = (some_name(random, &dir), some_name(random, &other_dir));
    let missing = root.join("missing").join("0");
    let below = path.join("0");
    let (bytes, offset) = (some_bytes(random), random.below(LEN_LIMIT));
    let open = |how| disk.open(&path, how);
    let text = match random.below(17) {
        0 | 1 => format!("{:?}", outcome(open(Open::CreateNew).map(drop))),
        2 | 3 => format!("{:?}", outcome(open(Open::Write).and_then(|file| file.write_at(&bytes, offset)))),
        4 => format!("{:?}", outcome(open(Open::Write).and_then(|file| file.set_len(offset)))),
        5 => format!("{:?}", outcome(open(Open::Read).and_then(|file| file.sync()))),
        6 => format!("{:?}", outcome(disk.rename(&path, &other))),
        7 => format!("{:?}", outcome(disk.remove(&path))),
        8 => format!("{:?}", outcome(disk.meta(&path))),
        9 => format!("{:?}", outcome(disk.list(&dir))),
        10 => format!("{:?}", outcome(disk.create_dir(&dir))),
        11 => format!("{:?}", outcome(disk.sync_dir(&dir))),
        12 => format!("{:?}", outcome(disk.lease(&path).map(|lease| lease.is_some()))),
        13 => format!("{:?}", outcome(disk.open(&missing, Open::CreateNew).map(drop))),
        14 => format!("{:?} {:?}", outcome(disk.meta(&below)), outcome(disk.rename(&path, &missing))),
        15 => format!("{:?} {:?}", outcome(disk.open(&dir, Open::Write).map(drop)), outcome(disk.remove(&dir))),
        _ => {
            let mut buf = vec![0; 700];
            let got = outcome(open(Open::Read).and_then(|file| file.read_at(&mut buf, offset)));
            format!("{got:?} {buf:?}")
        }
    };
    format!("{} {} {text}", path.strip_prefix(root).unwrap().display(), other.strip_prefix(root).unwrap().display())
}

#[cfg(target_os = "linux")]
#[test]
fn without_faults_it_behaves_as_the_real_disk() {
    for seed in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let sim = SimDisk::new(seed);
        let (mut real_random, mut sim_random) = (Random::new(seed), Random::new(seed));
        for dir in DIRS {
            OsDisk.create_dir(&folder.path().join(dir)).unwrap();
            sim.create_dir(&Path::new("/").join(dir)).unwrap();
        }
        for step in 0..200 {
            let real = operate(&OsDisk, folder.path(), &mut real_random);
            let simulated = operate(&sim, Path::new("/"), &mut sim_random);
            assert_eq!(simulated, real, "seed {seed}, step {step}");
        }
    }
}
