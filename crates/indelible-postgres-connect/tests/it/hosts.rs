//! Several hosts, of which the right kind is sought.

use indelible_postgres_connect::ConnectError;
use indelible_test_postgres::{Options, TestServer};

use crate::world::{everything, reach, refusal};

/// The port that was reached.
async fn port(url: &str) -> u16 {
    reach(url).await.unwrap_or_else(|error| panic!("{url}: {}", everything(&error))).1.host.port
}

#[tokio::test]
async fn the_wanted_kind_is_found_also_after_a_failover() {
    let Some(primary) = TestServer::start(Options::new()) else { return };
    let replica = primary.replica();
    primary.sql("CREATE ROLE writer LOGIN");
    replica.catch_up_with(&primary);
    let (first, second) = (replica.port(), primary.port());
    let url = |kind: &str| {
        format!("postgres://writer@127.0.0.1:{first},127.0.0.1:{second}/postgres?target_session_attrs={kind}")
    };
    assert_eq!(port(&url("any")).await, first);
    assert_eq!(port(&url("read-write")).await, second);
    assert_eq!(port(&url("primary")).await, second);
    assert_eq!(port(&url("read-only")).await, first);
    assert_eq!(port(&url("standby")).await, first);
    // Ports of their own parameter, addresses beside names.
    let split = format!(
        "postgres://writer@/postgres?host=a.invalid,b.invalid&hostaddr=127.0.0.1,127.0.0.1&port={first},{second}&target_session_attrs=primary"
    );
    assert_eq!(port(&split).await, second);
    // A host that does not exist is passed over.
    let beside = format!(
        "postgres://writer@no-such-host.invalid,127.0.0.1:{second}/postgres?sslmode=disable&target_session_attrs=read-write"
    );
    assert_eq!(port(&beside).await, second);

    primary.sql("ALTER ROLE writer SET default_transaction_read_only = on");
    let error = refusal(&url("read-write")).await;
    let text = error.to_string();
    assert!(matches!(error, ConnectError::NoHost { .. }) && error.is_transient(), "{text}");
    assert!(
        text.contains("for writing") && text.contains("a standby") && text.contains("read-only by default"),
        "{text}"
    );
    primary.sql("ALTER ROLE writer RESET default_transaction_read_only");
    replica.catch_up_with(&primary);

    primary.crash();
    let error = refusal(&url("read-write")).await;
    assert!(error.to_string().contains("none of the 2 hosts can be used for writing"), "{error}");
    replica.promote();
    assert_eq!(port(&url("read-write")).await, first);
    let alone = format!("postgres://writer@127.0.0.1:{first}/postgres?target_session_attrs=standby");
    assert!(matches!(refusal(&alone).await, ConnectError::OtherKind { .. }));
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_elsewhere() {
    let hba = "host all all 127.0.0.1/32 scram-sha-256\n";
    let Some(server) = TestServer::start(Options::new().with_hba(hba)) else { return };
    let _ = server.role("writer", "");
    let port = server.port();
    let error = refusal(&format!("postgres://writer:n0t@127.0.0.1:{port},127.0.0.1:1/postgres")).await;
    assert!(matches!(error, ConnectError::WrongPassword { .. }), "{error:?}");
}
