//! Certificates of clients: who is let in by one, and how each that is not is refused.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use indelible::Options;
use indelible_server::config::Clients;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};

use crate::{
    lab::{Authority, DAY, Pair, Secure, connected, put},
    tls::is_there,
    world::{LOG, Reply, World, config, wait_for},
};

struct Club {
    world: World,
    authority: Authority,
}

impl Club {
    fn new(clients: Clients, with_list: bool) -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new("clients"));
        let mut config = config();
        (config.plain_http, config.tls.reload_ms, config.tls.client_certificates) = (false, 0, clients);
        if clients == Clients::Required {
            config.limits.failures = 3;
        }
        config.tls.client_ca = Some(put(&dir.path().join("clients.pem"), &authority.pem()));
        if with_list {
            let list = authority.revoking(&[], SystemTime::now() + DAY);
            config.tls.client_crl = Some(put(&dir.path().join("clients.crl"), &list));
        }
        let mut world = World::with(config, Options::default());
        world.keep(dir);
        Self { world, authority }
    }

    /// Binds a certificate; the answer, to the administrator by a token.
    fn bind(&self, role: &str, certificate: &Value, by: Option<&Pair>) -> Reply {
        let new = json!({ "certificate": certificate, "logs": ["*"], "name": "c", "role": role });
        self.admin(by, "POST", "/v1/api-keys", Some(&new))
    }

    fn admin(&self, by: Option<&Pair>, method: &str, path: &str, body: Option<&Value>) -> Reply {
        Secure::connect(&self.world, by).ask(method, path, Some(&self.world.admin), body)
    }

    fn ask(&self, pair: &Pair, path: &str) -> Option<Reply> {
        Secure::connect(&self.world, Some(pair)).maybe("GET", path, None, None)
    }

    fn status(&self, pair: &Pair) -> Option<u16> {
        self.ask(pair, "/v1/logs").map(|reply| reply.status)
    }

    /// Entries of the server's own log, once one is there that has these words.
    fn recorded(&self, by: Option<&Pair>, words: &[&str]) {
        let path = "/v1/logs/t.example%2F_server/entries?limit=1000";
        wait_for(|| {
            let page = self.admin(by, "GET", path, None).status(200).json();
            let entries = page["entries"].as_array().unwrap();
            entries.iter().any(|entry| words.iter().all(|word| entry.to_string().contains(word))).then_some(())
        });
    }
}

#[test]
fn a_certificate_is_a_key_with_role_logs_and_an_end() {
    let mut club = Club::new(Clients::Optional, false);
    let one = club.authority.client(1, &["billing.example.com"]);
    let key = club.bind("reader", &json!({ "sha256": one.sha256() }), None).status(201).json();
    assert_eq!((&key["token"], &key["certificate"]["sha256"]), (&Value::Null, &json!(one.sha256())));
    let named = club.authority.client(2, &["audit.example.com", "spiffe://example.com/audit"]);
    club.bind("auditor", &json!({ "uri": "spiffe://example.com/audit" }), None).status(201);
    assert_eq!((club.status(&one), club.status(&named)), (Some(200), Some(200)));
    club.ask(&one, "/metrics").unwrap().problem(403, "forbidden");
    club.ask(&named, "/metrics").unwrap().status(200);
    // A name goes on with the next certificate, one certificate does not.
    let next = club.authority.client(3, &["spiffe://example.com/audit"]);
    assert_eq!(club.status(&next), Some(200));
    assert_eq!(club.status(&club.authority.client(4, &["billing.example.com"])), Some(401));
    // A token stands above the certificate, also one that is wrong.
    let mut both = Secure::connect(&club.world, Some(&one));
    both.ask("GET", "/metrics", Some(&club.world.admin), None).status(200);
    both.ask("GET", "/v1/logs", Some("idl_0_0"), None).problem(401, "unauthorised");
    // What is known of it is what the log says.
    club.world.stop();
    club.world.start();
    assert_eq!((club.status(&one), club.status(&named)), (Some(200), Some(200)));
    let id = key["id"].as_str().unwrap();
    let mut open = Secure::connect(&club.world, Some(&one));
    open.ask("GET", "/v1/logs", None, None).status(200);
    club.admin(None, "DELETE", &format!("/v1/api-keys/{id}"), None).status(200);
    open.ask("GET", "/v1/logs", None, None).problem(401, "unauthorised");
    club.recorded(None, &["api_key.create", &one.sha256()]);
    club.recorded(None, &["api_key.revoke", id]);
}

