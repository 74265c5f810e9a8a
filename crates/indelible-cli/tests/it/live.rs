//! Beside a live writer.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use crate::world::{World, event};

/// A writer that stays open, fed line by line.
struct Writer {
    child: Child,
    stdin: Option<ChildStdin>,
    receipts: BufReader<ChildStdout>,
}

impl Writer {
    fn start(world: &World) -> Self {
        let mut child = world.command(&["append"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let receipts = BufReader::new(child.stdout.take().unwrap());
        Self { stdin: child.stdin.take(), child, receipts }
    }

    /// Sends one event and waits for its receipt: nothing waits for more input.
    fn append(&mut self, id: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{}", event(id)).unwrap();
        let mut receipt = String::new();
        self.receipts.read_line(&mut receipt).unwrap();
        assert!(receipt.contains(&format!("\"id\":\"{id}\"")), "{receipt}");
    }

    fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a34_a_second_writer_is_refused_and_readers_are_not() {
    let world = World::new();
    let mut writer = Writer::start(&world);
    writer.append("one");
    world.feed(&["append"], event("two")).refused(1, &["has a writer already"]);
    writer.append("three");
    assert_eq!(world.run(&["show", "three", "--json"]).ok().json()["index"], 2);
    assert!(world.run(&["tail", "-n", "1"]).ok().out.contains("user:ada door.open"));
    assert_eq!(world.run(&["log", "info", "--json"]).ok().json()["has_writer"], true);
    world.run(&["verify"]).ok();
    world.run(&["prove", "0", "-o", "proof"]).ok();
    world.run(&["export", "--to", "1"]).ok();
    writer.end();
    assert_eq!(world.entries(), 3);
    world.run(&["verify"]).ok();
}

#[test]
fn tail_follows_a_live_writer() {
    let world = World::new();
    let mut tail = world
        .command(&["tail", "-n", "1", "-f", "--json"])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["index"], 0);
    let mut writer = Writer::start(&world);
    for id in ["one", "two"] {
        writer.append(id);
        assert_eq!(next()["entry"]["event"]["id"], id);
    }
    writer.end();
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a34_a_writer_that_was_killed_leaves_a_log_that_goes_on() {
    let world = World::new();
    for round in 0..5 {
        let mut writer = Writer::start(&world);
        writer.append(&format!("kept-{round}"));
        writer.child.kill().unwrap();
        writer.child.wait().unwrap();
    }
    world.feed(&["append"], event("last")).ok();
    for round in 0..5 {
        world.run(&["show", &format!("kept-{round}")]).ok();
    }
    world.run(&["verify"]).ok();
}
