//! A server as a whole: requests and their retries, logs, API keys.
//!
//! What is sent again by itself, where the answer was *busy*, *unavailable*, *unclear* or none: whatever reads, events (they have ids), and the wish to have a log verified.
//! What makes something (a log, a key) is sent again only where surely nothing came of it.

use std::{sync::Arc, time::Instant};

use hyper::{Method, StatusCode};
use indelible_core::{checkpoint::Origin, percent};
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    address::LogUrl,
    error::ClientError,
    log::LogClient,
    problem::Problem,
    retry::Backoff,
    settings::{Limits, Retry, Settings},
    transport::{Answer, Ask, Transport},
    wire::{ApiKey, ApiKeys, Logs, NewApiKey, RegisteredLog},
};

/// JSON.
pub(crate) const JSON: &str = "application/json";

/// How a request may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// As often as need be: twice is as once.
    Freely,
    /// Only where surely nothing came of it.
    IfWithoutEffect,
}

/// A client of one server. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    retry: Retry,
    limits: Limits,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.transport.server()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client; nothing is sent yet. It is used from within a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        let transport = Arc::new(Transport::new(settings)?);
        Ok(Self { transport, retry: settings.retry, limits: settings.limits })
    }

    /// The same server and connections, with other retries.
    #[must_use]
    pub fn with_retry(&self, retry: Retry) -> Self {
        Self { retry, ..self.clone() }
    }

    /// One of its logs. Whether there is such a log is not looked at.
    #[must_use]
    pub fn log(&self, origin: Origin) -> LogClient {
        LogClient::new(self.clone(), origin)
    }

    /// A client of the log that a URL names.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn of_log(url: &LogUrl, settings: Settings) -> Result<LogClient, ClientError> {
        let settings = Settings { server: url.server.clone(), ..settings };
        Ok(Self::new(&settings)?.log(url.origin.clone()))
    }

    /// The server's URL.
    #[must_use]
    pub fn server(&self) -> String {
        self.transport.server()
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn retry(&self) -> Retry {
        self.retry
    }

    /// One try.
    pub(crate) async fn once(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let answer = self.transport.send(ask).await?;
        let lines = ask.media_type.ends_with("ndjson") && !answer.is_problem();
        // Lines are answered with a body of their own, whatever the status says.
        if answer.status.is_success() || (lines && answer.status.as_u16() < 500 && answer.body.starts_with(b"{")) {
            return Ok(answer);
        }
        let problem = Problem::parse(answer.status.as_u16(), &answer.body, answer.retry_after());
        Err(ClientError::Refused(Box::new(problem)))
    }

    /// As many tries as make sense.
    pub(crate) async fn send(&self, ask: &Ask, again: Again) -> Result<Answer, ClientError> {
        let (begun, mut backoff) = (Instant::now(), Backoff::new(self.retry));
        loop {
            let error = match self.once(ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let allowed = again == Again::Freely || error.is_without_effect();
            if !error.is_passing() || !allowed {
                return Err(error);
            }
            let asked = error.problem().and_then(|problem| problem.retry_after);
            match backoff.wait(asked, begun.elapsed()) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    pub(crate) async fn get(&self, path: impl Into<String>) -> Result<Answer, ClientError> {
        self.read(&Ask::get(path)).await
    }

    /// What only reads: as many tries as make sense, and the one status that has something to read.
    pub(crate) async fn read(&self, ask: &Ask) -> Result<Answer, ClientError> {
        let answer = self.send(ask, Again::Freely).await?;
        if answer.status == StatusCode::OK {
            Ok(answer)
        } else {
            Err(self.strange(format!("status {}", answer.status)))
        }
    }

    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: impl Into<String>) -> Result<T, ClientError> {
        self.json(&self.get(path).await?)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, ClientError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.strange(error.to_string()))
    }

    /// An answer that is none.
    pub(crate) fn strange(&self, detail: impl Into<String>) -> ClientError {
        ClientError::Answer { server: self.server(), detail: detail.into() }
    }

    /// Whether it takes requests.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.once(&Ask::get("/readyz")).await.map(drop)
    }

    /// A page of the logs that the key is for.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn logs(&self, after: Option<&str>, limit: u32) -> Result<Logs, ClientError> {
        self.get_json(paged("/v1/logs", after, limit)).await
    }

    /// Makes a log.
    ///
    /// # Errors
    /// [`ClientError`]; where no answer came, the log may be there.
    pub async fn create_log(&self, origin: &Origin) -> Result<RegisteredLog, ClientError> {
        let ask = Ask::post("/v1/logs", JSON, json!({ "origin": origin.as_str() }).to_string());
        self.json(&self.send(&ask, Again::IfWithoutEffect).await?)
    }

    /// A page of the API keys that grant no more than the one that asks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn api_keys(&self, after: Option<&str>, limit: u32) -> Result<ApiKeys, ClientError> {
        self.get_json(paged("/v1/api-keys", after, limit)).await
    }

    /// Makes an API key; its token is in this answer and nowhere else.
    ///
    /// # Errors
    /// [`ClientError`]; where no answer came, there may be a key that nobody holds.
    pub async fn create_api_key(&self, new: &NewApiKey) -> Result<(ApiKey, Zeroizing<String>), ClientError> {
        let body = serde_json::to_vec(new).map_err(|error| self.strange(error.to_string()))?;
        self.with_token(&Ask::post("/v1/api-keys", JSON, body)).await
    }

    /// Makes a key of the same grant; the old one ends after the overlap.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rotate_api_key(
        &self,
        id: &str,
        overlap_seconds: u64,
    ) -> Result<(ApiKey, Zeroizing<String>), ClientError> {
        let body = json!({ "overlap_seconds": overlap_seconds }).to_string();
        self.with_token(&Ask::post(format!("/v1/api-keys/{}/rotate", percent::encode(id)), JSON, body)).await
    }

    async fn with_token(&self, ask: &Ask) -> Result<(ApiKey, Zeroizing<String>), ClientError> {
        #[derive(serde::Deserialize)]
        struct WithToken {
            token: String,
            #[serde(flatten)]
            key: ApiKey,
        }
        let made: WithToken = self.json(&self.send(ask, Again::IfWithoutEffect).await?)?;
        Ok((made.key, Zeroizing::new(made.token)))
    }

    /// Ends an API key at once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn revoke_api_key(&self, id: &str) -> Result<ApiKey, ClientError> {
        let ask = Ask { method: Method::DELETE, ..Ask::get(format!("/v1/api-keys/{}", percent::encode(id))) };
        self.json(&self.send(&ask, Again::Freely).await?)
    }
}

fn paged(path: &str, after: Option<&str>, limit: u32) -> String {
    let after = after.map(|after| format!("&after={}", percent::encode(after))).unwrap_or_default();
    format!("{path}?limit={limit}{after}")
}
