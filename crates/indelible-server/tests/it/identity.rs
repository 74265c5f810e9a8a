//! API keys: made, handed on, rotated, revoked, and on record.

use serde_json::{Value, json};

use crate::world::{LOG, World, event, events_of, segment};

fn own_entries(world: &World) -> Vec<Value> {
    let path = format!("/v1/logs/{}/entries?limit=1000", segment("t.example/_server"));
    let page = world.ask("GET", &path, None).status(200).json();
    page["entries"].as_array().unwrap().iter().map(|entry| entry["entry"].clone()).collect()
}

#[test]
fn a_key_lives_and_ends_and_the_log_says_so() {
    let mut world = World::with_log();
    let (id, token) = world.key("writer", &[LOG]);
    let append = |world: &World, token: &str, at: &str| {
        world.client().ask("POST", &events_of(LOG), Some(token), Some(&event(at)))
    };
    append(&world, &token, "1").status(201);
    // What is known of keys is what the log says, so it outlives the server.
    world.stop();
    world.start();
    append(&world, &token, "2").status(201);
    let rotated = world.ask("POST", &format!("/v1/api-keys/{id}/rotate"), Some(&json!({ "overlap_seconds": 3600 })));
    let rotated = rotated.status(201).json();
    append(&world, &token, "3").status(201);
    append(&world, rotated["token"].as_str().unwrap(), "4").status(201);
    let revoked = world.ask("DELETE", &format!("/v1/api-keys/{id}"), None).status(200).json();
    assert_eq!(revoked["state"], "revoked");
    append(&world, &token, "5").problem(401, "unauthorised");
    append(&world, rotated["token"].as_str().unwrap(), "6").status(201);
    world.stop();
    world.start();
    append(&world, &token, "7").problem(401, "unauthorised");

    let entries = own_entries(&world);
    let said: Vec<_> = entries.iter().filter_map(|entry| entry["event"]["action"].as_str()).collect();
    let start_stop = ["server.stop", "server.start"];
    let keys: Vec<_> = said.iter().filter(|action| action.starts_with("api_key.")).copied().collect();
    assert_eq!(keys, ["api_key.create", "api_key.create", "api_key.rotate", "api_key.revoke"]);
    assert_eq!(said.iter().filter(|action| start_stop.contains(action)).count(), 5);
    let all = json!(entries).to_string();
    let secret = |token: &str| token.splitn(3, '_').last().unwrap().to_owned();
    for token in [&token, &world.admin, rotated["token"].as_str().unwrap()] {
        assert!(!all.contains(&secret(token)), "no token is in the log");
    }
    assert!(all.contains(&id));
}

#[test]
fn an_admin_of_some_logs_stays_among_them() {
    let world = World::new();
    let (wide, _) = world.key("writer", &["*"]);
    let (inside, _) = world.key("writer", &["t.example/x"]);
    let (_, tenant) = world.key("admin", &["t.example/*"]);
    let ask =
        |method: &str, path: &str, body: Option<Value>| world.client().ask(method, path, Some(&tenant), body.as_ref());
    let new = |logs: Value, role: &str| Some(json!({ "logs": logs, "name": "n", "role": role }));
    ask("POST", "/v1/api-keys", new(json!(["t.example/a"]), "admin")).status(201);
    ask("POST", "/v1/api-keys", new(json!(["*"]), "writer")).problem(403, "forbidden");
    ask("POST", "/v1/api-keys", new(json!(["t.example/a", "u.example/*"]), "writer")).problem(403, "forbidden");
    let listed = ask("GET", "/v1/api-keys", None).status(200).text();
    assert!(listed.contains(&inside) && !listed.contains(&wide));
    ask("DELETE", &format!("/v1/api-keys/{wide}"), None).problem(404, "not-found");
    ask("POST", &format!("/v1/api-keys/{wide}/rotate"), Some(json!({ "overlap_seconds": 0 })))
        .problem(404, "not-found");
    ask("DELETE", &format!("/v1/api-keys/{inside}"), None).status(200);
    ask("POST", "/v1/logs", Some(json!({ "origin": "t.example/a" }))).status(201);
    ask("POST", "/v1/logs", Some(json!({ "origin": "u.example/a" }))).problem(403, "forbidden");
    world.create("u.example/b");
    let listed = ask("GET", "/v1/logs", None).status(200).text();
    assert!(listed.contains("t.example/a") && !listed.contains("u.example/b"));
}

