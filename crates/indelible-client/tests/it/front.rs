//! Something between client and server, as networks, proxies and attackers are: it swallows answers, answers itself, or changes what passes.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// What is done with a request.
#[derive(Clone)]
pub(crate) enum Act {
    /// It is passed on, and the answer back.
    Pass,
    /// It is passed on, and the connection closed instead of the answer.
    Swallow,
    /// It is not passed on; this is the answer.
    Answer(Vec<u8>),
    /// It is not passed on; the answer begins like this, and goes on byte by byte for as long as somebody listens.
    Drip(&'static str),
    /// What has a longer body is answered 413, as a proxy does.
    Limit(usize),
    /// Something else is asked in its place, and the answer to that made to look right.
    Instead(&'static str, &'static str, fn(&mut Vec<u8>)),
    /// The answer to what has this in its path is changed.
    Change(&'static str, fn(&mut Vec<u8>)),
}

impl Act {
    pub(crate) fn answer(text: impl Into<String>) -> Self {
        Self::Answer(text.into().into_bytes())
    }

    /// A page such as proxies have.
    pub(crate) fn page(status: &str, more: &str) -> Self {
        let text = "<html><title>\u{1b}[31mno</title></html>";
        let length = text.len();
        Self::answer(format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html\r\n{more}content-length: {length}\r\n\r\n{text}"
        ))
    }
}

/// One such thing, at a port of its own.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    /// The first lines of all requests.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Front {
    /// What is done with the first requests, one after the other, and with all behind them.
    pub(crate) fn new(upstream: SocketAddr, first: &[Act], then: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, ended) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let script = Arc::new(Mutex::new(first.iter().cloned().collect::<VecDeque<_>>()));
        let (all, end) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (script, then, seen) = (Arc::clone(&script), then.clone(), Arc::clone(&all));
                thread::spawn(move || serve(stream.unwrap(), upstream, &script, &then, &seen));
            }
        });
        Self { address, seen, ended, thread: Some(thread) }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    stream: TcpStream,
    upstream: SocketAddr,
    script: &Mutex<VecDeque<Act>>,
    then: &Act,
    seen: &Mutex<Vec<String>>,
) {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = message(&mut stream) {
        let line = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
        seen.lock().unwrap().push(line.clone());
        let act = script.lock().unwrap().pop_front().unwrap_or_else(|| then.clone());
        let own = match &act {
            Act::Answer(answer) => Some(answer.clone()),
            Act::Limit(most) if body_length(&request) > *most => {
                let Act::Answer(page) = Act::page("413 Request Entity Too Large", "") else { return };
                Some(page)
            }
            Act::Drip(begin) => return drip(stream.get_mut(), begin),
            Act::Instead(wanted, instead, _) => {
                request = replaced(&request, wanted, instead);
                None
            }
            _ => None,
        };
        if let Some(answer) = own {
            if stream.get_mut().write_all(&answer).is_err() {
                return;
            }
            continue;
        }
        let Ok(mut server) = TcpStream::connect(upstream) else { return };
        if server.write_all(&request).is_err() {
            return;
        }
        let Some(mut answer) = message(&mut BufReader::new(server)) else { return };
        match act {
            Act::Swallow => return,
            Act::Change(path, change) if line.contains(path) => change(&mut answer),
            Act::Instead(wanted, _, change) if line.contains(wanted) => change(&mut answer),
            _ => {}
        }
        if stream.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

fn drip(stream: &mut TcpStream, begin: &str) {
    let mut bytes = begin.bytes().chain(std::iter::repeat(b'x'));
    while bytes.next().is_some_and(|byte| stream.write_all(&[byte]).is_ok()) {
        // Slow enough to be slow, and nothing waits for it.
        thread::sleep(Duration::from_millis(2));
    }
}

fn body_length(message: &[u8]) -> usize {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    message.len() - head - 4
}

/// Its first line with something else in it.
fn replaced(request: &[u8], wanted: &str, instead: &str) -> Vec<u8> {
    let end = request.iter().position(|byte| *byte == b'\n').unwrap();
    let line = String::from_utf8_lossy(&request[..end]).replace(wanted, instead);
    [line.as_bytes(), &request[end..]].concat()
}

/// One request or answer, whole.
fn message(stream: &mut impl BufRead) -> Option<Vec<u8>> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&line);
        let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if text.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    bytes.extend_from_slice(&body);
    Some(bytes)
}
