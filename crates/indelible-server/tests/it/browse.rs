//! The page that shows the document: what its policy is, that it keeps it, and that it shows every operation.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use indelible_server::routes::ROUTES;
use serde_json::Value;

use crate::world::World;

#[test]
fn the_page_runs_nothing_but_its_own_files_and_has_nothing_inline() {
    let world = World::new();
    let get = |path: &str| world.client().ask("GET", path, None, None).status(200);
    let page = get("/docs");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    let directives: Vec<_> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(directives.contains(&directive), "{directive} in {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let html = page.text();
    // Attributes of elements, one by one: no handler, no style, nothing from elsewhere.
    for tag in html.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        for attribute in tag.split_ascii_whitespace().skip(1) {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            assert!(!name.starts_with("on") && name != "style", "{tag}");
            assert!(
                !["src", "href", "action"].contains(&name) || value.starts_with("\"/") || value.starts_with("\"#"),
                "{tag}"
            );
        }
    }
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains("<script src=\"/docs/page.js\" defer></script>") && !html.contains("<style"));
    for (path, media_type) in
        [("/docs/page.js", "text/javascript; charset=utf-8"), ("/docs/page.css", "text/css; charset=utf-8")]
    {
        let file = get(path);
        assert_eq!((file.header("content-type"), file.header("x-content-type-options")), (media_type, "nosniff"));
    }
    let script = get("/docs/page.js").text();
    // No sink for markup or code, and nothing that outlives the page.
    for banned in [
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
        "setTimeout(",
        "Storage",
        "cookie",
        "location",
    ] {
        assert!(!script.contains(banned), "{banned}");
    }
    let style = get("/docs/page.css").text();
    assert!(!style.contains("url(") && !style.contains("@import"));
    // Everything else keeps the policy that lets nothing run.
    assert_eq!(get("/openapi.json").header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
}

#[test]
fn what_the_script_reads_is_what_the_document_has() {
    let world = World::new();
    let api = world.client().ask("GET", "/openapi.json", None, None).status(200).json();
    assert!(api["info"]["title"].is_string() && api["info"]["version"].is_string());
    let tags: Vec<_> = api["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut shown = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(["get", "post", "delete"].contains(&method.as_str()), "{path}");
            // Shown under its tags, so it has one of those that are listed.
            let of: Vec<_> = operation["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
            assert!(of.len() == 1 && tags.contains(&of[0]), "{path}");
            assert!(operation["responses"].is_object() && operation["parameters"].is_array(), "{path}");
            for parameter in operation["parameters"].as_array().unwrap() {
                let place = parameter["in"].as_str().unwrap();
                assert!(["path", "query", "header"].contains(&place) && parameter["schema"].is_object(), "{path}");
                let named = format!("{{{}}}", parameter["name"].as_str().unwrap());
                assert_eq!(place == "path", path.contains(&named), "{path}");
            }
            shown += 1;
        }
    }
    assert_eq!(shown, ROUTES.len());
}

/// The script itself, over a small document model of the test's own.
#[test]
fn the_script_shows_every_operation_and_sends_what_its_fields_say() {
    let is_there = Command::new("node").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        println!("SKIPPED (aloud): the script of the page: no `node` to run it with");
        return;
    }
    let world = World::new();
    let dir = tempfile::tempdir().unwrap();
    for (name, path) in [("page.js", "/docs/page.js"), ("openapi.json", "/openapi.json")] {
        std::fs::write(dir.path().join(name), world.client().ask("GET", path, None, None).status(200).body).unwrap();
    }
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browse.mjs");
    let done = Command::new("node").arg(harness).arg(dir.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let told: Value = serde_json::from_slice(&done.stdout).unwrap();
    let shown: Vec<_> = told["shown"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    for route in ROUTES {
        assert_eq!(shown.iter().filter(|id| **id == route.id).count(), 1, "{}", route.id);
    }
    assert_eq!(shown.len(), ROUTES.len());
    let sent = &told["sent"];
    assert_eq!(sent["url"], "/v1/logs/t.example%2Fa/record/auth");
    assert_eq!((&sent["method"], &sent["token"]), (&"POST".into(), &"Bearer secret".into()));
    assert_eq!((&sent["idempotency"], &sent["type"]), (&"k-1".into(), &"application/json".into()));
    assert_eq!(sent["body"]["outcome"], "failure", "the example of the document");
    assert!(told["answer"].as_str().unwrap().contains("\"index\": 1"), "{told}");
    assert!(told["filtered"].as_u64().unwrap() < 10 && told["filtered"] != 0, "{told}");
}
