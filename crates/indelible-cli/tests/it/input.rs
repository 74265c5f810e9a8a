//! What bad input gets: a message with line, pointer and remedy, exit code 3, and nothing lost.

use crate::world::{World, event};

/// Bad lines and what their message has to say.
fn bad_lines() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let of = |body: &str| format!(r#"{{"action":"a.b","actor":{{"type":"user","id":"x"}},{body}}}"#).into_bytes();
    let invalid = [&of(r#""reason":"?"#)[..], b"\xff", b"\"}"].concat();
    vec![
        ("invalid UTF-8", invalid, vec!["/reason", "not UTF-8", "base64"]),
        ("duplicate key", of(r#""details":{"k":1,"k":2}"#), vec!["`k`", "/details", "twice", "once"]),
        ("the same name, escaped", of(r#""details":{"k":1,"\u006b":2}"#), vec!["/details", "twice"]),
        ("NaN", of(r#""details":{"n":NaN}"#), vec!["/details/n", "NaN", "null or a string"]),
        ("Infinity", of(r#""details":{"n":-Infinity}"#), vec!["/details/n", "null or a string"]),
        ("2^53 + 1", of(r#""details":{"n":9007199254740993}"#), vec!["9007199254740993", "/details/n", "as a string"]),
        ("lone surrogate", of(r#""reason":"\ud800""#), vec!["/reason", "surrogate"]),
        ("control character", of("\"reason\":\"\u{1}\""), vec!["/reason", "\\u00XX"]),
        ("too deep", of(&format!(r#""details":{}{}"#, "[".repeat(100), "]".repeat(100))), vec!["too deep", "flatter"]),
        ("too large", of(&format!(r#""reason":"{}""#, "x".repeat(66_000))), vec!["64000", "attachment"]),
        ("no action", br#"{"actor":{"type":"user","id":"x"}}"#.to_vec(), vec!["/action", "missing"]),
        ("no actor", br#"{"action":"a.b"}"#.to_vec(), vec!["/actor", "missing"]),
        ("no time", of(r#""occurred_at":"yesterday""#), vec!["/occurred_at", "yesterday"]),
        ("no such day", of(r#""occurred_at":"2026-02-30T00:00:00Z""#), vec!["/occurred_at"]),
        ("unknown member", of(r#""outcom":"success""#), vec!["/outcom", "did you mean `outcome`?"]),
        ("no object", b"[1]".to_vec(), vec!["object"]),
        ("cut off", br#"{"action":"a.b","actor":"#.to_vec(), vec!["ends", "whole value"]),
        ("two values", of(r#""reason":"x"} {"a":1"#), vec!["one JSON value"]),
    ]
}

#[test]
fn a20_hostile_lines_are_refused_with_pointer_and_remedy_and_nothing_else_is_lost() {
    let world = World::new();
    let (mut input, mut rejects) = (Vec::new(), Vec::new());
    let rows = bad_lines();
    for (n, (_, line, _)) in rows.iter().enumerate() {
        input.extend_from_slice(format!("{}\n", event(&format!("good-{n}"))).as_bytes());
        input.extend_from_slice(line);
        input.push(b'\n');
        rejects.extend_from_slice(line);
        rejects.push(b'\n');
    }
    let done = world.feed(&["append", "--rejects", "rejects"], &input).code(3);
    let messages: Vec<&str> = done.err.lines().collect();
    assert_eq!(messages.len(), rows.len() + 1, "{}", done.err);
    for (n, ((name, _, words), message)) in rows.iter().zip(&messages).enumerate() {
        assert!(message.starts_with(&format!("line {}: ", 2 * n + 2)), "{name}: {message}");
        for word in words {
            assert!(message.contains(word), "{name}: `{word}` is not in: {message}");
        }
    }
    let ids: Vec<String> = done.json_lines().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, (0..rows.len()).map(|n| format!("good-{n}")).collect::<Vec<_>>());
    assert_eq!(std::fs::read(world.at("rejects")).unwrap(), rejects);
    assert_eq!(world.entries(), rows.len() as u64 + 1);
    world.run(&["verify", "--strict"]).ok();
}

#[test]
fn an_event_over_several_lines_is_refused_with_what_to_do() {
    let world = World::new();
    let done =
        world.feed(&["append"], "{\n \"action\": \"a.b\",\n \"actor\": {\"type\": \"user\", \"id\": \"x\"}\n}\n");
    let told = done.code(3).err;
    assert!(told.contains("4 of 4 lines rejected") && told.contains("jq -c"), "{told}");
    let told = world.feed(&["append"], "{\"a\":\n").code(3).err;
    assert!(!told.contains("jq"), "{told}");
}

#[test]
fn receipts_behind_a_line_that_failed_are_not_denied() {
    let world = World::new();
    world.feed(&["append"], event("first")).ok();
    world.tamper(|lines| {
        let line = lines.iter_mut().find(|line| line.contains("first")).unwrap();
        let at = line.rfind("\"}").unwrap() - 1;
        let digit = if line.as_bytes()[at] == b'0' { "1" } else { "0" };
        line.replace_range(at..=at, digit);
    });
    let input = ["first", "second", "third"].map(|id| format!("{}\n", event(id))).concat();
    let done = world.feed(&["append"], input).code(1);
    assert_eq!(done.json_lines().len(), 2, "{}", done.out);
    for words in ["line 1 has no receipt", "none behind line 3", "`first`", "nothing was recorded"] {
        assert!(done.err.contains(words), "`{words}` is not in: {}", done.err);
    }
    assert!(!done.err.contains("nor has any line behind it"), "{}", done.err);
    // Nothing behind it in the same group: then that is said.
    let done = world.feed(&["append"], event("first")).code(1);
    assert!(done.err.contains("nor has any line behind it"), "{}", done.err);
}

#[test]
fn a20_each_bad_line_alone_records_nothing() {
    let world = World::new();
    for (name, line, words) in bad_lines() {
        let done = world.feed(&["append", "--json"], &line).code(3);
        assert_eq!(done.out, "", "{name}");
        let told: serde_json::Value = serde_json::from_str(done.err.lines().next().unwrap()).unwrap();
        assert_eq!(told["line"], 1, "{name}");
        assert!(words.iter().all(|word| told["error"].as_str().unwrap().contains(word)), "{name}: {told}");
    }
    assert_eq!(world.entries(), 1);
}

#[test]
fn a38_a_caller_cannot_write_the_logs_own_records() {
    let world = World::with_samples(3);
    let forged = [
        r#"{"control":{"type":"pruned","first":1,"last":2,"leaf_root":"00","reason":"x"}}"#.to_owned(),
        r#"{"action":"a.b","actor":{"type":"user","id":"x"},"control":{"type":"explained"}}"#.to_owned(),
        r#"{"action":"a.b","actor":{"type":"user","id":"x"},"c\u006fntrol":{}}"#.to_owned(),
    ];
    for line in &forged {
        let done = world.feed(&["append"], line).code(3);
        assert!(done.err.contains("control") && done.err.contains("only the log itself"), "{}", done.err);
    }
    for member in ["index", "prev", "mac", "head", "salt"] {
        let line = format!(r#"{{"action":"a.b","actor":{{"type":"user","id":"x"}},"{member}":"1"}}"#);
        let done = world.feed(&["append"], line).code(3);
        assert!(done.err.contains(&format!("/{member}")), "{}", done.err);
    }
    assert_eq!(world.entries(), 4);
    world.run(&["verify"]).ok();
}

#[test]
fn receipts_come_in_the_order_of_the_lines_and_are_those_of_the_log() {
    let world = World::new();
    let input: String = (0..3000).map(|n| event(&format!("e{n}")) + "\n").collect();
    let file = world.write("events.jsonl", &input);
    let receipts = world.run(&["append", &file]).ok();
    for (n, receipt) in receipts.json_lines().iter().enumerate() {
        assert_eq!(receipt["id"], format!("e{n}"));
        assert_eq!(receipt["index"], n as u64 + 1);
        assert_eq!(receipt["duplicate"], false);
    }
    let kept = world.write("receipts", &receipts.out);
    world.run(&["verify", "--receipts", &kept]).ok();
    let again = world.run(&["append", &file]).ok();
    assert!(again.json_lines().iter().all(|receipt| receipt["duplicate"] == true));
    assert_eq!(world.entries(), 3001);
}

#[test]
fn an_id_with_other_content_is_refused_and_names_the_first() {
    let world = World::new();
    let other = event("one").replace("ada", "eve");
    let done = world.feed(&["append"], format!("{}\n{other}\n{}\n", event("one"), event("two"))).code(3);
    assert_eq!(done.json_lines().len(), 2);
    assert!(done.err.starts_with("line 2: id `one` was recorded before, as entry 1"), "{}", done.err);
}

#[test]
fn a33_an_endless_line_is_refused_whole_and_the_next_one_recorded() {
    let world = World::new();
    let long = "x".repeat(8 << 20);
    let input = format!("{}\n{long}\n\r\n\n{}", event("before"), event("after"));
    let done = world.feed(&["append", "--rejects", "rejects"], &input).code(3);
    assert!(done.err.contains(&format!("line 2: the line has {} bytes", long.len())), "{}", done.err);
    assert_eq!(done.json_lines().len(), 2);
    assert_eq!(std::fs::read_to_string(world.at("rejects")).unwrap(), long + "\n");
}

#[test]
fn rejects_are_added_to_and_never_the_input() {
    let world = World::new();
    let rejects = world.write("rejects", "kept\n");
    world.feed(&["append", "--rejects", &rejects], "{\n").code(3);
    assert_eq!(std::fs::read_to_string(&rejects).unwrap(), "kept\n{\n");
    world.run(&["append", &rejects, "--rejects", "./rejects"]).refused(2, &["input file"]);
}

#[test]
fn messages_cannot_drive_the_terminal() {
    let world = World::new();
    let done = world
        .feed(&["append"], "{\"action\":\"a.b\",\"actor\":{\"type\":\"user\",\"id\":\"x\"},\"\u{9b}31m\u{202e}\":1}")
        .code(3);
    assert!(!done.err.chars().any(|c| c.is_control() && c != '\n') && !done.err.contains('\u{202e}'), "{}", done.err);
}
