//! The same for callers without a runtime.
//!
//! Calls block the thread, and any number of threads may call at once. From a thread that belongs to an async runtime they work too, by a thread of their own: fit for `spawn_blocking`. Async code itself uses
//! the async client, and does not stop its runtime.

use std::{future::Future, io, sync::Arc, thread};

use indelible::{Event, LeafIndex, Receipt, bundle::Bundle};
use indelible_core::{checkpoint::Origin, note::VerifyingKey};
use serde_json::Value;
use tokio::runtime::{Builder, Handle, Runtime};
use zeroize::Zeroizing;

use crate::{
    address::LogUrl,
    client,
    error::ClientError,
    event::Prepared,
    export::Export,
    follow::{FollowError, Followed},
    log::LogClient,
    memory::Memory,
    settings::{Retry, Settings},
    wire::{ApiKey, ApiKeys, Entry, Logs, NewApiKey, Page, RegisteredLog, Verification},
};

/// The runtime that calls wait on.
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may be dropped by async code, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Waiting(Arc<Owned>);

impl Waiting {
    fn new() -> Result<Self, ClientError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(of_system)?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    fn on<T: Send, E: From<ClientError> + Send>(
        &self,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let Some(runtime) = &self.0.0 else { return Err(of_system(io::ErrorKind::NotFound.into()).into()) };
        if Handle::try_current().is_err() {
            return runtime.block_on(work);
        }
        // A thread that belongs to a runtime cannot drive another one.
        thread::scope(|scope| {
            let waiting = thread::Builder::new().spawn_scoped(scope, || runtime.block_on(work));
            let done = waiting.map_err(|error| E::from(of_system(error)))?.join();
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

fn of_system(error: io::Error) -> ClientError {
    ClientError::Settings { place: "the runtime of the client".to_owned(), detail: error.to_string() }
}

/// A client of one server that blocks.
#[derive(Clone)]
pub struct Client {
    inner: client::Client,
    waiting: Waiting,
}

impl Client {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self { inner: client::Client::new(settings)?, waiting: Waiting::new()? })
    }

    /// One of its logs.
    #[must_use]
    pub fn log(&self, origin: Origin) -> Log {
        Log { inner: self.inner.log(origin), waiting: self.waiting.clone() }
    }

    /// See [`client::Client::ready`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn ready(&self) -> Result<(), ClientError> {
        self.waiting.on(self.inner.ready())
    }

    /// See [`client::Client::logs`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn logs(&self, after: Option<&str>, limit: u32) -> Result<Logs, ClientError> {
        self.waiting.on(self.inner.logs(after, limit))
    }

    /// See [`client::Client::create_log`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create_log(&self, origin: &Origin) -> Result<RegisteredLog, ClientError> {
        self.waiting.on(self.inner.create_log(origin))
    }

    /// See [`client::Client::api_keys`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn api_keys(&self, after: Option<&str>, limit: u32) -> Result<ApiKeys, ClientError> {
        self.waiting.on(self.inner.api_keys(after, limit))
    }

    /// See [`client::Client::create_api_key`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn create_api_key(&self, new: &NewApiKey) -> Result<(ApiKey, Zeroizing<String>), ClientError> {
        self.waiting.on(self.inner.create_api_key(new))
    }

    /// See [`client::Client::rotate_api_key`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn rotate_api_key(&self, id: &str, overlap_seconds: u64) -> Result<(ApiKey, Zeroizing<String>), ClientError> {
        self.waiting.on(self.inner.rotate_api_key(id, overlap_seconds))
    }

    /// See [`client::Client::revoke_api_key`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn revoke_api_key(&self, id: &str) -> Result<ApiKey, ClientError> {
        self.waiting.on(self.inner.revoke_api_key(id))
    }
}

/// One log on a server, for callers that block.
#[derive(Clone)]
pub struct Log {
    inner: LogClient,
    waiting: Waiting,
}

impl Log {
    /// A client of the log that a URL names.
    ///
    /// # Errors
    /// [`ClientError::Settings`].
    pub fn new(url: &LogUrl, settings: Settings) -> Result<Self, ClientError> {
        Ok(Self { inner: client::Client::of_log(url, settings)?, waiting: Waiting::new()? })
    }

