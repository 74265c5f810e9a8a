//! One request at a time over HTTP/1.1, on a connection that is made or was kept.
//!
//! It says of a request that failed whether anything was sent, and nothing is sent twice here. Answers and times are bounded by [`Limits`].

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    address::ServerUrl,
    error::ClientError,
    settings::{Limits, Settings},
    tls,
};

/// A connection is not used again after so long: the server lets go of quiet ones after 10 s by default.
const MAX_IDLE: Duration = Duration::from_secs(5);
/// What the server knows us by.
const AGENT: &str = concat!("indelible-client/", env!("CARGO_PKG_VERSION"));

/// The longest answer to what is answered shortly: a receipt, a proof, a tile, a report, a list of logs or keys. What is read of a lying server becomes values, which take a
/// multiple of its bytes.
const SHORT_ANSWER_BYTES: usize = 4 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query, as they are sent.
    pub(crate) path: String,
    pub(crate) media_type: &'static str,
    pub(crate) body: Bytes,
    /// The longest answer; never more than [`Limits::answer_bytes`].
    pub(crate) answer_bytes: usize,
}

impl Ask {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        let (method, answer_bytes) = (Method::GET, SHORT_ANSWER_BYTES);
        Self { method, path: path.into(), media_type: "", body: Bytes::new(), answer_bytes }
    }

    pub(crate) fn post(path: impl Into<String>, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, media_type, body: body.into(), ..Self::get(path) }
    }

    /// With an answer as long as the limits allow: what has as many parts as were asked for.
    pub(crate) fn answered_at_length(self) -> Self {
        Self { answer_bytes: usize::MAX, ..self }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// `Retry-After`, in seconds or as a date.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        httpdate::parse_http_date(text).ok()?.duration_since(std::time::SystemTime::now()).ok()
    }

    pub(crate) fn is_problem(&self) -> bool {
        let media_type = self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        media_type.starts_with("application/problem+json")
    }
}

type Sender = SendRequest<Full<Bytes>>;

struct Idle {
    sender: Sender,
    since: Instant,
}

/// The connections to one server.
pub(crate) struct Transport {
    server: ServerUrl,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    secure: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<Idle>>,
    limits: Limits,
}

impl Transport {
    pub(crate) fn new(settings: &Settings) -> Result<Self, ClientError> {
        let server = settings.server.clone();
        let wrong = |detail: &str| ClientError::Settings { place: server.to_string(), detail: detail.to_owned() };
        let secure = if server.is_secure() {
            let name = ServerName::try_from(server.host().to_owned());
            let name = name.map_err(|_| wrong("its host is no name that a certificate could have"))?;
            let config = tls::config(&settings.trust, settings.identity.as_ref())?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let host =
            HeaderValue::from_str(&server.authority()).map_err(|_| wrong("its host cannot stand in a header"))?;
        let authorization = settings.token.as_ref().map(|token| {
            let mut value =
                HeaderValue::from_str(&token.header()).map_err(|_| wrong("its token cannot stand in a header"))?;
            value.set_sensitive(true);
            Ok::<_, ClientError>(value)
        });
        let authorization = authorization.transpose()?;
        Ok(Self { server, host, authorization, secure, idle: Mutex::default(), limits: settings.limits })
    }

    pub(crate) fn server(&self) -> String {
        self.server.to_string()
    }

    /// Sends once, and gives back whatever was answered.
    pub(crate) async fn send(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let mut request = self.request(ask)?;
        loop {
            let (mut sender, kept) = match self.take_idle() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            let answering = async {
                match sender.try_send_request(request).await {
                    Ok(response) => Ok(self.read(response, ask.answer_bytes).await),
                    Err(error) => Err(error),
                }
            };
            match timeout(self.limits.answer, answering).await {
                Ok(Ok(answer)) => {
                    let answer = answer?;
                    self.keep(sender);
                    return Ok(answer);
                }
                Ok(Err(mut error)) => match error.take_message() {
                    // A connection that the server had closed meanwhile; nothing of the request went out.
                    Some(unsent) if kept => request = unsent,
                    Some(_) => return Err(self.unreachable(error.into_error())),
                    None => return Err(self.no_answer(error.into_error())),
                },
                Err(_) => return Err(self.no_answer(late("no whole answer came in time"))),
            }
        }
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut builder = Request::builder().method(ask.method.clone()).uri(ask.path.as_str());
        if let Some(headers) = builder.headers_mut() {
            headers.insert(HOST, self.host.clone());
            headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
            headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
            if !ask.media_type.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(ask.media_type));
            }
            if let Some(authorization) = &self.authorization {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
        }
        let wrong =
            |error: hyper::http::Error| ClientError::Settings { place: ask.path.clone(), detail: error.to_string() };
        builder.body(Full::new(ask.body.clone())).map_err(wrong)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(kept) = idle.pop() {
            if kept.since.elapsed() < MAX_IDLE && kept.sender.is_ready() {
                return Some(kept.sender);
            }
        }
        None
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.limits.idle_connections {
            idle.push(Idle { sender, since: Instant::now() });
        }
    }

    async fn read(&self, response: hyper::Response<Incoming>, most: usize) -> Result<Answer, ClientError> {
        let (head, body) = response.into_parts();
        let most = most.min(self.limits.answer_bytes);
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let detail = format!("it has more than {most} bytes");
                return ClientError::Answer { server: self.server(), detail };
            }
            self.no_answer(io::Error::other(error))
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    async fn connect(&self) -> Result<Sender, ClientError> {
        let connecting = async {
            let stream = TcpStream::connect((self.server.host(), self.server.port())).await;
            let stream = stream.map_err(|error| self.unreachable(error))?;
            stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
            match &self.secure {
                None => self.handshake(stream).await,
                Some((connector, name)) => {
                    let stream = connector.connect(name.clone(), stream).await;
                    self.handshake(stream.map_err(|error| self.tls_failed(error))?).await
                }
            }
        };
        let connected = timeout(self.limits.connect, connecting).await;
        connected.unwrap_or_else(|_| Err(self.unreachable(late("no connection came about in time"))))
    }

    async fn handshake<S>(&self, stream: S) -> Result<Sender, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // What becomes of the connection is told by what is sent over it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// A certificate that is not the right one is not a passing trouble.
    fn tls_failed(&self, error: io::Error) -> ClientError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let untrusted = matches!(
            inner,
            Some(
                rustls::Error::InvalidCertificate(_)
                    | rustls::Error::NoCertificatesPresented
                    | rustls::Error::AlertReceived(_)
                    | rustls::Error::PeerIncompatible(_)
            )
        );
        if untrusted {
            return ClientError::Untrusted { server: self.server(), source: Arc::new(error) };
        }
        self.unreachable(error)
    }

    fn unreachable(&self, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::Unreachable { server: self.server(), source: Arc::new(error) }
    }

    fn no_answer(&self, error: impl std::error::Error + Send + Sync + 'static) -> ClientError {
        ClientError::NoAnswer { server: self.server(), source: Arc::new(error) }
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
