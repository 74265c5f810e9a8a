//! What `packaging/` brings: each file is read as its reader reads it, where that is installed, and says what it has to.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;

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
    if !has_yaml() {
        return;
    }
    let parsed = composed("compose.yaml");
    let service = &parsed["services"]["indelible"];
    assert_eq!(service["read_only"], true);
    let mounted: Vec<&str> =
        service["volumes"].as_array().unwrap().iter().filter_map(|volume| volume.as_str()?.split(':').next()).collect();
    let volumes: Vec<&str> = parsed["volumes"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((mounted.len(), volumes.len()), (2, 2));
    assert!(mounted.iter().all(|name| volumes.contains(name)), "{parsed}");
}

fn has_yaml() -> bool {
    is_there("python3", &["-c", "import yaml"])
}

/// A compose file as a document. Only where [`has_yaml`].
fn composed(name: &str) -> Value {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging")).join(name);
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

const COMPOSED: &str = "compose.postgres.yaml";

#[test]
fn the_composed_database_is_reached_by_its_server_alone_and_has_no_password_of_ours() {
    let text = packaged(COMPOSED);
    for word in ["privileged", "0.0.0.0", "docker.sock", "POSTGRES_PASSWORD:", "trust", ":latest", "PGPASSWORD"] {
        assert!(!text.contains(word), "{word}");
    }
    // What the operator makes there is neither committed nor built into an image.
    for ignored in ["/../../.gitignore", "/../../.dockerignore"] {
        let text = fs::read_to_string(format!("{}{ignored}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.lines().any(|line| line == "/packaging/secrets"), "{ignored}");
    }
    if !has_yaml() {
        return;
    }
    let parsed = composed(COMPOSED);
    let services = parsed["services"].as_object().unwrap();
    assert_eq!(parsed["networks"]["database"]["internal"], true);
    let mut published = Vec::new();
    for (name, service) in services {
        assert_eq!(
            (&service["read_only"], &texts(&service["cap_drop"])[..]),
            (&Value::Bool(true), &["ALL"][..]),
            "{name}"
        );
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let user = service["user"].as_str().unwrap();
        assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{name}: {user}");
        published.extend(texts(&service["ports"]).into_iter().map(|port| (name.as_str(), port)));
        // Each secret is a file that the operator makes, and is given to whoever needs it.
        for secret in texts(&service["secrets"]) {
            assert_eq!(parsed["secrets"][secret]["file"], format!("./secrets/{secret}"), "{name}");
        }
        if name != "indelible" {
            assert_eq!(texts(&service["networks"]), ["database"], "{name}");
        }
    }
    assert_eq!(published, [("indelible", "127.0.0.1:8443:8443")]);
    assert_eq!(
        texts(&services["indelible"]["secrets"]),
        ["writer.pgpass"],
        "the server never has the owner's password"
    );
    let image = services["db"]["image"].as_str().unwrap();
    let version = image.strip_prefix("postgres:").and_then(|version| version.split('-').next()?.parse::<u32>().ok());
    assert!(version.is_some_and(|version| version >= 15), "{image}");
    let waits = |service: &str, on: &str| services[service]["depends_on"][on]["condition"].as_str();
    assert_eq!(waits("migrate", "db"), Some("service_healthy"));
    assert_eq!(waits("grant", "migrate"), Some("service_completed_successfully"));
    assert_eq!(waits("indelible", "grant"), Some("service_completed_successfully"));
}

/// The steps of the operator and of each service, one after the other, against a database that asks for passwords.
#[cfg(feature = "postgres")]
#[test]
fn what_is_composed_works_with_a_real_database() {
    use indelible_test_postgres::{Options, TestServer};

    if !is_there("openssl", &["version"]) || !has_yaml() {
        return;
    }
    let hba = "host all all 127.0.0.1/32 scram-sha-256\n";
    let Some(server) = TestServer::start(Options::new().with_hba(hba)) else { return };
    let world = World::empty();
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md")).unwrap();
    let steps = guide.split("```sh\n").find(|block| block.starts_with("(umask 077; mkdir packaging/secrets")).unwrap();
    let steps: Vec<&str> = steps.lines().take_while(|line| !line.starts_with("sudo ")).collect();
    fs::create_dir(world.at("packaging")).unwrap();
    let made = world.place(Command::new("sh"), &["-euc", &steps.join("\n")]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secret = |name: &str| fs::read_to_string(world.at("packaging/secrets").join(name)).unwrap().trim().to_owned();
    assert_ne!(secret("owner"), secret("writer"));
    // What the image does at its first start.
    server.sql(&format!("create role owner superuser login password '{}'", secret("owner")));
    server.sql("create database audit owner owner");
    let login =
        packaged("postgres/login.sql").replace("cat /run/secrets/writer", &format!("echo {}", secret("writer")));
    server.sql_in("audit", &login);
    // The database of the test has a port of its own, and the files its number.
    let port = server.port().to_string();
    for name in ["owner.pgpass", "writer.pgpass"] {
        fs::write(
            world.at("packaging/secrets").join(name),
            secret(name).replace("db:5432:", &format!("127.0.0.1:{port}:")),
        )
        .unwrap();
    }
    let parsed = composed(COMPOSED);
    let command = |service: &str| -> Vec<String> {
        let secrets = world.path("packaging/secrets");
        let words = texts(&parsed["services"][service]["command"]).into_iter();
        let config = world.write("server.toml", packaged("server.toml"));
        words
            .map(|word| word.replace("@db/", &format!("@127.0.0.1:{port}/")).replace("/run/secrets", &secrets))
            .map(|word| word.replace("/etc/indelible/server.toml", &config))
            .collect()
    };
    // At every start, so twice.
    for _ in 0..2 {
        for service in ["migrate", "grant"] {
            let command = command(service);
            world.run(&command.iter().map(String::as_str).collect::<Vec<_>>()).ok();
        }
    }
    let serve = command("indelible");
    let args: Vec<&str> = serve.iter().map(String::as_str).chain(["--json", "--listen", "127.0.0.1:0"]).collect();
    let mut child = world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    assert!(started["admin_token"].is_string() && started["certificate"]["path"].is_string());
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait().unwrap().success());
    // Without its file nobody comes in.
    fs::write(world.at("packaging/secrets/writer.pgpass"), "").unwrap();
    world.run(&args).refused(1, &["password"]);
}