#[test]
fn a_key_that_is_not_in_order_is_not_made() {
    let world = World::new();
    let good = json!({ "logs": ["*"], "name": "n", "role": "writer" });
    let with = |name: &str, value: Value| {
        let mut new = good.clone();
        new[name] = value;
        world.ask("POST", "/v1/api-keys", Some(&new))
    };
    for (name, value) in [
        ("logs", json!([])),
        ("logs", json!(["a b"])),
        ("name", json!("")),
        ("name", json!("n".repeat(129))),
        ("name", json!("a\u{1b}[31mb")),
        ("role", json!("owner")),
        ("expires_at", json!("2001-01-01T00:00:00Z")),
        ("expires_at", json!("tomorrow")),
        ("rate_per_minute", json!(-1)),
        ("digest", json!("00")),
    ] {
        with(name, value.clone()).problem(400, "bad-request");
    }
    let key = with("expires_at", json!("2999-01-01T00:00:00Z")).status(201).json();
    assert_eq!(key["expires_at"], "2999-01-01T00:00:00.000000Z");
    world.ask("POST", "/v1/api-keys", Some(&json!([]))).problem(400, "bad-request");
    world.client().post_lines("/v1/api-keys", &world.admin, "{}", &[]).problem(415, "media-type");
}

#[test]
fn a_key_has_a_rate_and_hears_of_it() {
    let world = World::with_log();
    let new = json!({ "logs": ["*"], "name": "n", "rate_per_minute": 1, "role": "reader" });
    let key = world.ask("POST", "/v1/api-keys", Some(&new)).status(201).json();
    let token = key["token"].as_str().unwrap();
    let mut client = world.client();
    let mut limited = None;
    // The bucket holds ten, and one more each minute.
    for _ in 0..60 {
        let reply = client.ask("GET", "/v1/logs", Some(token), None);
        assert_eq!(reply.header("ratelimit-limit"), "1");
        if reply.status == 429 {
            limited = Some(reply);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
    limited.problem(429, "too-many-requests");
    world.ask("GET", "/v1/logs", None).status(200);
    assert!(world.ask("GET", "/metrics", None).text().contains("indelible_rate_limited_total 1"));
}

#[test]
fn failures_are_delayed_and_on_record_and_others_are_served() {
    let mut config = crate::world::config();
    config.limits.failures = 3;
    let world = World::with(config, indelible::Options::default());
    let wrong = |at: usize| world.client().ask("GET", "/v1/logs", Some(&format!("idl_0000000000000000_{at}")), None);
    wrong(1).problem(401, "unauthorised");
    wrong(2).problem(401, "unauthorised");
    let locked = wrong(3);
    assert!(locked.header("retry-after").parse::<u64>().unwrap() > 0);
    locked.problem(429, "too-many-requests");
    world.ask("GET", "/v1/logs", None).status(200);
    // It is recorded beside the answer.
    let found = (0..10_000)
        .find_map(|_| own_entries(&world).into_iter().find(|entry| entry["event"]["action"] == "auth.lockout"));
    let event = &found.expect("an event")["event"];
    assert_eq!((&event["actor"]["id"], &event["outcome"]), (&json!("127.0.0.1"), &json!("denied")));
}

#[test]
fn a_key_that_ends_while_its_request_comes_in_does_nothing_any_more() {
    let world = World::with_log();
    for (role, path, body) in [
        ("writer", events_of(LOG), event("late").to_string()),
        ("admin", "/v1/api-keys".to_owned(), json!({ "logs": ["*"], "name": "heir", "role": "admin" }).to_string()),
    ] {
        let (id, token) = world.key(role, &["*"]);
        let mut client = world.client();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        // The key is looked at when the head is there, and its body holds up the rest.
        let (first, rest) = body.split_at(1);
        client.write(format!("{head}{first}").as_bytes());
        world.ask("DELETE", &format!("/v1/api-keys/{id}"), None).status(200);
        client.write(rest.as_bytes());
        client.reply().unwrap().problem(401, "unauthorised");
    }
    world.ask("GET", &format!("{}/late", events_of(LOG)), None).status(404);
    let keys = world.ask("GET", "/v1/api-keys", None).status(200).text();
    assert!(!keys.contains("heir"), "{keys}");
}

#[test]
fn a_stolen_key_ends_with_all_that_came_of_it() {
    let mut world = World::with_log();
    let (id, stolen) = world.key("admin", &["*"]);
    let ask = |world: &World, token: &str, method: &str, path: &str, body: Option<&Value>| {
        world.client().ask(method, path, Some(token), body)
    };
    let new = json!({ "logs": ["*"], "name": "door", "role": "admin" });
    let door = ask(&world, &stolen, "POST", "/v1/api-keys", Some(&new)).status(201).json();
    assert_eq!((&door["made_by"], &door["first"]), (&json!(id), &door["id"]));
    let rotation = Some(json!({ "overlap_seconds": 3600 }));
    let path = format!("/v1/api-keys/{id}/rotate");
    let next = ask(&world, &stolen, "POST", &path, rotation.as_ref()).status(201).json();
    assert_eq!((&next["made_by"], &next["first"]), (&json!(id), &json!(id)));
    // With none of them it gets hold of a key that is not its own.
    let (other, _) = world.key("writer", &[LOG]);
    let path = format!("/v1/api-keys/{other}/rotate");
    ask(&world, &stolen, "POST", &path, rotation.as_ref()).problem(403, "forbidden");
    let admin = world.ask("GET", "/v1/api-keys", None).json();
    let admin = admin["api_keys"].as_array().unwrap().iter().find(|key| key["made_by"].is_null()).unwrap();
    let path = format!("/v1/api-keys/{}", admin["id"].as_str().unwrap());
    ask(&world, &stolen, "DELETE", &path, None).problem(403, "forbidden");

    let ended = world.ask("DELETE", &format!("/v1/api-keys/{id}"), None).status(200).json();
    assert_eq!((&ended["also_revoked"], &ended["successors"]), (&json!([next["id"]]), &json!([])));
    assert_eq!((&ended["made_by_it"], &ended["made_by_it_count"]), (&json!([]), &json!(0)), "all of that has ended");
    for _ in 0..2 {
        for token in [&json!(stolen), &door["token"], &next["token"]] {
            let token = token.as_str().unwrap();
            ask(&world, token, "GET", "/v1/logs", None).problem(401, "unauthorised");
            ask(&world, token, "POST", &events_of(LOG), Some(&event("x"))).problem(401, "unauthorised");
        }
        world.stop();
        world.start();
    }
    let keys = world.ask("GET", "/v1/api-keys", None).json();
    let state = |id: &Value| {
        let key = keys["api_keys"].as_array().unwrap().iter().find(|key| key["id"] == *id).unwrap();
        key["state"].as_str().unwrap().to_owned()
    };
    let states = [&json!(id), &door["id"], &next["id"]].map(state);
    assert_eq!(states, ["revoked", "maker_ended", "revoked"]);
}

#[test]
fn who_made_a_log_is_on_record_also_where_nothing_came_of_it() {
    let world = World::with_log();
    let (id, token) = world.key("admin", &["*"]);
    let make = |origin: &str| world.client().ask("POST", "/v1/logs", Some(&token), Some(&json!({ "origin": origin })));
    make("t.example/new").status(201);
    make("t.example/new").problem(409, "conflict");
    make("t.example/_server").problem(403, "forbidden");
    let entries = own_entries(&world);
    let made = entries.iter().map(|entry| &entry["event"]).filter(|event| event["action"] == "log.create");
    let by: Vec<_> = made.filter(|event| event["actor"]["id"] == id).collect();
    let said: Vec<_> = by.iter().map(|event| (&event["targets"][0]["id"], &event["outcome"])).collect();
    let name = json!("t.example/new");
    assert_eq!(said, [(&name, &json!("unknown")), (&name, &json!("success"))]);
}

#[test]
fn names_of_a_key_are_bounded_and_pages_of_keys_as_well() {
    let world = World::new();
    let names =
        |bytes: usize| -> Vec<String> { (0..32).map(|at| format!("{at:02}{}", "n".repeat(bytes - 2))).collect() };
    let make = |names: Vec<String>| {
        world.ask("POST", "/v1/api-keys", Some(&json!({ "logs": names, "name": "n", "role": "reader" })))
    };
    let mut over = names(128);
    over.push("x".to_owned());
    make(over).problem(400, "bad-request");
    for _ in 0..70 {
        make(names(128)).status(201);
    }
    let (mut after, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let reply = world.ask("GET", &format!("/v1/api-keys?limit=1000&after={after}"), None).status(200);
        assert!(reply.body.len() < 300 << 10, "{}", reply.body.len());
        let page = reply.json();
        seen.extend(page["api_keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert!(seen.is_sorted() && pages > 1, "{pages} pages");
    assert_eq!(seen.len(), 71, "the administrator's as well");
}
