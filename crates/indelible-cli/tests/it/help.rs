//! Help, version, completions, usage.

use crate::world::World;

#[test]
fn every_command_explains_itself() {
    let world = World::empty();
    let commands = [
        "",
        "init",
        "append",
        "attach",
        "import",
        "show",
        "tail",
        "verify",
        "log",
        "log info",
        "log repair",
        "log explain",
        "log succeed",
        "checkpoint",
        "prove",
        "check-proof",
        "consistency",
        "export",
        "keys",
        "keys public",
        "keys derive",
        "keys generate",
        "keys list",
        "keys show",
        "keys rotate",
        "keys check",
        "keys activate",
        "keys retire",
        "keys destroy",
        "keys policy",
        "keys import",
        "keys export-public",
        "keys master",
        "keys master set",
        "keys master change",
        "keys master remove",
        #[cfg(feature = "server")]
        "serve",
        #[cfg(feature = "server")]
        "serve config",
        #[cfg(feature = "server")]
        "serve config check",
        #[cfg(feature = "server")]
        "serve config show",
        "sign-file",
        "verify-file",
        "samples",
        "bench",
        "demo",
        "completions",
        "man",
    ];
    for command in commands {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let done = world.run(&args).ok();
        assert!(done.out.contains("Usage: indelible"), "{command}: {}", done.out);
        assert!(done.out.contains("--log") && done.out.contains("--json"), "{command}: {}", done.out);
    }
    for command in ["", "append", "import", "verify", "check-proof", "verify-file"] {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let help = world.run(&args).out;
        assert!(help.contains("3  some input was rejected") && help.contains("10  tampered"), "{command}: {help}");
    }
}

#[test]
fn the_whole_is_explained_in_groups_with_places_and_environment() {
    let world = World::empty();
    let help = world.run(&["--help"]).ok().out;
    let order = [
        "Record:\n  init         Create a log",
        "\nRead and verify:\n  show ",
        "\n  verify       Verify the log",
        "\nProve to others:\n  checkpoint ",
        "\nLook after logs and keys:\n  log ",
        "\nSign files:\n  sign-file ",
        "\nTry and install:\n  samples ",
        "\nOptions:\n",
        "--log <PLACE>",
        "\nPlaces of logs:\n  DIR ",
        "\n  sqlite:FILE#ORIGIN ",
        "\n  sqlcipher:FILE#ORIGIN ",
        "\n  postgres://USER@HOST/DB#ORIGIN ",
        "\nEnvironment:\n  INDELIBLE_LOG ",
        "\n  INDELIBLE_KEYS ",
        "\n  INDELIBLE_MASTER_KEY_FILE ",
        "\n  INDELIBLE_MASTER_KEY ",
        "\n  INDELIBLE_PASSPHRASE ",
        "\n  INDELIBLE_SQLCIPHER_KEY ",
        "\n  INDELIBLE_HEADS ",
        "\nExit codes:\n",
    ];
    let mut rest = help.as_str();
    for part in order {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not there, or not in its order: {help}"));
        rest = &rest[at + 1..];
    }
    assert!(!help.contains('\u{1b}'), "no colours where nobody sees them");
    // Of a command, only what is its own.
    let help = world.run(&["verify", "--help"]).ok().out;
    assert!(!help.contains("Environment:") && help.contains("sqlcipher:FILE"), "{help}");
}

#[test]
fn the_ways_to_name_a_signing_key_stand_in_lines_of_their_own() {
    let help = World::empty().run(&["sign-file", "--help"]).ok().out;
    let usage: Vec<&str> = help.split("Usage: ").nth(1).unwrap().lines().take(3).map(str::trim).collect();
    let rows = ["--pem KEYFILE [--algorithm NAME] FILE...", "--key ID FILE...", "--algorithm NAME FILE..."];
    assert_eq!(usage, rows.map(|way| format!("indelible sign-file [OPTIONS] {way}")));
}

#[test]
fn the_version_tells_the_format() {
    let expected = format!("indelible {} (format 1)\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(World::empty().run(&["--version"]).ok().out, expected);
}

#[test]
fn completions_and_manual_pages_are_made() {
    let world = World::empty();
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.run(&["completions", shell]).ok().out.contains("check-proof"), "{shell}");
    }
    assert!(world.run(&["man"]).ok().out.contains(".TH indelible"));
    world.run(&["man", "--dir", &world.path("pages")]).ok();
    assert!(world.at("pages/indelible-verify.1").exists());
}

#[test]
fn wrong_usage_is_2() {
    let world = World::empty();
    world.run(&["frobnicate"]).code(2);
    world.run(&["init", "x"]).code(2);
    world.run(&["log", "explain", "7..3", "--reason", "x"]).refused(2, &["before it begins"]);
    let unnamed =
        std::process::Command::new(env!("CARGO_BIN_EXE_indelible")).env_remove("INDELIBLE_LOG").arg("verify").output();
    let done = crate::world::Done::of(&unnamed.unwrap());
    done.refused(2, &["--log PLACE", "INDELIBLE_LOG"]);
}

#[test]
fn samples_are_the_same_for_the_same_seed() {
    let world = World::empty();
    let of = |seed| world.run(&["samples", "--count", "50", "--seed", seed]).ok().out;
    assert_eq!(of("3"), of("3"));
    assert_ne!(of("3"), of("4"));
    assert_eq!(of("3").lines().count(), 50);
}