    /// The async client beneath.
    #[must_use]
    pub fn inner(&self) -> &LogClient {
        &self.inner
    }

    /// The same log, with other retries.
    #[must_use]
    pub fn with_retry(&self, retry: Retry) -> Self {
        Self { inner: self.inner.with_retry(retry), waiting: self.waiting.clone() }
    }

    /// See [`LogClient::append`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn append(&self, event: &Event) -> Result<Receipt, ClientError> {
        self.waiting.on(self.inner.append(event))
    }

    /// See [`LogClient::append_prepared`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn append_prepared(&self, event: &Prepared) -> Result<Receipt, ClientError> {
        self.waiting.on(self.inner.append_prepared(event))
    }

    /// See [`LogClient::append_all`].
    pub fn append_all(&self, events: &[Prepared]) -> Vec<Result<Receipt, ClientError>> {
        let all = self.waiting.on(async { Ok::<_, ClientError>(self.inner.append_all(events).await) });
        all.unwrap_or_else(|error| events.iter().map(|_| Err(error.clone())).collect())
    }

    /// See [`LogClient::entry`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn entry(&self, index: LeafIndex) -> Result<Entry, ClientError> {
        self.waiting.on(self.inner.entry(index))
    }

    /// See [`LogClient::find`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn find(&self, id: &str) -> Result<Entry, ClientError> {
        self.waiting.on(self.inner.find(id))
    }

    /// See [`LogClient::entries`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn entries(&self, from: u64, limit: u64) -> Result<Page, ClientError> {
        self.waiting.on(self.inner.entries(from, limit))
    }

    /// See [`LogClient::proof`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn proof(&self, index: LeafIndex) -> Result<Bundle, ClientError> {
        self.waiting.on(self.inner.proof(index))
    }

    /// See [`LogClient::checkpoint`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn checkpoint(&self) -> Result<String, ClientError> {
        self.waiting.on(self.inner.checkpoint())
    }

    /// See [`LogClient::export`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn export(&self, from: u64, to: Option<u64>) -> Result<Export, ClientError> {
        self.waiting.on(self.inner.export(from, to))
    }

    /// See [`LogClient::export_more`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn export_more(&self, export: &mut Export) -> Result<Option<Vec<u8>>, ClientError> {
        self.waiting.on(self.inner.export_more(export))
    }

    /// See [`LogClient::health`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn health(&self) -> Result<Value, ClientError> {
        self.waiting.on(self.inner.health())
    }

    /// See [`LogClient::public_keys`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn public_keys(&self) -> Result<Value, ClientError> {
        self.waiting.on(self.inner.public_keys())
    }

    /// See [`LogClient::verify`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn verify(&self, wait_seconds: u64) -> Result<Verification, ClientError> {
        self.waiting.on(self.inner.verify(wait_seconds))
    }

    /// See [`LogClient::verification`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn verification(&self, id: &str) -> Result<Verification, ClientError> {
        self.waiting.on(self.inner.verification(id))
    }

    /// See [`LogClient::follow`].
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow(&self, key: &VerifyingKey, memory: &Memory) -> Result<Followed, FollowError> {
        self.waiting.on(self.inner.follow(key, memory))
    }

    /// See [`LogClient::follow_from`].
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow_from(&self, key: &VerifyingKey, known: Option<&str>) -> Result<Followed, FollowError> {
        self.waiting.on(self.inner.follow_from(key, known))
    }

    /// See [`LogClient::verify_receipts`].
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn verify_receipts(&self, receipts: &[Receipt], under: &Followed) -> Result<(), FollowError> {
        self.waiting.on(self.inner.verify_receipts(receipts, under))
    }

    /// See [`LogClient::verify_recorded`].
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn verify_recorded(&self, sent: &Prepared, receipt: &Receipt, under: &Followed) -> Result<(), FollowError> {
        self.waiting.on(self.inner.verify_recorded(sent, receipt, under))
    }
}
