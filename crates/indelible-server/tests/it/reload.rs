//! Another certificate while the server runs.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use indelible::Options;

use crate::{
    lab::{Pair, Secure, put},
    tls::is_there,
    world::{World, config, wait_for},
};

/// A server with a certificate of these files, looked at every `reload_ms`.
fn world(pair: &Pair, reload_ms: u64) -> World {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    pair.write(&certificate, &key);
    let mut config = config();
    (config.plain_http, config.tls.reload_ms) = (false, reload_ms);
    (config.tls.certificate, config.tls.key) = (Some(certificate), Some(key));
    let mut world = World::with(config, Options::default());
    world.keep(dir);
    world
}

fn files(world: &World) -> (std::path::PathBuf, std::path::PathBuf) {
    let certificate = world.certificate.clone().unwrap();
    (certificate.clone(), certificate.with_extension("key"))
}

#[test]
fn a_changed_certificate_is_taken_up_and_no_connection_is_dropped() {
    let (first, second) = (Pair::server(), Pair::server());
    let world = world(&first, 10);
    let mut old = Secure::connect(&world, None);
    old.ask("GET", "/healthz", None, None).status(200);
    assert_eq!(old.shown(), first.der().to_vec());
    let (certificate, key) = files(&world);
    second.write(&certificate, &key);
    // The server looks at its own time; each try is a handshake, and one of them comes after it.
    wait_for(|| {
        let mut new = Secure::connect(&world, None);
        let reply = new.maybe("GET", "/healthz", None, None)?;
        (reply.status == 200 && new.shown() == second.der().to_vec()).then_some(())
    });
    old.ask("GET", "/healthz", None, None).status(200);
    assert_eq!(old.shown(), first.der().to_vec());
    let told = world.told.lock().unwrap().join("\n");
    assert!(told.contains(&second.sha256()), "{told}");
    let metrics = old.ask("GET", "/metrics", Some(&world.admin), None).text();
    assert!(metrics.contains("indelible_certificate_reloads_total 1"), "{metrics}");
    let own = "/v1/logs/t.example%2F_server/entries?limit=1000";
    let entries = old.ask("GET", own, Some(&world.admin), None).status(200).text();
    assert!(entries.contains("server.certificate") && entries.contains(&second.sha256()), "{entries}");
}

#[test]
fn what_is_no_pair_is_told_and_the_one_before_goes_on() {
    let (first, other) = (Pair::server(), Pair::server());
    let world = world(&first, 0);
    let (certificate, key) = files(&world);
    let trusted = put(&certificate.with_extension("trusted"), &first.certificate);
    let rows = [
        (other.certificate.as_str(), first.key.as_str()),
        (first.certificate.as_str(), "nothing"),
        ("", first.key.as_str()),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", first.key.as_str()),
    ];
    for (at, (bad_certificate, bad_key)) in rows.into_iter().enumerate() {
        put(&certificate, bad_certificate);
        put(&key, bad_key);
        world.reload();
        assert_eq!(world.told.lock().unwrap().len(), at + 1, "each is told");
        let told = world.told.lock().unwrap().last().unwrap().clone();
        assert!(told.contains("tls.") && told.contains("goes on being shown"), "{told}");
        // It is still the first that is shown.
        put(&certificate, &std::fs::read_to_string(&trusted).unwrap());
        let mut client = Secure::connect(&world, None);
        let metrics = client.ask("GET", "/metrics", Some(&world.admin), None).status(200).text();
        let line = format!("indelible_certificate_reload_failures_total {}", at + 1);
        assert!(metrics.contains(&line), "{metrics}");
    }
    std::fs::remove_file(&certificate).unwrap();
    world.reload();
    assert!(world.told.lock().unwrap().last().unwrap().contains("tls.crt"));
    // The other side: a good pair is taken after all of that.
    other.write(&certificate, &key);
    world.reload();
    let mut client = Secure::connect(&world, None);
    client.ask("GET", "/healthz", None, None).status(200);
    assert_eq!(client.shown(), other.der().to_vec());
}

#[test]
fn openssl_sees_the_new_certificate_while_its_old_connection_goes_on() {
    if !is_there("openssl", "version") {
        return;
    }
    let (first, second) = (Pair::server(), Pair::server());
    let world = world(&first, 0);
    let (certificate, key) = files(&world);
    let trusted = put(&certificate.with_extension("both"), &format!("{}{}", first.certificate, second.certificate));
    let s_client = || {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-alpn", "http/1.1", "-CAfile"]).arg(&trusted);
        command.args(["-connect", &world.address.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut old = s_client();
    let (mut write, mut read) = (old.stdin.take().unwrap(), BufReader::new(old.stdout.take().unwrap()));
    let mut ask = || {
        write.write_all(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
        let mut line = String::new();
        while !line.starts_with("alive") {
            line.clear();
            assert!(read.read_line(&mut line).unwrap() > 0, "the connection ended");
        }
    };
    ask();
    second.write(&certificate, &key);
    world.reload();
    let output = Command::new("openssl")
        .args(["s_client", "-verify_return_error", "-connect", &world.address.to_string(), "-CAfile"])
        // Alone: the other one has the same name.
        .arg(put(&certificate.with_extension("second"), &second.certificate))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.replace('\n', "").contains(&second.certificate.replace(['\r', '\n'], "")), "{said}");
    ask();
    drop(write);
    let _ = old.kill();
    old.wait().unwrap();
}
