//! TLS from outside: by this project's own library, and by OpenSSL and curl where they are installed.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use indelible::Options;
use indelible_server::config::Version;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};

use crate::world::{Reply, World, config, reply};

fn secure(min: Version) -> World {
    let mut config = config();
    config.plain_http = false;
    config.tls.min_version = min;
    World::with(config, Options::default())
}

/// An answer over TLS of one version, to a client that trusts the server's certificate and nothing else.
fn ask(world: &World, version: &'static rustls::SupportedProtocolVersion, name: &str) -> Result<Reply, String> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(world.certificate.as_ref().unwrap()).unwrap();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let connection = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(world.address).unwrap());
    let token = &world.admin;
    let request = format!("GET /v1/logs HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    reply(&mut BufReader::new(stream), false).ok_or_else(|| "no answer".to_owned())
}

#[test]
fn both_versions_are_spoken_to_whoever_trusts_the_certificate() {
    let world = secure(Version::Tls12);
    for version in [&TLS12, &TLS13] {
        for name in ["localhost", "127.0.0.1"] {
            let reply = ask(&world, version, name).unwrap().status(200);
            assert!(reply.header("strict-transport-security").starts_with("max-age="));
        }
    }
    assert!(ask(&world, &TLS13, "elsewhere.example").is_err(), "another name");
}

#[test]
fn the_older_version_is_left_out_where_that_is_said() {
    let world = secure(Version::Tls13);
    ask(&world, &TLS13, "localhost").unwrap().status(200);
    assert!(ask(&world, &TLS12, "localhost").is_err());
}

#[test]
fn plain_http_to_a_tls_port_gets_nothing() {
    let world = secure(Version::Tls12);
    let mut client = world.client();
    client.write(b"GET /healthz HTTP/1.1\r\nhost: t\r\n\r\n");
    assert!(client.reply().is_none_or(|reply| reply.status >= 400));
    ask(&world, &TLS13, "localhost").unwrap().status(200);
}

#[test]
fn the_certificate_stays_when_the_server_starts_again() {
    let mut world = secure(Version::Tls12);
    let before = std::fs::read(world.certificate.as_ref().unwrap()).unwrap();
    world.stop();
    world.start();
    assert_eq!(std::fs::read(world.certificate.as_ref().unwrap()).unwrap(), before);
    ask(&world, &TLS13, "localhost").unwrap().status(200);
}

pub(crate) fn is_there(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("SKIPPED {program} is not installed");
    }
    found
}

fn s_client(world: &World, certificate: &Path, version: &str) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &world.address.to_string(), "-verify_return_error", version, "-CAfile"])
        .arg(certificate)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn openssl_agrees() {
    if !is_there("openssl", "version") {
        return;
    }
    let world = secure(Version::Tls12);
    let certificate = world.certificate.clone().unwrap();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(&world, &certificate, version);
        assert!(said.contains("Verify return code: 0") || said.contains("Verification: OK"), "{said}");
        assert!(said.contains(name), "{said}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let said = s_client(&world, &certificate, version);
        assert!(!said.contains("Verification: OK\nNew, TLSv1"), "{said}");
        assert!(
            said.contains("Cipher is (NONE)") || said.contains("Cipher    : 0000") || said.contains("rror"),
            "{said}"
        );
    }
    let newer = secure(Version::Tls13);
    let said = s_client(&newer, &newer.certificate.clone().unwrap(), "-tls1_2");
    assert!(said.contains("alert protocol version"), "{said}");
}

#[test]
fn curl_agrees() {
    if !is_there("curl", "--version") {
        return;
    }
    let world = secure(Version::Tls12);
    let curl = |more: &[&str]| {
        let url = format!("https://localhost:{}/v1/logs", world.address.port());
        let token = format!("authorization: Bearer {}", world.admin);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--header", &token])
            .args(more)
            .arg(url)
            .env_remove("CURL_CA_BUNDLE")
            .env_remove("SSL_CERT_FILE")
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let certificate = world.certificate.clone().unwrap().display().to_string();
    let (good, listed) = curl(&["--cacert", &certificate]);
    assert!(good && listed.contains("t.example/_server"), "{listed}");
    assert!(!curl(&[]).0, "nobody vouches for it otherwise");
}
