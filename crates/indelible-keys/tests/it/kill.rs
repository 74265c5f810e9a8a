//! A process that is killed while it changes a ring, hundreds of times: the ring is always whole, and what was said to be done is there.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use indelible_keys::{KeyRing, MasterSource, Purpose, State};

use crate::world::{World, day};

/// Set in the child: the directory of the ring.
const RING: &str = "INDELIBLE_TEST_KILL_RING";
/// Set in the child where the ring is wrapped: the file with its master key.
const MASTER: &str = "INDELIBLE_TEST_KILL_MASTER";

fn rounds() -> u32 {
    if env::var_os("INDELIBLE_SOAK").is_some() { 5000 } else { 300 }
}

/// The child: rotates, destroys what is old, and says after each change which version it has come to. It ends when it is killed.
#[test]
fn child() {
    let Some(dir) = env::var_os(RING) else { return };
    let source = env::var_os(MASTER).map_or(MasterSource::Environment, |path| MasterSource::File(path.into()));
    let mut ring = KeyRing::load_with(Path::new(&dir), &source).unwrap();
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        ring = ring.rotate(Purpose::EntrySigning, day(1)).unwrap().ring;
        println!("now {}", ring.entry_key_version());
        let old = ring.keys().find(|key| key.state == State::VerifyOnly).map(|key| key.id.clone());
        ring = ring.destroy(&old.unwrap(), day(1)).unwrap().ring;
        println!("gone {}", ring.keys().filter(|key| key.state == State::Destroyed).count());
    }
}

fn spawn(dir: &Path, master: Option<&Path>) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["kill::child", "--exact", "--nocapture"]).env(RING, dir);
    if let Some(master) = master {
        command.env(MASTER, master);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

fn killed_in_mid_rotation(master: Option<&Path>, world: &World) {
    let source = master.map_or(MasterSource::Environment, |path| MasterSource::File(path.to_owned()));
    let (mut version, mut destroyed, mut leavings) = (1, 0, 0);
    let mut delays = 0x9E37_79B9_u32;
    for round in 0..rounds() {
        let mut child = spawn(&world.keys(), master);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It is at work once it has said something; from then on a rotation takes a millisecond or two.
        let mut said: Vec<String> = Vec::new();
        while !said.last().is_some_and(|line| line.starts_with("now ")) {
            said.push(lines.next().unwrap().unwrap());
        }
        delays = delays.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wait = Duration::from_micros(u64::from(delays >> 20));
        let since = Instant::now();
        while since.elapsed() < wait {
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines.map_while(Result::ok));
        leavings += u32::from(world.keys().join("ring.json.tmp").exists());

        let ring = KeyRing::load_with(&world.keys(), &source).unwrap_or_else(|error| panic!("round {round}: {error}"));
        // The last line may be cut.
        let newest = |word: &str| {
            let numbers = said.iter().filter_map(|line| line.strip_prefix(word)?.parse::<u32>().ok());
            numbers.max().unwrap_or(0)
        };
        version = version.max(newest("now "));
        destroyed = destroyed.max(newest("gone "));
        let gone = u32::try_from(ring.keys().filter(|key| key.state == State::Destroyed).count()).unwrap();
        assert!(ring.entry_key_version() >= version, "round {round}: a rotation that was acknowledged is lost");
        assert!(gone >= destroyed, "round {round}: a secret came back");
        assert!(ring.entry_key_version() <= version + 1, "round {round}");
        let versions: Vec<_> =
            ring.keys().filter(|key| key.purpose == Purpose::EntrySigning).map(|key| key.version).collect();
        assert_eq!(versions, (1..=ring.entry_key_version()).collect::<Vec<_>>(), "round {round}");
        (version, destroyed) = (ring.entry_key_version(), gone);
        // The file would grow without end, and the time that a change takes with it.
        if versions.len() > 60 {
            fs::remove_file(world.ring_file()).unwrap();
            make(world, master);
            (version, destroyed) = (1, 0);
        }
    }
    println!("{leavings} of {} kills left a temporary file behind", rounds());
    // Whoever comes next is held up by nothing.
    KeyRing::load_with(&world.keys(), &source).unwrap().rotate(Purpose::EntrySigning, day(1)).unwrap();
    assert!(!world.keys().join("ring.json.tmp").exists());
}

fn make(world: &World, master: Option<&Path>) {
    let ring = world.ring();
    if let Some(master) = master {
        ring.wrap(&MasterSource::File(master.to_owned())).unwrap();
    }
}

#[test]
fn a_ring_survives_kills_in_mid_rotation() {
    let world = World::new();
    make(&world, None);
    killed_in_mid_rotation(None, &world);
}

#[test]
fn a_wrapped_ring_survives_kills_in_mid_rotation() {
    let world = World::new();
    let MasterSource::File(path) = world.master("master", 3) else { panic!("a file") };
    make(&world, Some(&path));
    killed_in_mid_rotation(Some(&path), &world);
}
