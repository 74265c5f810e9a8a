//! Who is at the other end: the address of a connection, or behind a proxy that is trusted the address that it names.
//!
//! The layers know nothing of sockets. Whoever accepts a connection puts a [`Peer`] into the extensions of its requests, or the host says by [`Clients::peer`] where the address stands
//! (with axum: `ConnectInfo<SocketAddr>`).

use std::{fmt, net::IpAddr, ops::ControlFlow, sync::Arc};

use http::{HeaderMap, Response, StatusCode, request::Parts};
use tower_layer::Layer;

use crate::{
    gate::{Gate, Gated},
    network::Network,
    problem::{AnswerBody, Problem},
    refusals::{Refusals, Refused},
};

/// The address of the connection that a request came by, in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The address of the client, as [`AddressLayer`] found it, in a request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

type PeerOf = Arc<dyn Fn(&Parts) -> Option<IpAddr> + Send + Sync>;

/// How the address of a client is found. It is cheap to clone, and one is given to each layer that needs it: so each finds the same, whichever stands before the other.
#[derive(Clone)]
pub struct Clients {
    network: Arc<Network>,
    peer: PeerOf,
}

/// Why it is not known whose a request is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// Nobody said which connection the request came by.
    #[error(
        "the request has no address: put a `Peer` into its extensions, or tell `Clients::peer` where the address stands"
    )]
    NoPeer,
    /// What a trusted proxy wrote cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

impl Clients {
    /// Clients of these networks.
    ///
    /// # Errors
    /// What is wrong with the lists.
    pub fn new(network: Network) -> Result<Self, String> {
        network.check()?;
        let peer: PeerOf = Arc::new(|parts| parts.extensions.get::<Peer>().map(|peer| peer.0));
        Ok(Self { network: Arc::new(network), peer })
    }

    /// Says where the address of the connection stands, if it is not in a [`Peer`].
    #[must_use]
    pub fn peer(self, peer: impl Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static) -> Self {
        Self { peer: Arc::new(peer), ..self }
    }

    /// The address of the client that sent a request.
    ///
    /// # Errors
    /// [`Unknown`]; a layer that needs the address refuses the request then.
    pub fn of(&self, parts: &Parts) -> Result<IpAddr, Unknown> {
        let peer = (self.peer)(parts).ok_or(Unknown::NoPeer)?;
        self.network.client(peer, &parts.headers).map_err(Unknown::Unreadable)
    }

    /// The address, if whoever has it is let in.
    fn admitted(&self, parts: &Parts) -> Result<IpAddr, Turned> {
        let peer = (self.peer)(parts).ok_or(Turned::Unknown(Unknown::NoPeer))?;
        let client = self.of(parts).map_err(Turned::Unknown)?;
        if self.network.takes(peer) && self.network.admits(client) { Ok(client) } else { Err(Turned::Out(client)) }
    }
}

impl Default for Clients {
    /// Anybody, by the address of the connection: no proxy is believed.
    fn default() -> Self {
        let peer: PeerOf = Arc::new(|parts| parts.extensions.get::<Peer>().map(|peer| peer.0));
        Self { network: Arc::default(), peer }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Clients").field("network", &self.network).finish_non_exhaustive()
    }
}

enum Turned {
    Unknown(Unknown),
    Out(IpAddr),
}

/// The answer to a request of which it is not known whose it is: the server's fault, or that of a proxy.
pub(crate) fn unknown(error: &Unknown, parts: &Parts) -> Problem {
    let (status, text) = match error {
        Unknown::NoPeer => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server does not know the address that the request came from".into(),
        ),
        Unknown::Unreadable(text) => (StatusCode::BAD_REQUEST, text.clone()),
    };
    Problem::new(status, "address-unknown", text).answering(parts)
}

/// Lets addresses in or not.
///
/// Who is not let in is answered 403; where a trusted proxy's header cannot be read, 400, since it is not known whose request it is. What goes on has a [`ClientAddress`] in its extensions.
#[derive(Clone, Debug)]
pub struct AddressLayer {
    clients: Clients,
    refusals: Option<Refusals>,
}

impl AddressLayer {
    /// A layer that lets in whom the lists let in.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self { clients, refusals: None }
    }

    /// Puts refusals on record.
    #[must_use]
    pub fn refusals(self, refusals: Refusals) -> Self {
        Self { refusals: Some(refusals), ..self }
    }
}

impl<S> Layer<S> for AddressLayer {
    type Service = Addresses<S>;

    fn layer(&self, inner: S) -> Addresses<S> {
        Gated::new(inner, self.clone())
    }
}

/// The service of an [`AddressLayer`].
pub type Addresses<S> = Gated<S, AddressLayer>;

impl Gate for AddressLayer {
    type Passed = ();

    fn admit<B>(&self, parts: &mut Parts) -> ControlFlow<Response<AnswerBody<B>>> {
        let problem = match self.clients.admitted(parts) {
            Ok(address) => {
                parts.extensions.insert(ClientAddress(address));
                return ControlFlow::Continue(());
            }
            Err(Turned::Unknown(error)) => unknown(&error, parts),
            Err(Turned::Out(address)) => {
                if let Some(refusals) = &self.refusals {
                    refusals.note(Refused::Address, Some(address), parts);
                }
                let text = "requests from this address are not taken";
                Problem::new(StatusCode::FORBIDDEN, "address-refused", text).answering(parts)
            }
        };
        ControlFlow::Break(problem.response())
    }

    fn tell((): &(), _: &mut HeaderMap) {}
}