#[test]
fn a_certificate_has_one_key_at_a_time_and_is_rotated_to_another() {
    let club = Club::new(Clients::Optional, false);
    let (one, two) = (club.authority.client(1, &["a.example"]), club.authority.client(2, &["b.example", "a.example"]));
    let sha = |pair: &Pair| json!({ "sha256": pair.sha256() });
    let key = club.bind("reader", &sha(&one), None).status(201).json();
    club.bind("reader", &sha(&one), None).problem(409, "conflict");
    let path = format!("/v1/api-keys/{}/rotate", key["id"].as_str().unwrap());
    let rotate = |body: Value| club.admin(None, "POST", &path, Some(&body));
    rotate(json!({ "overlap_seconds": 60 })).problem(400, "bad-request");
    rotate(json!({ "overlap_seconds": 60, "certificate": sha(&one) })).problem(409, "conflict");
    let next = rotate(json!({ "overlap_seconds": 60, "certificate": sha(&two) })).status(201).json();
    assert_eq!(next["role"], "reader");
    assert_eq!((club.status(&one), club.status(&two)), (Some(200), Some(200)));
    let path = format!("/v1/api-keys/{}", next["id"].as_str().unwrap());
    club.admin(None, "DELETE", &path, None).status(200);
    // No name makes a certificate good again whose key was revoked.
    club.bind("reader", &json!({ "dns": "A.Example" }), None).status(201);
    assert_eq!(club.status(&two), Some(401));
    assert_eq!(club.status(&club.authority.client(3, &["a.example"])), Some(200));
    club.bind("reader", &sha(&two), None).status(201);
    assert_eq!(club.status(&two), Some(200), "a new key for it");
    // Two names, two keys: it is not clear whose request it is.
    club.bind("admin", &json!({ "dns": "c.example" }), None).status(201);
    assert_eq!(club.status(&club.authority.client(4, &["a.example", "c.example"])), Some(401));
    for bad in [json!({}), json!({ "cn": "a" }), json!({ "dns": "*.example" }), json!("a"), json!({ "sha256": "00" })] {
        club.bind("reader", &bad, None).problem(400, "bad-request");
    }
}

#[test]
fn a_key_for_a_certificate_is_not_made_where_none_is_asked_for() {
    let world = World::new();
    let new = json!({ "certificate": { "dns": "a.example" }, "logs": ["*"], "name": "c", "role": "reader" });
    let refused = world.ask("POST", "/v1/api-keys", Some(&new)).problem(400, "bad-request");
    assert!(refused["detail"].as_str().unwrap().contains("client_ca"));
}

#[test]
fn who_is_not_trusted_gets_no_connection_and_that_is_on_record() {
    let club = Club::new(Clients::Required, false);
    let good = club.authority.client(1, &["a.example"]);
    club.bind("reader", &json!({ "dns": "a.example" }), Some(&good)).status(201);
    assert_eq!(club.status(&good), Some(200));
    let stranger = Authority::new("clients").client(1, &["a.example"]);
    let ended = SystemTime::now() - DAY;
    let old = club.authority.issue(2, &["a.example"], ExtendedKeyUsagePurpose::ClientAuth, ended);
    let server = club.authority.issue(3, &["a.example"], ExtendedKeyUsagePurpose::ServerAuth, SystemTime::now() + DAY);
    assert!(Secure::connect(&club.world, None).maybe("GET", "/healthz", None, None).is_none(), "none is shown");
    for pair in [&old, &server, &stranger] {
        assert_eq!(club.status(pair), None);
    }
    // Known to the authority, and of no key: a connection, and nothing on it.
    let nobody = club.authority.client(5, &["n.example"]);
    club.ask(&nobody, "/healthz").unwrap().status(200);
    club.ask(&nobody, "/v1/logs").unwrap().problem(429, "too-many-requests");
    club.recorded(Some(&good), &["auth.lockout", "the certificate is "]);
    let metrics = club.admin(Some(&good), "GET", "/metrics", None).text();
    assert!(metrics.contains("indelible_client_certificates_refused_total 4"), "{metrics}");
}

#[test]
fn a_revoked_certificate_is_refused_also_on_a_connection_that_is_open() {
    let club = Club::new(Clients::Optional, true);
    let (one, two) = (club.authority.client(1, &["a.example"]), club.authority.client(2, &["a.example"]));
    club.bind("reader", &json!({ "dns": "a.example" }), None).status(201);
    let mut open = [Secure::connect(&club.world, Some(&one)), Secure::connect(&club.world, Some(&two))];
    for client in &mut open {
        client.ask("GET", "/v1/logs", None, None).status(200);
    }
    let list = club.world.config().tls.client_crl.clone().unwrap();
    put(&list, &club.authority.revoking(&[one.serial], SystemTime::now() + DAY));
    club.world.reload();
    let [first, second] = &mut open;
    let refused = first.ask("GET", "/v1/logs", None, None).problem(401, "unauthorised");
    assert!(refused["detail"].as_str().unwrap().contains("revoked"), "{refused}");
    second.ask("GET", "/v1/logs", None, None).status(200);
    assert_eq!((club.status(&one), club.status(&two)), (None, Some(200)));
    // A list that has ended is none.
    put(&list, &club.authority.revoking(&[], SystemTime::now() - DAY));
    club.world.reload();
    assert_eq!(club.status(&two), None);
    second.ask("GET", "/v1/logs", None, None).problem(401, "unauthorised");
}

