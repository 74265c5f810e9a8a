//! A second client, in Python, from the C2SP specifications alone: it follows a growing log over HTTPS, and finds what is wrong with one that lies.

use std::process::{Command, Stdio};

use indelible::LeafIndex;
use serde_json::Value;

use crate::{
    front::{Act, Front},
    world::{World, config, many, origin},
};

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/follow.py");

fn no_python() -> bool {
    let missing = Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err();
    if missing {
        println!("SKIPPED the client in Python: there is no `python3`");
    }
    missing
}

/// The exit code, and what was printed.
fn follow(world: &World, url: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let token = world.at("token");
    std::fs::write(&token, &world.admin).unwrap();
    let mut command = Command::new("python3");
    command.arg(TOOL).arg(format!("{url}/logs/t.example%2Fa")).args([
        "--json",
        "--public-key",
        &world.key().to_string(),
    ]);
    command.arg("--state").arg(world.at("state")).arg("--token-file").arg(token).args(more);
    if let Some((certificate, _)) = &world.certificate {
        command.arg("--ca").arg(certificate);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn record(world: &World, name: &str, count: usize) {
    let last = world.log().append_all(&many(name, count)).pop().unwrap().unwrap().index;
    world.log().proof(last).unwrap();
}

#[test]
fn a_growing_log_is_followed_over_https() {
    if no_python() {
        return;
    }
    let mut config = config();
    config.plain_http = false;
    let world = World::new(config);
    world.client().create_log(&origin()).unwrap();
    let url = format!("https://localhost:{}", world.address.port());
    let mut before = Value::Null;
    // Within a tile, to its very end, over it, and to a tree of three levels of partial tiles.
    for (round, count) in [4, 251, 1, 300, 700, 1].into_iter().enumerate() {
        record(&world, &round.to_string(), count);
        let (code, out, err) = follow(&world, &url, &["--entries"]);
        assert_eq!(code, Some(0), "{err}");
        let done: Value = serde_json::from_str(&out).unwrap();
        assert_eq!((&done["status"], &done["before"]), (&"verified".into(), &before), "{done}");
        assert_eq!(done["entries_read"], done["tree_size"]);
        before = done["tree_size"].clone();
    }
    assert_eq!(before, 1 + 4 + 251 + 1 + 300 + 700 + 1);
    // Without entries too, and where nothing was added.
    assert_eq!(follow(&world, &url, &[]).0, Some(0));
    let (code, _, err) = follow(&world, &format!("https://127.0.0.2:{}", world.address.port()), &[]);
    assert_eq!(code, Some(1), "{err}");
}

#[test]
fn a_log_that_lies_is_found_out() {
    if no_python() {
        return;
    }
    let mut world = World::with_log();
    record(&world, "a", 5);
    world.stop();
    world.keep("then");
    world.start();
    record(&world, "b", 5);
    let url = format!("http://{}", world.address);
    assert_eq!(follow(&world, &url, &["--entries"]).0, Some(0));
    record(&world, "more", 3);
    type Lie = fn(&mut Vec<u8>);
    let rows: [(&'static str, Lie, i32, &str); 3] = [
        ("/tile/0/", |answer| *answer.last_mut().unwrap() ^= 1, 13, "tiles"),
        ("/tile/entries/", |answer| *answer.last_mut().unwrap() ^= 1, 13, "entry"),
        (
            "/checkpoint",
            |answer| {
                let at = answer.windows(4).rposition(|window| window == b"\n14\n").unwrap();
                answer[at + 2] = b'5';
            },
            10,
            "signature",
        ),
    ];
    for (path, change, code, word) in rows {
        let front = Front::new(world.address, &[], Act::Change(path, change));
        let (found, _, err) = follow(&world, &format!("http://{}", front.address), &["--entries"]);
        assert!(found == Some(code) && err.contains(word), "{path}: {found:?} {err}");
    }
    world.stop();
    world.set_back("then");
    world.start();
    let (code, _, err) = follow(&world, &url, &[]);
    assert!(code == Some(10) && err.contains("rolled back"), "{err}");
    record(&world, "c", 9);
    let (code, _, err) = follow(&world, &url, &[]);
    assert!(code == Some(12) && err.contains("forked"), "{err}");
    world.log().entry(LeafIndex(1)).unwrap();
}
