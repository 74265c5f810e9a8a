//! A stream on which the other side's last words are heard.
//!
//! A server that refuses a client certificate sends an alert and closes, while the client may still be writing. That write fails, and
//! the alert, which has arrived, would never be read. Here a write into a closed connection is dropped, and the next read tells: first
//! what has arrived, then the end.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) struct LastWords<S>(pub(crate) S);

/// Whether the other side has closed, which the reader learns as well.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_write(cx, bytes)) {
            Err(error) if is_closed(&error) => Ok(bytes.len()),
            done => done,
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_flush(cx)) {
            Err(error) if is_closed(&error) => Ok(()),
            done => done,
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_was_said_before_the_end_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut stream = LastWords(socket);
        // What the other side leaves unread makes its end a reset.
        stream.write_all(b"unread").await.unwrap();
        let mut peeked = [0; 6];
        while other.peek(&mut peeked).unwrap() < peeked.len() {}
        other.write_all(b"last words").unwrap();
        drop(other);
        for _ in 0..3 {
            stream.write_all(b"into the void").await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut heard = [0; 10];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"last words");
        assert!(matches!(stream.read(&mut heard).await, Ok(0) | Err(_)));
    }
}
