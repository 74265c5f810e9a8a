//! The printed lines of `pg_hba.conf`, in the hands of a real server.

use indelible_postgres_connect::{ConnectError, hba};
use indelible_test_postgres::{ClientCertificate, Options, TestServer};

use crate::world::{reach, refusal, word};

#[tokio::test]
async fn who_is_listed_comes_in_and_nobody_else() {
    let Some(server) = TestServer::start(Options::new().with_tls()) else { return };
    server.sql("CREATE ROLE \"audit writer\" LOGIN");
    server.sql("CREATE ROLE other LOGIN");
    server.sql("CREATE DATABASE audit");
    // Whatever follows the lines, they decide.
    let set = |network: &str| {
        let lines =
            hba::lines(&[network.parse().unwrap(), "fd00::/8".parse().unwrap()], "audit", &["audit writer", "all"])
                .unwrap();
        server.set_hba(&format!("{lines}host all all all trust\nlocal all all trust\n"));
    };
    set("127.0.0.0/8");
    assert_eq!(server.sql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL"), "0");
    let with = |role: &str, database: &str, of: &str| {
        let files = server.client(ClientCertificate::Good(of));
        format!(
            "{}?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            server.url(&role.replace(' ', "%20"), database),
            server.root_certificate().display(),
            files.certificate.display(),
            files.key.display()
        )
    };
    let good = with("audit writer", "audit", "audit writer");
    assert_eq!(word(&reach(&good).await), "full");
    assert_eq!(word(&reach(&with("audit writer", "audit", "other")).await), "role");
    let bare = format!("{}?sslmode=require", server.url("audit%20writer", "audit"));
    assert_eq!(word(&reach(&bare).await), "missing");
    // Without TLS, with a certificate of its own, or through the socket: not into this database.
    let plain = bare.replace("require", "disable");
    let socket =
        format!("postgres://audit%20writer@/audit?host={}&port={}", server.socket_folder().display(), server.port());
    for url in [plain, with("other", "audit", "other"), socket] {
        let error = refusal(&url).await;
        assert!(matches!(error, ConnectError::NotInHba { .. }), "{url}: {error:?}");
    }
    // Another database is left to the lines that follow.
    assert_eq!(word(&reach(&with("other", "postgres", "other")).await), "full");

    // From an address that is not listed nobody comes in.
    set("192.0.2.0/24");
    let error = refusal(&good).await;
    assert!(matches!(&error, ConnectError::NotInHba { said, .. } if said.contains("127.0.0.1")), "{error:?}");
}
