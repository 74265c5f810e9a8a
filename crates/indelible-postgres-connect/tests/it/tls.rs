//! What TLS says and takes besides the matrix.

use std::{env, fs, os::unix::fs::PermissionsExt as _, process::Command, time::SystemTime};

use indelible_postgres_connect::{ConnectError, FileError, TlsVersion, Verified};
use indelible_test_postgres::{Authority, ClientCertificate, Options, ServerCertificate, TestServer};

use crate::world::{everything, reach, refusal, word};

const HBA: &str = "\
hostssl all certified 127.0.0.1/32 cert
host    all all       127.0.0.1/32 scram-sha-256
";

fn start() -> Option<(TestServer, String)> {
    let server = TestServer::start(Options::new().with_hba(HBA).with_tls())?;
    let password = server.role("writer", "");
    server.sql("CREATE ROLE certified LOGIN");
    let root = server.root_certificate().display().to_string();
    let url = server.url_with_password("writer", &password, "postgres");
    Some((server, format!("{url}?sslmode=verify-full&sslrootcert={root}")))
}

#[tokio::test]
async fn what_was_negotiated_is_told() {
    let Some((server, url)) = start() else { return };
    let (client, connected) =
        reach(&format!("{url}&application_name=a%20name&options=-c%20work_mem%3D3MB&channel_binding=require"))
            .await
            .unwrap();
    let tls = connected.tls.unwrap();
    assert_eq!(
        (tls.version, tls.verified, tls.client_certificate),
        (TlsVersion::V1_3, Verified::AuthorityAndHost, false)
    );
    assert!(tls.cipher.starts_with("TLS13_") && tls.key_exchange != "unknown", "{tls:?}");
    let certificate = tls.certificate.unwrap();
    assert_eq!(certificate.subject, "CN=test server");
    assert_eq!(certificate.issuer, "CN=test authority");
    assert_eq!(certificate.names, ["localhost", "127.0.0.1"]);
    assert!(certificate.not_before < SystemTime::now() && !certificate.remaining(SystemTime::now()).is_zero());
    let ask = "SELECT version || ' ' || current_setting('application_name') || ' ' || current_setting('work_mem') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let answer: String = client.query_one(ask, &[]).await.unwrap().get(0);
    assert_eq!(answer, "TLSv1.3 a name 3MB");
    // By name too, though it may first lead to another address where nobody listens.
    let (_, connected) = reach(&url.replace("127.0.0.1", "localhost")).await.unwrap();
    assert!(connected.address.unwrap().is_loopback() && connected.tls.is_some());
    drop(server);
}

#[tokio::test]
async fn an_old_server_is_taken_or_refused_as_it_is_asked() {
    let Some((server, url)) = start() else { return };
    server.set(&[("ssl_max_protocol_version", "TLSv1.2")]);
    let (_, connected) = reach(&url).await.unwrap();
    let tls = connected.tls.unwrap();
    assert_eq!(tls.version, TlsVersion::V1_2);
    assert!(tls.cipher.starts_with("TLS_ECDHE_"), "{tls:?}");
    let error = refusal(&format!("{url}&ssl_min_protocol_version=TLSv1.3")).await;
    assert!(matches!(error, ConnectError::TlsVersion { minimum: TlsVersion::V1_3, .. }), "{error:?}");
    reach(&format!("{url}&ssl_min_protocol_version=TLSv1.2")).await.unwrap();
    // The refusals of a client certificate come within the handshake in this version.
    let of = |kind| {
        let files = server.client(kind);
        format!(
            "{}?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            server.url("certified", "postgres"),
            server.root_certificate().display(),
            files.certificate.display(),
            files.key.display()
        )
    };
    assert_eq!(word(&reach(&of(ClientCertificate::Good("certified"))).await), "full");
    assert_eq!(word(&reach(&of(ClientCertificate::Foreign("certified"))).await), "refused");
    assert_eq!(word(&reach(&of(ClientCertificate::Expired("certified"))).await), "refused");
    assert_eq!(word(&reach(&of(ClientCertificate::Good("other"))).await), "role");
}

