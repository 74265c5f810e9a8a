//! A server on loopback, and a client that writes what it likes.

use std::net::{IpAddr, SocketAddr};

use axum::{Router, extract::ConnectInfo};
use http::request::Parts;
use indelible_middleware::{Clients, Network};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub(crate) struct Lab {
    pub(crate) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The address of a connection, as axum tells it.
pub(crate) fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip())
}

/// Clients of whom the lab is the proxy: each request names its address.
pub(crate) fn proxied() -> Clients {
    let network = Network { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..Network::default() };
    Clients::new(network).unwrap().peer(peer)
}

impl Lab {
    pub(crate) async fn new(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let serving = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { address, serving }
    }

    /// Writes a request, and leaves the connection open.
    pub(crate) async fn begin(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What comes back for a request, written as it is.
    pub(crate) async fn raw(&self, text: &str) -> Reply {
        reply(self.begin(text).await).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{headers}");
        self.raw(&format!("{head}content-length: {length}\r\n\r\n{body}")).await
    }

    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.ask("GET", path, headers, "").await
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Reads until the server ends.
pub(crate) async fn reply(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    // A server that refuses a body may end the connection while the body is under way.
    let _reset = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem of this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.header("content-type")), (status, Some("application/problem+json")), "{self:?}");
        let document = self.json();
        assert_eq!((&document["status"], &document["code"]), (&status.into(), &code.into()), "{self:?}");
        for name in ["type", "title", "detail"] {
            assert!(document[name].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        }
    }
}
