//! Addresses that are let in or not, proxies that are believed or not, and clients that are done with sending.

use std::{
    io::Write as _,
    net::{Shutdown, SocketAddr, TcpStream},
};

use indelible::Options;
use indelible_server::network::ForwardedBy;

use crate::{
    lab::connected,
    world::{Client, LOG, Reply, World, config, event, events_of, reply, wait_for},
};

fn world(change: impl FnOnce(&mut indelible_server::Config)) -> World {
    let mut config = config();
    change(&mut config);
    World::with(config, Options::default())
}

fn networks(texts: &[&str]) -> Vec<indelible_server::network::Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A connection from another loopback address.
fn from(local: &str, to: SocketAddr) -> Client {
    let local: SocketAddr = format!("{local}:0").parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(local).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    Client::of(stream)
}

fn get(client: &mut Client, path: &str, more: &str) -> Option<Reply> {
    client.write(format!("GET {path} HTTP/1.1\r\nhost: t\r\n{more}\r\n").as_bytes());
    client.reply()
}

#[test]
fn an_address_that_is_not_let_in_gets_no_connection_and_is_on_record() {
    for (allow, deny) in
        [(vec![], vec!["127.0.0.2"]), (vec!["127.0.0.1"], vec![]), (vec!["127.0.0.0/8"], vec!["127.0.0.2/31"])]
    {
        let world = world(|config| (config.network.allow, config.network.deny) = (networks(&allow), networks(&deny)));
        assert!(get(&mut from("127.0.0.2", world.address), "/healthz", "").is_none(), "{allow:?} {deny:?}");
        world.client().ask("GET", "/healthz", None, None).status(200);
        let metrics = world.ask("GET", "/metrics", None).text();
        assert!(metrics.contains("indelible_addresses_refused_total 1"), "{metrics}");
        wait_for(|| {
            let text = world.ask("GET", "/v1/logs/t.example%2F_server/entries?limit=1000", None).text();
            (text.contains("address.refuse") && text.contains("127.0.0.2")).then_some(())
        });
    }
}

#[test]
fn only_a_listed_proxy_says_who_its_client_is() {
    let world = world(|config| {
        config.network.deny = networks(&["203.0.113.0/24"]);
        config.network.trusted_proxies = networks(&["127.0.0.1"]);
        config.limits.failures = 2;
        config.limits.connections_per_address = 2;
    });
    // All of the proxy's connections, more than one address may have.
    let mut open: Vec<Client> = (0..4).map(|_| world.client()).collect();
    for client in &mut open {
        assert_eq!(get(client, "/healthz", "").unwrap().status, 200);
    }
    let mut rows = vec![
        ("x-forwarded-for: 203.0.113.7\r\n", 403),
        ("x-forwarded-for: 198.51.100.1, 203.0.113.7\r\n", 403),
        ("x-forwarded-for: 203.0.113.7, 198.51.100.1\r\n", 200),
        ("x-forwarded-for: 203.0.113.7\r\nx-forwarded-for: 198.51.100.1\r\n", 200),
        ("forwarded: for=203.0.113.7\r\n", 200),
        ("x-forwarded-for: unknown\r\n", 400),
        ("x-forwarded-for: \r\n", 400),
    ];
    for (header, expected) in rows.drain(..) {
        assert_eq!(get(&mut world.client(), "/healthz", header).unwrap().status, expected, "{header}");
    }
    get(&mut world.client(), "/healthz", "x-forwarded-for: 203.0.113.7\r\n").unwrap().problem(403, "address-refused");
    // Who is no proxy of ours is who they are.
    let liar = get(&mut from("127.0.0.2", world.address), "/healthz", "x-forwarded-for: 203.0.113.7\r\n");
    assert_eq!(liar.unwrap().status, 200);
    // Failures are the client's, not the proxy's.
    let wrong = |address: &str| {
        let more = format!("authorization: Bearer idl_0_0\r\nx-forwarded-for: {address}\r\n");
        get(&mut world.client(), "/v1/logs", &more).unwrap().status
    };
    assert_eq!((wrong("198.51.100.1"), wrong("198.51.100.1"), wrong("198.51.100.2")), (401, 429, 401));
}

#[test]
fn the_standard_header_is_believed_where_it_is_named() {
    let world = world(|config| {
        config.network.deny = networks(&["2001:db8::/32"]);
        config.network.trusted_proxies = networks(&["127.0.0.0/8"]);
        config.network.forwarded_by = ForwardedBy::Forwarded;
    });
    for (header, expected) in [
        ("forwarded: for=\"[2001:db8::7]:443\";proto=https\r\n", 403),
        ("forwarded: for=198.51.100.1, for=127.0.0.9\r\n", 200),
        ("x-forwarded-for: 2001:db8::7\r\n", 200),
        ("forwarded: proto=https\r\n", 400),
    ] {
        assert_eq!(get(&mut world.client(), "/healthz", header).unwrap().status, expected, "{header}");
    }
}

#[test]
fn a_client_that_is_done_with_sending_gets_its_answer() {
    let world = World::with_log();
    let request = |at: usize| {
        let (path, token, body) = (events_of(LOG), &world.admin, event(&at.to_string()).to_string());
        format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for at in 0..20 {
        let mut stream = TcpStream::connect(world.address).unwrap();
        stream.write_all(request(at).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut client = Client::of(stream);
        client.reply().expect("an answer").status(201);
        assert!(client.reply().is_none(), "and then the end");
    }
    // A body that is not whole gets no receipt.
    let whole = request(20);
    let mut stream = TcpStream::connect(world.address).unwrap();
    stream.write_all(&whole.as_bytes()[..whole.len() - 1]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(Client::of(stream).reply().is_none_or(|reply| reply.status == 400));
    world.ask("GET", &format!("{}/20", events_of(LOG)), None).status(404);
    world.ask("GET", &format!("{}/19", events_of(LOG)), None).status(200);
}

#[test]
fn the_same_over_tls() {
    let world = World::second();
    world.create(LOG);
    for at in 0..5 {
        let (path, token, body) = (events_of(LOG), &world.admin, event(&at.to_string()).to_string());
        let mut stream = connected(&world, None, &["http/1.1"]);
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        reply(&mut std::io::BufReader::new(stream), false).expect("an answer").status(201);
    }
}
