//! Who may do what: every route, every role, inside and outside of the logs that a key is for.

use std::collections::BTreeMap;

use indelible_server::{
    access::Role,
    routes::{Method, Needs, ROUTES, Route},
};
use serde_json::{Value, json};

use crate::world::{LOG, Reply, World, segment};

/// A log that no scoped key of these tests is for.
const OTHER: &str = "u.example/a";

/// Who may use each route: `-` everybody, else `W`riter, `R`eader, `A`uditor, ad`M`in. Written by hand, apart from the roles' verbs: a new route without a row fails
/// the test.
const EXPECTED: &[(&str, &str)] = &[
    ("alive", "-"),
    ("ready", "-"),
    ("metrics", "AM"),
    ("openapi", "-"),
    ("browse", "-"),
    ("browseScript", "-"),
    ("browseStyle", "-"),
    ("problem", "-"),
    ("listLogs", "RAM"),
    ("createLog", "M"),
    ("append", "WM"),
    ("recordAuth", "WM"),
    ("recordDataAccess", "WM"),
    ("recordDataChange", "WM"),
    ("recordAdmin", "WM"),
    ("recordApi", "WM"),
    ("recordDecision", "WM"),
    ("recordAgentStep", "WM"),
    ("findEvent", "RAM"),
    ("listEntries", "RAM"),
    ("getEntry", "RAM"),
    ("prove", "RAM"),
    ("tail", "RAM"),
    ("export", "RAM"),
    ("getCheckpoint", "WRAM"),
    ("getPublicKeys", "WRAM"),
    ("verifyLog", "AM"),
    ("getVerification", "AM"),
    ("getHealth", "WRAM"),
    ("lockLog", "M"),
    ("unlockLog", "M"),
    ("listApiKeys", "M"),
    ("createApiKey", "M"),
    ("rotateApiKey", "M"),
    ("revokeApiKey", "M"),
    ("tileCheckpoint", "WRAM"),
    ("entryBundle", "RAM"),
    ("tile", "WRAM"),
];

fn expected(route: &Route) -> &'static str {
    let row = EXPECTED.iter().find(|(id, _)| *id == route.id);
    row.unwrap_or_else(|| panic!("`{}` has no row: say who may use it", route.id)).1
}

fn letter(role: Role) -> char {
    match role {
        Role::Writer => 'W',
        Role::Reader => 'R',
        Role::Auditor => 'A',
        Role::Admin => 'M',
    }
}

/// A request to the route that would go well, or is refused for what it carries only after it was let in.
fn ask(world: &World, route: &Route, log: &str, token: Option<&str>) -> Reply {
    let rest = if route.id == "entryBundle" { "000.p/1" } else { "0/000.p/1" };
    let path = route.path.replace("{log}", &segment(log)).replace("{index}", "0").replace("{rest*}", rest);
    let path = path.replace("{event}", "e0").replace("{id}", "nobody").replace("{name}", "absent");
    let body: Option<Value> = match route.method {
        Method::Post => Some(json!({ "action": "a", "actor": { "id": "x", "type": "user" } })),
        _ => None,
    };
    world.request_json(route.method.as_str(), &path, token, body.as_ref())
}

/// One that speaks HTTP/1.1, and one that speaks HTTP/2.
fn both_versions() -> [World; 2] {
    let second = World::second();
    second.create(LOG);
    [World::with_log(), second]
}

/// Let in: whatever else was said, it was not that the caller may not.
fn is_in(reply: &Reply) -> bool {
    ![401, 403, 429].contains(&reply.status)
}

#[test]
fn every_route_has_its_row_and_every_row_a_route() {
    let rows: BTreeMap<_, _> = EXPECTED.iter().copied().collect();
    assert_eq!(rows.len(), EXPECTED.len());
    for route in ROUTES {
        expected(route);
    }
    assert_eq!(rows.len(), ROUTES.len(), "a row without a route");
}

#[test]
fn each_role_may_what_its_row_says_and_only_for_its_logs() {
    for world in both_versions() {
        each_role_may_what_its_row_says(&world);
    }
}

