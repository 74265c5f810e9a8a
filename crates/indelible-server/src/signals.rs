//! What the system asks of the process.

use crate::error::ServerError;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To end.
    End,
    /// To read the certificates again.
    Reload,
}

/// Where it is heard. From then on SIGHUP does not end the process.
pub(crate) struct Signals {
    #[cfg(unix)]
    streams: [(tokio::signal::unix::Signal, Signal); 3],
}

#[cfg(unix)]
impl Signals {
    /// Listens; within a runtime.
    pub(crate) fn new() -> Result<Self, ServerError> {
        use tokio::signal::unix::{SignalKind, signal};
        let hear =
            |kind, name, means| signal(kind).map(|stream| (stream, means)).map_err(ServerError::io("wait for", name));
        let streams = [
            hear(SignalKind::terminate(), "SIGTERM", Signal::End)?,
            hear(SignalKind::interrupt(), "SIGINT", Signal::End)?,
            hear(SignalKind::hangup(), "SIGHUP", Signal::Reload)?,
        ];
        Ok(Self { streams })
    }

    /// The next.
    pub(crate) async fn next(&mut self) -> Signal {
        use std::task::Poll;
        std::future::poll_fn(|context| {
            for (stream, means) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*means);
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(not(unix))]
impl Signals {
    /// Listens.
    pub(crate) fn new() -> Result<Self, ServerError> {
        Ok(Self {})
    }

    /// The next: Ctrl-C is the only one. Where it cannot be heard, there is nothing to wait for.
    pub(crate) async fn next(&mut self) -> Signal {
        let _ = tokio::signal::ctrl_c().await;
        Signal::End
    }
}
