//! What the server or the network refuses: each its own error, and never a password in it.

use std::{net::TcpListener, time::Duration};

use indelible_postgres_connect::{ConnectError, Environment, connect};
use indelible_test_postgres::{Options, TestServer};

use crate::world::{config, everything, reach, refusal};

const HBA: &str = "\
host all        rejected 127.0.0.1/32 reject
host all        absent,idle 127.0.0.1/32 trust
host all        all      127.0.0.1/32 scram-sha-256
";

#[tokio::test]
async fn each_refusal_is_its_own_error() {
    let Some(server) = TestServer::start(Options::new().with_hba(HBA)) else { return };
    let password = server.role("writer", "");
    let of = |role: &str, database: &str| server.url_with_password(role, &password, database);
    reach(&of("writer", "postgres")).await.unwrap();

    let wrong = server.url_with_password("writer", "Wr0ng-Secret", "postgres");
    let error = refusal(&wrong).await;
    assert!(matches!(error, ConnectError::WrongPassword { .. }), "{error:?}");
    assert!(!everything(&error).contains("Wr0ng-Secret"), "{}", everything(&error));
    // An unknown role must not be told from a wrong password.
    assert!(matches!(refusal(&of("nobody", "postgres")).await, ConnectError::WrongPassword { .. }));
    let error = refusal(&server.url("writer", "postgres")).await;
    assert!(matches!(error, ConnectError::NoPassword { .. }), "{error:?}");

    let error = refusal(&of("writer", "nowhere")).await;
    assert!(matches!(&error, ConnectError::NoDatabase { database, .. } if database == "nowhere"), "{error:?}");
    assert!(!everything(&error).contains(&password));
    assert!(matches!(refusal(&server.url("absent", "postgres")).await, ConnectError::NoRole { .. }));
    server.sql("CREATE ROLE idle NOLOGIN");
    let error = refusal(&server.url("idle", "postgres")).await;
    assert!(matches!(error, ConnectError::NotAuthenticated { .. }), "{error:?}");
    let error = refusal(&of("rejected", "postgres")).await;
    assert!(matches!(error, ConnectError::NotInHba { .. }) && !error.is_transient(), "{error:?}");

    server.sql("ALTER ROLE writer CONNECTION LIMIT 1");
    let held = reach(&of("writer", "postgres")).await.unwrap();
    let error = refusal(&of("writer", "postgres")).await;
    assert!(matches!(error, ConnectError::TooMany { .. }) && error.is_transient(), "{error:?}");
    drop(held);

    server.stop();
    let error = refusal(&of("writer", "postgres")).await;
    assert!(matches!(error, ConnectError::Refused { .. }) && error.is_transient(), "{error:?}");
    let socket =
        format!("postgres://writer@/postgres?host={}&port={}", server.socket_folder().display(), server.port());
    assert!(matches!(refusal(&socket).await, ConnectError::Refused { .. }));
    server.start_again();
    // The helper's superuser comes in through the socket.
    let (_, connected) = reach(&socket.replace("writer", "postgres")).await.unwrap();
    assert!(connected.tls.is_none() && connected.address.is_none() && connected.server_version.starts_with("1"));
}

#[tokio::test]
async fn what_is_no_server_is_told() {
    let error = refusal("postgres://u@no-such-host.invalid/db").await;
    assert!(matches!(error, ConnectError::NoSuchHost { .. }), "{error:?}");
    // Somebody who takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://u:s3cret@127.0.0.1:{}/db?connect_timeout=1", silent.local_addr().unwrap().port());
    let error = refusal(&url).await;
    assert!(matches!(error, ConnectError::Timeout { seconds: 1, .. }), "{error:?}");
    assert!(!everything(&error).contains("s3cret"));
    // Somebody who says something else.
    let chatty = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = chatty.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = chatty.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = [0; 64];
        let _ = stream.read(&mut heard).unwrap();
        stream.write_all(b"220 mail.example ESMTP ready and waiting\r\n").unwrap();
    });
    let error = refusal(&format!("postgres://u@127.0.0.1:{port}/db?sslmode=disable")).await;
    assert!(matches!(error, ConnectError::Protocol { .. } | ConnectError::Network { .. }), "{error:?}");
    server.join().unwrap();
}

#[tokio::test]
async fn a_server_that_goes_down_while_it_is_asked_may_be_asked_again() {
    let dying = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = dying.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        use std::io::Read as _;
        // It took the first words, and then nothing comes.
        let (mut stream, _) = dying.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    });
    let error = refusal(&format!("postgres://u@127.0.0.1:{port}/db?sslmode=disable")).await;
    assert!(error.is_transient(), "{error:?}");
    server.join().unwrap();
}

#[tokio::test]
async fn passwords_come_from_the_environment_and_the_password_file() {
    let Some(server) = TestServer::start(Options::new().with_hba(HBA)) else { return };
    let password = server.role("writer", "");
    let url = server.url("writer", "postgres");
    let through = |environment: Environment| {
        let url = &url;
        async move { connect(&indelible_postgres_connect::Config::parse(url, &environment).unwrap()).await }
    };
    through(Environment::of(&[("PGPASSWORD", &password)])).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    std::fs::write(&file, format!("127.0.0.1:{}:*:writer:{password}\n", server.port())).unwrap();
    set_mode(&file, 0o600);
    let environment = Environment::of(&[("HOME", home.path().to_str().unwrap())]);
    through(environment.clone()).await.unwrap();
    // Readable by others, it is left alone and said so.
    set_mode(&file, 0o644);
    let open = indelible_postgres_connect::Config::parse(&url, &environment).unwrap();
    assert!(open.warnings().iter().any(|warning| warning.to_string().contains("chmod 600")), "{:?}", open.warnings());
    assert!(matches!(through(environment).await.unwrap_err(), ConnectError::NoPassword { .. }));
    assert!(!format!("{:?}", config(&server.url_with_password("writer", &password, "db"))).contains(&password));
}

fn set_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
