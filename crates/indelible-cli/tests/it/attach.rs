//! `attach`, and events that name what it kept.

use serde_json::json;

use crate::world::World;

fn event(id: &str, attachment: &serde_json::Value) -> String {
    let actor = json!({ "id": "ada", "type": "user" });
    json!({ "action": "door.open", "actor": actor, "attachments": [attachment], "id": id }).to_string()
}

#[test]
fn what_is_printed_goes_into_an_event_and_what_was_not_put_is_rejected() {
    let world = World::new();
    let (a, b) = (world.write("a.txt", "first"), world.write("b.bin", [0_u8; 70_000]));
    let put = world.run(&["attach", &a, &b]).ok().json_lines();
    assert_eq!(put.len(), 2);
    assert_eq!((&put[0]["name"], &put[0]["size"]), (&json!("a.txt"), &json!(5)));
    assert_eq!((&put[1]["name"], &put[1]["size"]), (&json!("b.bin"), &json!(70_000)));
    let strange = json!({ "digest": format!("sha256:{}", "ab".repeat(32)), "size": 1 });
    let wrong = json!({ "digest": put[0]["digest"], "size": 6 });
    let lines = [event("one", &put[0]), event("strange", &strange), event("wrong", &wrong), event("two", &put[1])];
    let done = world.feed(&["append", "--rejects", "rejects"], lines.join("\n")).code(3);
    assert_eq!(done.json_lines().len(), 2);
    assert!(
        done.err.contains("line 2: ") && done.err.contains("put it first with `indelible attach FILE`"),
        "{}",
        done.err
    );
    assert!(done.err.contains("line 3: ") && done.err.contains("has 6 bytes, the stored one has 5"), "{}", done.err);
    assert_eq!(std::fs::read_to_string(world.at("rejects")).unwrap(), format!("{}\n{}\n", lines[1], lines[2]));
    world.run(&["verify", "--strict"]).ok();
    world.run(&["attach", "nowhere"]).refused(1, &["nowhere"]);
    world.run(&["attach"]).code(2);
    world.run(&["verify", "--strict"]).ok();
}
