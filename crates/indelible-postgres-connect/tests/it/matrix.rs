//! Every `sslmode` × every server certificate × every client certificate, with the outcome that is expected.

use indelible_test_postgres::{ClientCertificate, ClientFiles, Options, ServerCertificate, TestServer};

use crate::world::{everything, reach, word};

/// `encrypted` must come with TLS, `certified` with a client certificate of that name, `anyhow` as they like.
const HBA: &str = "\
hostssl all certified 127.0.0.1/32 cert
hostssl all encrypted 127.0.0.1/32 trust
host    all anyhow    127.0.0.1/32 trust
";

/// The modes, as the columns of [`OUTCOMES`]: `require` without and with a root certificate.
const MODES: [&str; 6] = ["disable", "prefer", "require", "require+root", "verify-ca", "verify-full"];

type Row = (Option<ServerCertificate>, &'static str, &'static str, [&'static str; 6]);

/// What the server shows; the role; the client certificate; what comes of each mode.
#[rustfmt::skip]
const OUTCOMES: &[Row] = {
    use ServerCertificate::{Expired, Good, SelfSigned, SelfSignedAuthority, WrongHost};
    const E: &str = "expired";
    const H: &str = "hba";
    const M: &str = "missing";
    const N: &str = "no tls";
    const R: &str = "refused";
    const S: &str = "self";
    const T: &str = "tls";
    &[
        //                                            disable  prefer   require  +root  verify-ca verify-full
        (Some(Good),                "anyhow",    "none",    ["plain", T,       T,       "ca",    "ca",    "full"]),
        (Some(Good),                "anyhow",    "good",    ["plain", T,       T,       "ca",    "ca",    "full"]),
        (Some(Good),                "encrypted", "none",    [H,       T,       T,       "ca",    "ca",    "full"]),
        (Some(Good),                "certified", "none",    [H,       M,       M,       M,       M,       M]),
        (Some(Good),                "certified", "good",    [H,       T,       T,       "ca",    "ca",    "full"]),
        (Some(Good),                "certified", "other",   [H,       "role",  "role",  "role",  "role",  "role"]),
        (Some(Good),                "certified", "foreign", [H,       R,       R,       R,       R,       R]),
        (Some(Good),                "certified", "expired", [H,       R,       R,       R,       R,       R]),
        (Some(Good),                "anyhow",    "foreign", ["plain", "plain", R,       R,       R,       R]),

        (Some(Expired),             "anyhow",    "none",    ["plain", T,       T,       E,       E,       E]),
        (Some(Expired),             "certified", "none",    [H,       M,       M,       E,       E,       E]),
        (Some(Expired),             "certified", "good",    [H,       T,       T,       E,       E,       E]),

        (Some(WrongHost),           "anyhow",    "none",    ["plain", T,       T,       "ca",    "ca",    "host"]),
        (Some(WrongHost),           "certified", "none",    [H,       M,       M,       M,       M,       "host"]),
        (Some(WrongHost),           "certified", "good",    [H,       T,       T,       "ca",    "ca",    "host"]),

        (Some(SelfSigned),          "anyhow",    "none",    ["plain", T,       T,       S,       S,       S]),
        (Some(SelfSigned),          "certified", "none",    [H,       M,       M,       S,       S,       S]),
        (Some(SelfSigned),          "certified", "good",    [H,       T,       T,       S,       S,       S]),
        (Some(SelfSignedAuthority), "anyhow",    "none",    ["plain", T,       T,       S,       S,       S]),

        (None,                      "anyhow",    "none",    ["plain", "plain", N,       N,       N,       N]),
        (None,                      "anyhow",    "good",    ["plain", "plain", N,       N,       N,       N]),
        (None,                      "certified", "good",    [H,       H,       N,       N,       N,       N]),
    ]
};

#[tokio::test]
async fn each_mode_with_each_certificate_ends_as_it_should() {
    let Some(server) = TestServer::start(Options::new().with_hba(HBA).with_tls()) else { return };
    server.sql("CREATE ROLE certified LOGIN; CREATE ROLE encrypted LOGIN; CREATE ROLE anyhow LOGIN");
    let clients = Clients::of(&server);
    let mut shown = Some(ServerCertificate::Good);
    let mut wrong = Vec::new();
    for (presented, role, client, outcomes) in OUTCOMES {
        if *presented != shown {
            match presented {
                Some(certificate) => server.present(*certificate),
                None => server.end_tls(),
            }
            shown = *presented;
        }
        for (mode, expected) in MODES.into_iter().zip(outcomes) {
            let url = url(&server, role, mode, clients.named(client));
            let outcome = reach(&url).await;
            if word(&outcome) != *expected {
                let why = outcome.map_or_else(|error| everything(&error), |(_, connected)| format!("{connected:?}"));
                wrong.push(format!("{presented:?}, role {role}, client {client}, {mode}: not `{expected}`: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{} outcomes as expected", OUTCOMES.len() * MODES.len());
}

struct Clients {
    good: ClientFiles,
    other: ClientFiles,
    foreign: ClientFiles,
    expired: ClientFiles,
}

impl Clients {
    fn of(server: &TestServer) -> Self {
        Self {
            good: server.client(ClientCertificate::Good("certified")),
            other: server.client(ClientCertificate::Good("somebody else")),
            foreign: server.client(ClientCertificate::Foreign("certified")),
            expired: server.client(ClientCertificate::Expired("certified")),
        }
    }

    fn named(&self, name: &str) -> Option<&ClientFiles> {
        match name {
            "good" => Some(&self.good),
            "other" => Some(&self.other),
            "foreign" => Some(&self.foreign),
            "expired" => Some(&self.expired),
            _ => None,
        }
    }
}

fn url(server: &TestServer, role: &str, mode: &str, client: Option<&ClientFiles>) -> String {
    let (mode, with_root) = mode.split_once('+').map_or((mode, mode.starts_with("verify")), |(mode, _)| (mode, true));
    let mut url = format!("{}?sslmode={mode}", server.url(role, "postgres"));
    if with_root {
        url.push_str(&format!("&sslrootcert={}", server.root_certificate().display()));
    }
    if let Some(files) = client {
        url.push_str(&format!("&sslcert={}&sslkey={}", files.certificate.display(), files.key.display()));
    }
    url
}
