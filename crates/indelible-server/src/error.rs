//! Why a server did not start, or did not end as it should.

use std::net::SocketAddr;

use indelible::{AppendError, LogError, StoreError};
use indelible_keys::KeyError;
use indelible_service::RegistryError;
use thiserror::Error;

/// Why a server did not start, or did not end as it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration cannot be used.
    #[error("`{place}` cannot be used: {detail}")]
    Config {
        /// The file.
        place: String,
        /// What is wrong.
        detail: String,
    },
    /// HTTP without TLS at an address that others reach.
    #[error(
        "`{address}` is no loopback address, and tokens and entries would cross the network as they are: leave --plain-http out, or listen at 127.0.0.1"
    )]
    Unsafe {
        /// The address.
        address: SocketAddr,
    },
    /// A place that is no root of logs.
    #[error("`{place}` cannot be served: {detail}")]
    Root {
        /// The place.
        place: String,
        /// Why.
        detail: String,
    },
    /// A step of starting that the system refused.
    #[error("cannot {step} `{place}`")]
    Io {
        /// The step, as a verb.
        step: &'static str,
        /// File or address.
        place: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The certificate or its key.
    #[error("the certificate `{place}` cannot be used: {detail}")]
    Certificate {
        /// The file.
        place: String,
        /// Why.
        detail: String,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A log of the server's own.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was to be recorded there.
    #[error("the server could not record it in its own log")]
    Append(#[from] AppendError),
    /// What the server's own log says of API keys does not fit its checkpoint.
    #[error(
        "`{origin}` does not give the root of its own newest checkpoint: no API key in it is believed, and nothing is served; run `indelible verify`"
    )]
    Identity {
        /// The log.
        origin: String,
    },
    /// Logs that could not be closed.
    #[error("{count} logs could not be closed, the first: {first}; opening them again recovers as after a crash")]
    Close {
        /// How many.
        count: usize,
        /// Why, of one.
        first: String,
    },
}

impl ServerError {
    pub(crate) fn io(step: &'static str, place: impl ToString) -> impl FnOnce(std::io::Error) -> Self {
        let place = place.to_string();
        move |source| Self::Io { step, place, source }
    }
}
