//! A bare HTTP server: reads a body and answers 200. What ours is compared to by `indelible bench`.

use std::{convert::Infallible, io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime};

/// It runs until it is dropped.
pub struct Bare {
    _runtime: Runtime,
    address: SocketAddr,
}

impl Bare {
    /// Listens at a loopback port that the system chooses.
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // As slow as ours without it.
                let _ = stream.set_nodelay(true);
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
            }
        });
        Ok(Self { _runtime: runtime, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes().len()).unwrap_or(0);
    Ok(Response::new(Full::from(format!("{body} bytes\n"))))
}