#[test]
fn who_follows_a_log_is_let_go_with_the_certificate() {
    let club = Club::new(Clients::Optional, true);
    let one = club.authority.client(1, &["a.example"]);
    club.bind("reader", &json!({ "dns": "a.example" }), None).status(201);
    club.admin(None, "POST", "/v1/logs", Some(&json!({ "origin": LOG }))).status(201);
    let mut stream = connected(&club.world, Some(&one), &["http/1.1"]);
    stream.write_all(b"GET /v1/logs/t.example%2Fa/tail?from=0 HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let mut said = String::new();
    let mut hear = |word: &str| {
        let mut bytes = [0; 4096];
        while !said.contains(word) {
            let count = stream.read(&mut bytes).unwrap_or(0);
            assert!(count > 0, "no `{word}` in {said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    hear("retry: ");
    let list = club.world.config().tls.client_crl.clone().unwrap();
    put(&list, &club.authority.revoking(&[one.serial], SystemTime::now() + DAY));
    club.world.reload();
    hear("\"reason\":\"key-ended\"");
}

#[test]
fn a_certificate_that_ends_ends_its_connections_too() {
    let club = Club::new(Clients::Optional, false);
    let soon = SystemTime::now() + Duration::from_secs(4);
    let brief = club.authority.issue(1, &["a.example"], ExtendedKeyUsagePurpose::ClientAuth, soon);
    club.bind("reader", &json!({ "dns": "a.example" }), None).status(201);
    let mut client = Secure::connect(&club.world, Some(&brief));
    client.ask("GET", "/v1/logs", None, None).status(200);
    while SystemTime::now() < soon + Duration::from_secs(1) {
        if client.ask("GET", "/healthz", None, None).status != 200 {
            panic!("what needs no key needs no certificate");
        }
    }
    client.ask("GET", "/v1/logs", None, None).problem(401, "unauthorised");
    assert_eq!(club.status(&brief), None, "nor is there another connection");
}

#[test]
fn openssl_shows_a_certificate() {
    if !is_there("openssl", "version") {
        return;
    }
    let club = Club::new(Clients::Required, false);
    let good = club.authority.client(1, &["a.example"]);
    club.bind("reader", &json!({ "sha256": good.sha256() }), Some(&good)).status(201);
    let s_client = |pair: Option<&Pair>| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", "-alpn", "http/1.1", "-CAfile"]);
        command.arg(club.world.certificate.as_ref().unwrap()).args(["-connect", &club.world.address.to_string()]);
        if let Some(pair) = pair {
            let certificate = put(&club.world.at("client.crt"), &pair.certificate);
            command.arg("-cert").arg(certificate).arg("-key").arg(put(&club.world.at("client.pem"), &pair.key));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let request = b"GET /v1/logs HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
        // Where the handshake is refused there is nobody to write to.
        let _ = child.stdin.as_mut().unwrap().write_all(request);
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = s_client(Some(&good));
    assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
    let said = s_client(None);
    assert!(said.contains("certificate required") && !said.contains("HTTP/1.1"), "{said}");
    let said = s_client(Some(&Authority::new("others").client(1, &["a.example"])));
    assert!(said.contains("unknown ca") && !said.contains("HTTP/1.1"), "{said}");
    let ended = SystemTime::now() - DAY;
    let said = s_client(Some(&club.authority.issue(2, &["a.example"], ExtendedKeyUsagePurpose::ClientAuth, ended)));
    assert!(said.contains("certificate expired") && !said.contains("HTTP/1.1"), "{said}");
}

#[test]
fn nobody_takes_over_anothers_certificate() {
    let club = Club::new(Clients::Optional, false);
    let victim = club.authority.client(1, &["billing.example.com"]);
    club.bind("reader", &json!({ "dns": "billing.example.com" }), None).status(201);
    let new = json!({ "logs": ["t.example/*"], "name": "tenant", "role": "admin" });
    let tenant = club.admin(None, "POST", "/v1/api-keys", Some(&new)).status(201).json();
    let as_tenant = |method: &str, path: &str, body: &Value| {
        let mut client = Secure::connect(&club.world, None);
        client.ask(method, path, Some(tenant["token"].as_str().unwrap()), Some(body))
    };
    let own = json!({ "logs": ["t.example/a"], "name": "w", "role": "writer" });
    let own = as_tenant("POST", "/v1/api-keys", &own).status(201).json();
    let rotate = format!("/v1/api-keys/{}/rotate", own["id"].as_str().unwrap());
    // Neither that of somebody else, nor a name that nobody has yet.
    for certificate in [json!({ "sha256": victim.sha256() }), json!({ "dns": "next.example.com" })] {
        let new = json!({ "certificate": certificate, "logs": ["t.example/a"], "name": "w", "role": "writer" });
        as_tenant("POST", "/v1/api-keys", &new).problem(403, "forbidden");
        let rotation = json!({ "certificate": certificate, "overlap_seconds": 60 });
        as_tenant("POST", &rotate, &rotation).problem(403, "forbidden");
        assert_eq!(club.status(&victim), Some(200));
    }
    club.bind("reader", &json!({ "dns": "next.example.com" }), None).status(201);
}