#[tokio::test]
async fn another_authority_is_not_trusted_and_a_known_certificate_is() {
    let Some((server, url)) = start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    fs::write(&other, Authority::new("other authority").pem()).unwrap();
    let trusting = |path: &std::path::Path| {
        format!("{}&sslrootcert={}", url.split_once("&sslrootcert").unwrap().0, path.display())
    };
    let error = refusal(&trusting(&other)).await;
    assert!(matches!(&error, ConnectError::UnknownIssuer { issuer, .. } if issuer == "CN=test authority"), "{error:?}");
    for kind in [ServerCertificate::SelfSigned, ServerCertificate::SelfSignedAuthority] {
        server.present(kind);
        assert_eq!(word(&reach(&trusting(&server.presented_certificate())).await), "full", "{kind:?}");
        assert_eq!(word(&reach(&trusting(&other)).await), "self", "{kind:?}");
    }
    // Known or not, it must be of this time and for this host.
    server.present(ServerCertificate::Expired);
    assert_eq!(word(&reach(&trusting(&server.presented_certificate())).await), "expired");
    server.present(ServerCertificate::WrongHost);
    let error = refusal(&trusting(&server.presented_certificate())).await;
    assert!(error.to_string().contains("`elsewhere.example`"), "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told() {
    let Some((server, url)) = start() else { return };
    let files = server.client(ClientCertificate::Good("certified"));
    let other = server.client(ClientCertificate::Good("certified"));
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        format!("{url}&sslcert={}&sslkey={}", certificate.display(), key.display())
    };
    let file_error = |error: ConnectError| match error {
        ConnectError::File(error) => error,
        other => panic!("{}", everything(&other)),
    };
    let error = file_error(refusal(&with(&files.certificate, &other.key)).await);
    assert!(matches!(error, FileError::Pair { .. }), "{error:?}");
    let error = file_error(refusal(&with(&files.key, &files.key)).await);
    assert!(matches!(error, FileError::Pem { parameter: "sslcert", .. }), "{error:?}");
    let error = file_error(refusal(&with(&files.certificate, &files.certificate)).await);
    assert!(matches!(error, FileError::Pem { parameter: "sslkey", .. }), "{error:?}");
    let absent = files.key.with_extension("absent");
    let error = file_error(refusal(&with(&files.certificate, &absent)).await);
    assert!(matches!(error, FileError::Read { .. }) && error.to_string().contains("absent"), "{error:?}");
    let locked = absent.with_extension("locked");
    fs::write(&locked, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).unwrap();
    let error = file_error(refusal(&with(&files.certificate, &locked)).await);
    assert!(matches!(error, FileError::Encrypted { .. }), "{error:?}");
    // A key that others can read is refused, whatever it holds.
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = file_error(refusal(&with(&files.certificate, &files.key)).await);
    assert!(matches!(error, FileError::Readable { mode: 0o644, .. }), "{error:?}");
    let rootless = format!("{}&sslrootcert={}", url.split_once("&sslrootcert").unwrap().0, absent.display());
    let error = file_error(refusal(&rootless).await);
    assert!(matches!(error, FileError::Read { parameter: "sslrootcert", .. }), "{error:?}");
}

/// What the test below runs with another environment; by itself it does nothing.
#[tokio::test]
async fn inner_connection_by_the_roots_of_the_system() {
    let Ok(url) = env::var("INDELIBLE_TEST_URL") else { return };
    println!("outcome: {}", word(&reach(&url).await));
}

#[tokio::test]
async fn the_roots_of_the_system_can_be_trusted() {
    let Some((server, url)) = start() else { return };
    let outcome = |url: &str, roots: &std::path::Path| {
        let mut inner = Command::new(env::current_exe().unwrap());
        inner.args(["--exact", "tls::inner_connection_by_the_roots_of_the_system", "--nocapture"]);
        inner.env("INDELIBLE_TEST_URL", url).env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR");
        String::from_utf8(inner.output().unwrap().stdout).unwrap()
    };
    let url = url.split_once("&sslrootcert").unwrap().0;
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.pem");
    fs::write(&other, Authority::new("other authority").pem()).unwrap();
    for url in [format!("{url}&sslrootcert=system"), url.to_owned()] {
        assert!(outcome(&url, &server.root_certificate()).contains("outcome: full"), "{url}");
        assert!(outcome(&url, &other).contains("outcome: issuer"), "{url}");
    }
}
