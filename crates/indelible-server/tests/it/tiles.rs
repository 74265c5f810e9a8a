//! The C2SP read side, followed by a client that is written here from tlog-tiles and RFC 6962 and shares nothing with the server's code.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::world::{LOG, World, event, events_of};

type Hash = [u8; 32];

fn sha256(parts: &[&[u8]]) -> Hash {
    digest(&SHA256, &parts.concat()).as_ref().try_into().unwrap()
}

/// RFC 6962 section 2.1, word for word.
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let half = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(half);
            sha256(&[&[1], &root(left), &root(right)])
        }
    }
}

/// `x001/x234/067`, and how wide the tile is where it is not full.
fn name(index: u64, width: u64) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.insert(0, format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
    format!("{}{partial}", groups.join("/"))
}

/// Size and root of a checkpoint.
fn head(note: &str) -> (u64, Hash) {
    let mut lines = note.lines();
    assert_eq!(lines.next(), Some(LOG));
    let size = lines.next().unwrap().parse().unwrap();
    (size, STANDARD.decode(lines.next().unwrap()).unwrap().try_into().unwrap())
}

/// The hashes of a level of a tree of so many leaves.
fn level(world: &World, token: &str, level: u64, size: u64) -> Vec<Hash> {
    let count = size >> (8 * level);
    let tiles = (0..count.div_ceil(256)).map(|index| {
        let path = format!("/logs/t.example%2Fa/tile/{level}/{}", name(index, (count - index * 256).min(256)));
        let tile = world.client().ask("GET", &path, Some(token), None).status(200);
        assert_eq!(tile.header("content-type"), "application/octet-stream");
        // A part of a tile is soon not asked for any more; a whole one stands for ever.
        let whole = if path.contains(".p/") { "private, max-age=3600" } else { "private, max-age=31536000, immutable" };
        assert_eq!(tile.header("cache-control"), whole, "{path}");
        tile.body
    });
    let bytes: Vec<u8> = tiles.flatten().collect();
    assert_eq!(bytes.len() as u64, count * 32);
    bytes.chunks(32).map(|hash| hash.try_into().unwrap()).collect()
}

#[test]
fn a_stranger_follows_the_log_by_its_tiles() {
    let world = World::with_log();
    let (_, follower) = world.key("writer", &[LOG]);
    let (_, reader) = world.key("reader", &[LOG]);
    let mut before: Vec<Hash> = Vec::new();
    for count in [5, 300, 700] {
        world.record(LOG, count);
        // A proof of the newest entry is made under a checkpoint that covers it.
        let size = world.ask("GET", "/v1/logs/t.example%2Fa/entries?limit=1", None).status(200).json()["size"].clone();
        let last = size.as_u64().unwrap() - 1;
        world.ask("GET", &format!("/v1/logs/t.example%2Fa/entries/{last}/proof"), None).status(200);
        let note = world.client().ask("GET", "/logs/t.example%2Fa/checkpoint", Some(&follower), None).status(200);
        assert_eq!(note.header("cache-control"), "no-cache");
        let (size, signed) = head(&note.text());
        assert!(size > last);
        let leaves = level(&world, &follower, 0, size);
        assert_eq!(root(&leaves), signed, "the leaves give the signed root");
        assert_eq!(leaves.get(..before.len()).unwrap(), before, "nothing that was there has changed");
        let upper = level(&world, &follower, 1, size);
        for (at, hash) in upper.iter().enumerate() {
            assert_eq!(*hash, root(leaves.get(at * 256..(at + 1) * 256).unwrap()), "level 1, hash {at}");
        }
        before = leaves;
    }
    let mut entries = Vec::new();
    for index in 0..(before.len() as u64).div_ceil(256) {
        let width = (before.len() as u64 - index * 256).min(256);
        let path = format!("/logs/t.example%2Fa/tile/entries/{}", name(index, width));
        world.client().ask("GET", &path, Some(&follower), None).problem(403, "forbidden");
        let bundle = world.client().ask("GET", &path, Some(&reader), None).status(200);
        // A body may be pruned, or not be this reader's any more: no copy of it stands for ever.
        assert_eq!(bundle.header("cache-control"), "private, max-age=300");
        let bundle = bundle.body;
        let mut rest = bundle.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(sha256(&[&[0], entry]));
            rest = after;
        }
    }
    assert_eq!(entries, before, "the entries are those whose hashes are in the tree");
    world.ask("GET", "/logs/t.example%2Fa/tile/0/003", None).problem(404, "not-found");
}

#[test]
fn nothing_is_shown_before_it_is_signed() {
    // A publisher that never runs by itself.
    let keeper = indelible::Keeper::manual();
    let options = indelible::Options { keeper: Some(keeper), ..indelible::Options::default() };
    let world = World::with(crate::world::config(), options);
    world.create(LOG);
    world.ask("POST", &events_of(LOG), Some(&event("x"))).status(201);
    let note = world.ask("GET", "/logs/t.example%2Fa/checkpoint", None).status(200);
    assert_eq!(head(&note.text()).0, 1);
    world.ask("GET", "/logs/t.example%2Fa/tile/0/000.p/2", None).problem(404, "not-found");
    world.ask("GET", "/logs/t.example%2Fa/tile/entries/000.p/2", None).problem(404, "not-found");
    world.ask("GET", "/logs/t.example%2Fa/tile/0/000.p/1", None).status(200);
}
