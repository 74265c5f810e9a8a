//! One log on a server: record, read, prove.
//!
//! What is read here is checked for its form, and for being of this log; what is *verified* stands in [`crate::follow`].

use indelible::{Event, LeafIndex, Receipt, bundle::Bundle};
use indelible_core::{checkpoint::Origin, entry, percent, tile::TilePath, tree::Hash};
use serde_json::Value;

use crate::{
    batch,
    client::{Again, Client, JSON},
    error::ClientError,
    event::Prepared,
    transport::Ask,
    wire::{self, Entry, Page, Verification},
};

/// The most entries that the server gives at a time.
pub const MAX_PAGE: u64 = 1000;
/// The longest that the server waits for a verdict.
const MAX_WAIT_SECONDS: u64 = 20;

/// One log on a server.
#[derive(Clone, Debug)]
pub struct LogClient {
    client: Client,
    origin: Origin,
    path: String,
    tiles: String,
}

impl LogClient {
    pub(crate) fn new(client: Client, origin: Origin) -> Self {
        let name = percent::encode(origin.as_str());
        Self { client, path: format!("/v1/logs/{name}"), tiles: format!("/logs/{name}"), origin }
    }

    /// The server.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The log.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The same log, with other retries.
    #[must_use]
    pub fn with_retry(&self, retry: crate::settings::Retry) -> Self {
        Self { client: self.client.with_retry(retry), ..self.clone() }
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.path)
    }

    /// Records an event, durably. It is sent again, with the same id, as long as that makes sense.
    ///
    /// # Errors
    /// [`ClientError`]. Where it [is passing](ClientError::is_passing), prepare the event first ([`Prepared`]) and send that again, so that it keeps its id.
    pub async fn append(&self, event: &Event) -> Result<Receipt, ClientError> {
        self.append_prepared(&Prepared::of_event(event)?).await
    }

    /// Records an event that has its id already.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn append_prepared(&self, event: &Prepared) -> Result<Receipt, ClientError> {
        let ask = Ask::post(self.path("/events"), JSON, event.bytes().to_vec());
        let answer = self.client.send(&ask, Again::Freely).await?;
        let receipt: entry::WireReceipt = self.client.json(&answer)?;
        wire::receipt(&receipt, event.id(), self.origin.as_str()).map_err(|detail| self.client.strange(detail))
    }

    /// Records many, in few requests; a result for each, in their order. What is refused keeps nothing else from being recorded. Where a request cannot be delivered, nothing
    /// behind it is sent ([`ClientError::Held`]).
    pub async fn append_all(&self, events: &[Prepared]) -> Vec<Result<Receipt, ClientError>> {
        batch::append_all(self, events).await
    }

    /// One entry by its index.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn entry(&self, index: LeafIndex) -> Result<Entry, ClientError> {
        let answer = self.client.get(self.path(&format!("/entries/{index}"))).await?;
        let entry = self.of_this_log(Entry::parse(&answer.body))?;
        if entry.index == index { Ok(entry) } else { Err(self.client.strange("it is another entry")) }
    }

    /// The entry of the event with this id.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn find(&self, id: &str) -> Result<Entry, ClientError> {
        let answer = self.client.get(self.path(&format!("/events/{}", percent::encode(id)))).await?;
        let entry = self.of_this_log(Entry::parse(&answer.body))?;
        if entry.event_id().as_deref() == Some(id) {
            Ok(entry)
        } else {
            Err(self.client.strange("it is another event"))
        }
    }

    /// An entry whose own bytes say that they are of this log, and stand where the server says.
    fn of_this_log(&self, entry: Result<Entry, String>) -> Result<Entry, ClientError> {
        entry.and_then(|entry| entry.checked(self.origin.as_str())).map_err(|detail| self.client.strange(detail))
    }

    /// A page of entries, at most [`MAX_PAGE`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn entries(&self, from: u64, limit: u64) -> Result<Page, ClientError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let ask = Ask::get(self.path(&format!("/entries?from={from}&limit={limit}"))).answered_at_length();
        let answer = self.client.read(&ask).await?;
        let mut page = Page::parse(&answer.body, from).map_err(|detail| self.client.strange(detail))?;
        let entries = std::mem::take(&mut page.entries).into_iter().map(|entry| self.of_this_log(Ok(entry)));
        Ok(Page { entries: entries.collect::<Result<_, _>>()?, ..page })
    }

    /// A bundle that proves an entry to whoever has a public key of the log: [`Bundle::check`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn proof(&self, index: LeafIndex) -> Result<Bundle, ClientError> {
        let answer = self.client.get(self.path(&format!("/entries/{index}/proof"))).await?;
        let bundle = Bundle::parse(&answer.body).map_err(|error| self.client.strange(error.to_string()))?;
        if bundle.proof.index == index { Ok(bundle) } else { Err(self.client.strange("it proves another entry")) }
    }

    /// The newest checkpoint, as it is served. [`LogClient::follow`] verifies it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn checkpoint(&self) -> Result<String, ClientError> {
        let answer = self.client.get(self.path("/checkpoint")).await?;
        String::from_utf8(answer.body.to_vec()).map_err(|_| self.client.strange("a checkpoint is UTF-8"))
    }

    /// How the log is, by the server's word: how far it goes and is signed, whether it is frozen or locked (docs/operating.md).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn health(&self) -> Result<Value, ClientError> {
        self.client.get_json(self.path("/health")).await
    }

    /// The public keys of the log, by the server's word.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn public_keys(&self) -> Result<Value, ClientError> {
        self.client.get_json(self.path("/keys")).await
    }

    /// Has the server verify the log, and waits for so many seconds, at most 20. What it says is its word.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verify(&self, wait_seconds: u64) -> Result<Verification, ClientError> {
        let wait = wait_seconds.min(MAX_WAIT_SECONDS);
        let ask = Ask::post(self.path(&format!("/verify?wait={wait}")), "", Vec::new());
        self.client.json(&self.client.send(&ask, Again::Freely).await?)
    }

    /// How far a verification is.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn verification(&self, id: &str) -> Result<Verification, ClientError> {
        self.client.get_json(self.path(&format!("/verifications/{}", percent::encode(id)))).await
    }

    /// A tile of hashes (C2SP tlog-tiles).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tile(&self, tile: TilePath) -> Result<Vec<Hash>, ClientError> {
        let answer = self.client.get(format!("{}/{tile}", self.tiles)).await?;
        let (hashes, rest) = answer.body.as_chunks::<32>();
        if hashes.len() != usize::from(tile.width()) || !rest.is_empty() {
            return Err(self.client.strange(format!("`{tile}` has {} bytes", answer.body.len())));
        }
        Ok(hashes.iter().copied().map(Hash).collect())
    }
}
