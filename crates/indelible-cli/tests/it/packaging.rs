//! What `packaging/` brings: each file is read as its reader reads it, where that is installed, and says what it has to.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::world::World;

fn packaged(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_there(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = status.is_ok_and(|status| status.success());
    if !found {
        println!("SKIPPED {program} {} is not installed", arguments.join(" "));
    }
    found
}

#[test]
fn the_configuration_can_be_used() {
    let world = World::empty();
    let config = world.write("server.toml", packaged("server.toml"));
    let shown = world.run(&["serve", "config", "show", "--config", &config]).ok().out;
    assert!(shown.contains("listen = \"0.0.0.0:8443\""), "{shown}");
    world.run(&["serve", "config", "check", "--config", &config]).ok();
    // What is commented out has names that are known.
    let all: Vec<String> =
        packaged("server.toml").lines().map(|line| line.trim_start_matches("# ").to_owned()).collect();
    let values = all.into_iter().filter(|line| line.contains(" = ") || line.starts_with('['));
    let all = world.write("all.toml", values.collect::<Vec<_>>().join("\n"));
    world.run(&["serve", "config", "show", "--config", &all]).ok();
}

/// The unit, with this program and places of a test in it.
fn unit(world: &World) -> String {
    let config = world.write("server.toml", packaged("server.toml"));
    let text = packaged("systemd/indelible.service");
    let text = text.replace("/usr/bin/indelible", env!("CARGO_BIN_EXE_indelible"));
    text.replace("/etc/indelible/server.toml", &config).replace("/var/lib/indelible", &world.path("state"))
}

#[test]
fn the_unit_starts_what_there_is_and_keeps_the_token_from_the_journal() {
    let world = World::empty();
    let unit = unit(&world);
    let value = |name: &str| {
        let found = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("`{name}` is not set")).to_owned()
    };
    let start = value("ExecStart");
    let mut words = start.split(' ');
    assert_eq!(words.next(), Some(env!("CARGO_BIN_EXE_indelible")));
    let args: Vec<&str> = words.chain(["config", "check"]).collect();
    world.run(&args).ok();
    assert!(value("StandardOutput").contains("/keys/"));
    assert_eq!((value("User").as_str(), value("UMask").as_str()), ("indelible", "0077"));
    assert_eq!((value("ProtectSystem").as_str(), value("NoNewPrivileges").as_str()), ("strict", "yes"));
    assert_eq!(value("CapabilityBoundingSet"), "");
}

#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    if !is_there("systemd-analyze", &["--version"]) {
        return;
    }
    let world = World::empty();
    let path = world.write("indelible.service", unit(&world));
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no", &path]).output().unwrap();
    let said = String::from_utf8_lossy(&verify.stderr);
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("indelible.service")).collect();
    assert!(ours.is_empty(), "{said}");
    let mut security = Command::new("systemd-analyze");
    let output = security.args(["security", "--offline=yes", "--threshold=20", &path]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unrecognized option") || said.contains("Failed to") {
        println!("SKIPPED this systemd-analyze looks at no unit that is not installed: {said}");
        return;
    }
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_image_runs_as_nobody_and_its_command_is_one() {
    let world = World::empty();
    let text = packaged("Dockerfile");
    let last = |word: &str| {
        let found = text.lines().rev().find_map(|line| line.strip_prefix(&format!("{word} ")));
        found.unwrap_or_else(|| panic!("no {word}")).to_owned()
    };
    let user = last("USER");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 1000)), "{user}");
    let list = |text: String| serde_json::from_str::<Vec<String>>(&text).unwrap();
    assert_eq!(list(last("ENTRYPOINT")), ["/usr/bin/indelible"]);
    let config = world.write("server.toml", packaged("server.toml"));
    let command = list(last("CMD")).into_iter().map(|word| word.replace("/etc/indelible/server.toml", &config));
    let args: Vec<String> = command.chain(["config".to_owned(), "check".to_owned()]).collect();
    world.run(&args).ok();
    assert!(!text.contains("ADD ") && !text.contains(":latest"), "what is built is what is here");
    for line in text.lines().filter(|line| line.starts_with("FROM ")) {
        assert!(line.contains(':'), "`{line}` names no version");
    }
}

#[test]
fn the_composed_service_may_do_nothing_that_it_need_not() {
    let text = packaged("compose.yaml");
    for line in [
        "    read_only: true",
        "    cap_drop: [\"ALL\"]",
        "    security_opt: [\"no-new-privileges:true\"]",
        "    user: \"65532:65532\"",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}");
    }
    assert!(!text.contains("privileged") && !text.contains("0.0.0.0") && !text.contains("docker.sock"));
    if !is_there("python3", &["-c", "import yaml"]) {
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/compose.yaml");
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let output = Command::new("python3").args(["-c", script, path]).output().unwrap();
    let parsed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let service = &parsed["services"]["indelible"];
    assert_eq!(service["read_only"], true);
    let mounted: Vec<&str> =
        service["volumes"].as_array().unwrap().iter().filter_map(|volume| volume.as_str()?.split(':').next()).collect();
    let volumes: Vec<&str> = parsed["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((mounted.len(), volumes.len()), (2, 2));
    assert!(mounted.iter().all(|name| volumes.contains(name)), "{parsed}");
}
