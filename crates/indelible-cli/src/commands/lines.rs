//! Lines of an input of any length, in groups of what is there.
//!
//! A thread reads while the log syncs the group before. A group is what could be read without waiting, so that a
//! slow input is recorded at once and a fast one in large batches.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use super::rejects::Rejects;
use crate::failure::Failure;

/// The longest line that is looked at: an event has at most 64,000 bytes in canonical form, and generous white space is no crime.
pub(crate) const MAX_LINE_BYTES: usize = 1 << 20;
/// What is read in one go, and so the largest group but for one line.
const BUFFER_BYTES: usize = 1 << 20;
/// Most lines of a group.
const GROUP_LINES: usize = 1000;
/// Groups that wait: with the one in work 4 × (1 MiB + 1 MiB) at most.
const WAITING_GROUPS: usize = 2;

/// One line.
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// What it holds.
    pub(crate) content: Content,
}

/// What a line holds.
pub(crate) enum Content {
    /// Its bytes without the line feed.
    Text(Vec<u8>),
    /// It had this many bytes, which were written to the rejects and not kept.
    TooLong(u64),
}

/// Groups of lines, in order.
pub(crate) type Groups = Receiver<Result<Vec<Line>, Failure>>;

/// Opens a file, or stdin by the name `-`.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(Failure::io("read", path))?;
    if file.metadata().map_err(Failure::io("read", path))?.is_dir() {
        return Err(Failure::text(format!("cannot read `{}`: it is a directory", path.display())));
    }
    Ok(Box::new(file))
}

/// Reads an input on a thread of its own.
pub(crate) fn read(input: Box<dyn Read + Send>, rejects: Arc<Rejects>) -> Groups {
    let (sender, receiver) = sync_channel(WAITING_GROUPS);
    let lines = Lines { reader: BufReader::with_capacity(BUFFER_BYTES, input), number: 0, rejects };
    std::thread::spawn(move || lines.send_all(&sender));
    receiver
}

struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    number: u64,
    rejects: Arc<Rejects>,
}

impl Lines {
    fn send_all(mut self, sender: &SyncSender<Result<Vec<Line>, Failure>>) {
        loop {
            let group = self.group();
            let is_last = !matches!(&group, Ok(lines) if !lines.is_empty());
            if matches!(&group, Ok(lines) if lines.is_empty()) || sender.send(group).is_err() || is_last {
                return;
            }
        }
    }

    /// Waits for one line, then takes what is in the buffer.
    fn group(&mut self) -> Result<Vec<Line>, Failure> {
        let mut lines = Vec::new();
        while let Some(line) = self.line()? {
            lines.push(line);
            if lines.len() >= GROUP_LINES || !self.reader.buffer().contains(&b'\n') {
                break;
            }
        }
        Ok(lines)
    }

    fn line(&mut self) -> Result<Option<Line>, Failure> {
        let mut text = Vec::new();
        let limit = u64::try_from(MAX_LINE_BYTES + 1).unwrap_or(u64::MAX);
        self.reader.by_ref().take(limit).read_until(b'\n', &mut text).map_err(broken)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let content = if text.ends_with(b"\n") {
            text.pop();
            Content::Text(text)
        } else if text.len() <= MAX_LINE_BYTES {
            Content::Text(text)
        } else {
            Content::TooLong(self.skip(&text)?)
        };
        Ok(Some(Line { number: self.number, content }))
    }

    /// Hands a line that is too long to the rejects, part by part, and returns its length.
    fn skip(&mut self, start: &[u8]) -> Result<u64, Failure> {
        let rejects = Arc::clone(&self.rejects);
        let mut length = start.len() as u64;
        rejects.stream(|write| {
            write(start)?;
            loop {
                let part = match self.reader.fill_buf() {
                    Ok(part) => part,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(broken(error)),
                };
                let end = part.iter().position(|b| *b == b'\n');
                let rest = part.get(..end.unwrap_or(part.len())).unwrap_or_default();
                write(rest)?;
                length += rest.len() as u64;
                let (taken, is_end) = (rest.len() + usize::from(end.is_some()), end.is_some() || part.is_empty());
                self.reader.consume(taken);
                if is_end {
                    return Ok(());
                }
            }
        })?;
        Ok(length)
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::io("read", Path::new("the input"))(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(input: impl Read + Send + 'static) -> Vec<(u64, Result<Vec<u8>, u64>)> {
        let rejects = Arc::new(Rejects::open(None, &[]).ok().unwrap());
        let groups = read(Box::new(input), rejects);
        let mut lines = Vec::new();
        while let Ok(Ok(group)) = groups.recv() {
            lines.extend(group.into_iter().map(|line| {
                let content = match line.content {
                    Content::Text(text) => Ok(text),
                    Content::TooLong(bytes) => Err(bytes),
                };
                (line.number, content)
            }));
        }
        lines
    }

    #[test]
    fn lines_keep_their_numbers_and_long_ones_only_their_length() {
        let long = vec![b'x'; 3 * MAX_LINE_BYTES];
        let exact = vec![b'y'; MAX_LINE_BYTES];
        let text = [b"a\n\n".as_slice(), &long, b"\n", &exact, b"\nlast"].concat();
        let expected = vec![
            (1, Ok(b"a".to_vec())),
            (2, Ok(Vec::new())),
            (3, Err(long.len() as u64)),
            (4, Ok(exact)),
            (5, Ok(b"last".to_vec())),
        ];
        assert!(read_all(io::Cursor::new(text)) == expected);
    }

    #[test]
    fn an_empty_input_has_no_lines() {
        assert!(read_all(io::empty()).is_empty());
    }
}
