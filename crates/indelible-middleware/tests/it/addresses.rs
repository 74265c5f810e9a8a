//! Who is let in, over connections from several loopback addresses and behind a proxy.

use axum::{Extension, Router, routing::get};
use indelible_middleware::{AddressLayer, Cidr, ClientAddress, Clients, Network, network::ForwardedBy};
use tokio::net::TcpSocket;

use crate::lab::{Lab, Reply, peer, reply};

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn lab(network: Network) -> Lab {
    let clients = Clients::new(network).unwrap().peer(peer);
    let who = |Extension(ClientAddress(address)): Extension<ClientAddress>| async move { address.to_string() };
    Lab::new(Router::new().route("/", get(who)).layer(AddressLayer::new(clients))).await
}

/// Asks from a loopback address of one's own.
async fn from(lab: &Lab, local: &str, header: &str) -> Reply {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(lab.address).await.unwrap();
    let text = format!("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{header}\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await.unwrap();
    reply(stream).await
}

/// From where, with which header, and what comes back: the client's address, or a problem.
type Row<'a> = (&'a str, &'a str, Result<&'a str, (u16, &'a str)>);

#[tokio::test]
async fn lists_decide_and_the_client_behind_a_trusted_proxy_is_whom_it_names() {
    let network = Network {
        allow: cidrs(&["127.0.0.0/30", "203.0.113.0/24", "2001:db8::/32"]),
        deny: cidrs(&["127.0.0.2", "203.0.113.66"]),
        trusted_proxies: cidrs(&["127.0.0.9", "10.0.0.0/8"]),
        forwarded_by: ForwardedBy::XForwardedFor,
    };
    let lab = lab(network).await;
    let rows: [Row<'_>; 13] = [
        ("127.0.0.1", "", Ok("127.0.0.1")),
        ("127.0.0.2", "", Err((403, "address-refused"))),
        ("127.0.0.5", "", Err((403, "address-refused"))),
        ("127.0.0.1", "x-forwarded-for: 203.0.113.1\r\n", Ok("127.0.0.1")),
        ("127.0.0.9", "x-forwarded-for: 203.0.113.1\r\n", Ok("203.0.113.1")),
        ("127.0.0.9", "x-forwarded-for: 203.0.113.66, 203.0.113.1, 10.1.1.1\r\n", Ok("203.0.113.1")),
        ("127.0.0.9", "x-forwarded-for: 203.0.113.1, 203.0.113.66\r\n", Err((403, "address-refused"))),
        ("127.0.0.9", "x-forwarded-for: ::ffff:203.0.113.66\r\n", Err((403, "address-refused"))),
        ("127.0.0.9", "x-forwarded-for: [2001:db8::7]:443\r\n", Ok("2001:db8::7")),
        ("127.0.0.9", "x-forwarded-for: 198.51.100.1\r\n", Err((403, "address-refused"))),
        ("127.0.0.9", "x-forwarded-for: nobody\r\n", Err((400, "address-unknown"))),
        (
            "127.0.0.9",
            "x-forwarded-for: 203.0.113.1\r\nx-forwarded-for: 203.0.113.66\r\n",
            Err((403, "address-refused")),
        ),
        ("127.0.0.9", "", Err((403, "address-refused"))),
    ];
    for (local, header, expected) in rows {
        let reply = from(&lab, local, header).await;
        match expected {
            Ok(address) => assert_eq!((reply.status, reply.body.as_str()), (200, address), "{local} {header}"),
            Err((status, code)) => reply.problem(status, code),
        }
    }
}

#[tokio::test]
async fn the_standard_header_is_believed_where_it_is_the_one_that_is_named() {
    let network = Network {
        trusted_proxies: cidrs(&["127.0.0.0/8"]),
        forwarded_by: ForwardedBy::Forwarded,
        ..Network::default()
    };
    let lab = lab(network).await;
    let both = "forwarded: for=203.0.113.1;proto=https\r\nx-forwarded-for: 198.51.100.1\r\n";
    assert_eq!(from(&lab, "127.0.0.1", both).await.body, "203.0.113.1");
}

#[tokio::test]
async fn a_request_without_an_address_is_let_in_by_nobody() {
    let app = Router::new().route("/", get(|| async { "in" })).layer(AddressLayer::new(Clients::default()));
    Lab::new(app).await.get("/", &[]).await.problem(500, "address-unknown");
}

#[test]
fn lists_that_cannot_be_right_are_refused() {
    let all = Network { trusted_proxies: cidrs(&["0.0.0.0/0"]), ..Network::default() };
    assert!(Clients::new(all).unwrap_err().contains("trusted_proxies"));
}
