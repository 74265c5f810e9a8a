//! URLs and the environment.

use std::fs;

use indelible_postgres_connect::{Config, ConfigError, Environment, SslMode, TargetSession, Warning};

use crate::world::config;

fn refused(url: &str, variables: &[(&str, &str)]) -> ConfigError {
    match Config::parse(url, &Environment::of(variables)) {
        Ok(config) => panic!("{url}: {config:?}"),
        Err(error) => error,
    }
}

#[test]
fn all_parts_arrive() {
    let url = "postgres://w:p%40ss@db1.example,db2.example:5433/audit?sslmode=verify-full&target_session_attrs=read-write\
        &ssl_min_protocol_version=TLSv1.3&connect_timeout=3&application_name=x&options=-c%20a%3Db&keepalives_idle=30";
    let config = config(url);
    assert_eq!(config.place(), "postgres://w@db1.example:5432,db2.example:5433/audit");
    assert_eq!((config.user(), config.database(), config.ssl_mode()), ("w", "audit", SslMode::VerifyFull));
    assert_eq!(config.target_session(), TargetSession::ReadWrite);
    assert!(config.warnings().is_empty());
    assert!(!format!("{config:?}").contains("p@ss"), "{config:?}");
    assert_eq!(config.with_target_session(TargetSession::Any).target_session(), TargetSession::Any);
}

#[test]
fn the_environment_fills_up_and_the_url_wins() {
    let variables = [
        ("PGHOST", "e.example"),
        ("PGPORT", "5555"),
        ("PGUSER", "eu"),
        ("PGDATABASE", "ed"),
        ("PGSSLMODE", "require"),
        ("PGPASSWORD", "hidden"),
        ("PGTARGETSESSIONATTRS", "primary"),
    ];
    let environment = Environment::of(&variables);
    let bare = Config::parse("postgres://", &environment).unwrap();
    assert_eq!(bare.place(), "postgres://eu@e.example:5555/ed");
    assert_eq!((bare.ssl_mode(), bare.target_session()), (SslMode::Require, TargetSession::Primary));
    assert!(!format!("{bare:?}").contains("hidden"));
    let full = Config::parse("postgres://u@h:1/d?sslmode=verify-full&target_session_attrs=any", &environment).unwrap();
    assert_eq!(full.place(), "postgres://u@h:1/d");
    assert_eq!((full.ssl_mode(), full.target_session()), (SslMode::VerifyFull, TargetSession::Any));
    // The user's name is the database's where none is given.
    assert_eq!(config("postgres://someone@h").database(), "someone");
}

#[test]
fn what_is_not_known_is_refused_with_a_hint() {
    for (query, words) in [
        ("sslmod=require", "unknown parameter `sslmod`; did you mean `sslmode`?"),
        ("zzz=1", "unknown parameter `zzz`; known are `host`"),
        ("sslmode=verify_full", "`sslmode` is `verify_full`, and must be one of `disable`"),
        ("sslmode=allow", "must be one of `disable`, `prefer`"),
        ("sslcrl=x", "`sslcrl` is known to libpq and not supported here"),
        ("target_session_attrs=prefer-standby", "must be one of `any`"),
        ("connect_timeout=soon", "must be a number"),
        ("ssl_min_protocol_version=TLSv1.1", "must be one of `TLSv1.2`, `TLSv1.3`"),
        ("sslmode=require&sslmode=disable", "gives `sslmode` twice"),
        ("host=other", "gives `host` twice"),
        ("sslmode=verify-ca", "give `sslrootcert=FILE`"),
        ("sslmode=require&sslrootcert=system", "use `sslmode=verify-full`"),
        ("sslcert=/x", "without `sslkey`"),
        ("sslkey=/x", "without `sslcert`"),
        ("port=1,2", "1 hosts are given and 2 values in `port`"),
        ("hostaddr=1.2.3.4,1.2.3.5", "1 hosts are given and 2 values in `hostaddr`"),
        ("hostaddr=h", "must be IP addresses"),
    ] {
        let error = refused(&format!("postgres://u:s3cret@db.example/d?{query}"), &[]).to_string();
        assert!(error.contains(words), "{query}: {error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = refused("postgres://h/d", &[("PGSSLMODE", "full")]).to_string();
    assert!(error.contains("the environment variable `PGSSLMODE` is `full`"), "{error}");
    assert!(matches!(refused("postgres://h/d", &[("PGSERVICE", "x")]), ConfigError::Unsupported { .. }));
}

/// A letter in a raw password either arrives, or moves the parts about; then the URL is refused and nothing of it shown.
#[test]
fn no_letter_of_a_password_is_shown() {
    let mut refusals = 0;
    for letter in (1..=255_u8).map(char::from) {
        let secret = format!("Zq{letter}7Xw");
        for url in [
            format!("postgres://u:{secret}@h.example/d?sslmode=require"),
            format!("postgres://h.example/d?user=u&password={secret}&sslmode=require"),
            format!("postgres://h.example/d?password={secret}"),
        ] {
            let shown = match Config::parse(&url, &Environment::default()) {
                Ok(config) => {
                    format!("{config:?} {} {:?} {}", config.place(), config.warnings(), config.hosts()[0])
                }
                Err(error) => {
                    refusals += 1;
                    format!("{error} {error:?}")
                }
            };
            assert!(!shown.contains("Zq") && !shown.contains("7Xw"), "{letter:?}: {shown}");
        }
    }
    assert!(refusals >= 5, "{refusals}");
}

#[test]
fn what_protects_too_little_is_warned_about() {
    let weak = |url: &str| matches!(config(url).warnings(), [Warning::WeakTls { .. }]);
    for mode in ["disable", "prefer", "require", "verify-ca&sslrootcert=/x"] {
        assert!(weak(&format!("postgres://u@db.example/d?sslmode={mode}")), "{mode}");
        for local in ["localhost", "127.0.0.1", "[::1]", "%2Frun"] {
            assert!(!weak(&format!("postgres://u@{local}/d?sslmode={mode}")), "{mode} {local}");
        }
        // One host beyond this machine is enough.
        assert!(weak(&format!("postgres://u@localhost,10.0.0.1/d?sslmode={mode}")), "{mode}");
    }
    assert!(!weak("postgres://u@db.example/d?sslmode=verify-full"));
    let [warning] =
        config("postgres://u@a.example,localhost/d?sslmode=require").warnings().to_vec().try_into().unwrap();
    assert_eq!(
        warning.to_string(),
        "`sslmode=require` to a.example:5432: whoever is between can pose as the server; use `sslmode=verify-full`"
    );
}

#[test]
fn without_a_mode_other_machines_are_verified() {
    assert_eq!(config("postgres://u@localhost/d").ssl_mode(), SslMode::Prefer);
    assert_eq!(config("postgres://u@db.example/d").ssl_mode(), SslMode::VerifyFull);
    assert_eq!(config("postgres://u@localhost/d?sslrootcert=system").ssl_mode(), SslMode::VerifyFull);
}

#[test]
fn files_of_the_home_directory_are_found() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".postgresql");
    fs::create_dir(&folder).unwrap();
    for name in ["root.crt", "postgresql.crt", "postgresql.key"] {
        fs::write(folder.join(name), "").unwrap();
    }
    let environment = Environment::of(&[("HOME", home.path().to_str().unwrap())]);
    let config = Config::parse("postgres://u@db.example/d?sslmode=verify-ca", &environment).unwrap();
    let shown = format!("{config:?}");
    assert!(["root.crt", "postgresql.crt", "postgresql.key"].iter().all(|name| shown.contains(name)), "{shown}");
}