fn each_role_may_what_its_row_says(world: &World) {
    world.create(OTHER);
    world.record(LOG, 1);
    world.record(OTHER, 1);
    world.ask("GET", &format!("/v1/logs/{}/entries/1/proof", segment(LOG)), None).status(200);
    world.ask("GET", &format!("/v1/logs/{}/entries/1/proof", segment(OTHER)), None).status(200);
    for role in Role::ALL {
        let (_, wide) = world.key(role.as_str(), &["*"]);
        let (_, narrow) = world.key(role.as_str(), &["t.example/*"]);
        for route in ROUTES {
            let row = expected(route);
            let may = row == "-" || row.contains(letter(role));
            let on_log = matches!(route.needs, Needs::OnLog(_) | Needs::OnLogUnlessOpen(_));
            let told = |token: &str, log: &str| format!("{} as {}, {token}, {log}", route.id, role.as_str());
            assert_eq!(is_in(&ask(world, route, LOG, Some(&wide))), may, "{}", told("wide", LOG));
            assert_eq!(is_in(&ask(world, route, LOG, Some(&narrow))), may, "{}", told("narrow", LOG));
            let other = ask(world, route, OTHER, Some(&narrow));
            assert_eq!(is_in(&other), may && !on_log, "{}", told("narrow", OTHER));
            // Whether a log exists is not said to whom it is not for.
            let nowhere = ask(world, route, "u.example/none", Some(&narrow));
            assert_eq!(nowhere.status == 403, other.status == 403, "{}", told("narrow", "none"));
        }
    }
}

#[test]
fn without_a_key_only_what_is_for_everybody() {
    for (world, route) in both_versions().iter().flat_map(|world| ROUTES.iter().map(move |route| (world, route))) {
        let public = expected(route) == "-";
        for token in [None, Some("idl_0000000000000000_x"), Some("")] {
            let reply = ask(world, route, LOG, token);
            assert_eq!(is_in(&reply), public, "{} {token:?}", route.id);
            if !public && reply.status == 401 {
                assert_eq!(reply.header("www-authenticate"), "Bearer");
            }
        }
    }
}

#[test]
fn verbs_narrow_a_role() {
    let world = World::with_log();
    let new = |verbs: Value| json!({ "logs": ["*"], "name": "n", "role": "auditor", "verbs": verbs });
    let key = world.ask("POST", "/v1/api-keys", Some(&new(json!(["head", "metrics"])))).status(201).json();
    let token = key["token"].as_str().unwrap();
    for route in ROUTES {
        let may =
            ["getCheckpoint", "getHealth", "getPublicKeys", "tileCheckpoint", "tile", "metrics"].contains(&route.id);
        let may = may || expected(route) == "-";
        assert_eq!(is_in(&ask(&world, route, LOG, Some(token))), may, "{}", route.id);
    }
    world.ask("POST", "/v1/api-keys", Some(&new(json!(["append"])))).problem(400, "bad-request");
}

#[test]
fn the_servers_own_log_is_for_auditors_and_written_by_nobody() {
    let world = World::new();
    let own = "t.example/_server";
    for role in Role::ALL {
        let (_, token) = world.key(role.as_str(), &["*"]);
        let may = matches!(role, Role::Auditor | Role::Admin);
        let path = format!("/v1/logs/{}/entries", segment(own));
        let reply = world.client().ask("GET", &path, Some(&token), None);
        assert_eq!(reply.status, if may { 200 } else { 403 }, "{}", role.as_str());
        let event = json!({ "action": "api_key.create", "actor": { "id": "x", "type": "user" } });
        let path = format!("/v1/logs/{}/events", segment(own));
        world.client().ask("POST", &path, Some(&token), Some(&event)).problem(403, "forbidden");
        let listed = world.client().ask("GET", "/v1/logs", Some(&token), None);
        assert_eq!(listed.text().contains(own), may, "{}", role.as_str());
    }
    world.ask("POST", "/v1/logs", Some(&json!({ "origin": own }))).problem(403, "forbidden");
}

#[test]
fn an_open_log_shows_what_is_signed_and_no_entry() {
    let mut config = crate::world::config();
    config.open = vec!["t.example/*".to_owned().try_into().unwrap()];
    let world = World::with(config, indelible::Options::default());
    world.create(LOG);
    world.create(OTHER);
    for route in ROUTES.iter().filter(|route| route.path.contains("{log}")) {
        let open = matches!(route.needs, Needs::OnLogUnlessOpen(_));
        let reply = ask(&world, route, LOG, None);
        assert_eq!(is_in(&reply), open, "{}", route.id);
        assert!(!is_in(&ask(&world, route, OTHER, None)), "{}", route.id);
        assert!(!is_in(&ask(&world, route, "t.example/_server", None)), "{}", route.id);
    }
    let tile = world.client().ask("GET", "/logs/t.example%2Fa/tile/0/000.p/1", None, None).status(200);
    assert!(tile.header("cache-control").starts_with("public"));
    let tile = world.ask("GET", "/logs/t.example%2Fa/tile/0/000.p/1", None).status(200);
    assert!(tile.header("cache-control").starts_with("private"));
}
