//! Reading ahead in a thread of its own: it fills pieces while those before them are used.
//!
//! There are so many pieces at most, which go to and fro: who reads ahead waits for one that is free, who uses them for one that is
//! full. When either is gone the other ends.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use crate::load::Deadline;

/// Bytes of an archive.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    filled: usize,
}

/// The end that reads ahead.
#[derive(Debug)]
pub(crate) struct Ahead {
    full: Sender<io::Result<Piece>>,
    used: Receiver<Vec<u8>>,
    /// What came back from there; the last is taken first, which the processor's caches still have.
    free: Vec<Vec<u8>>,
    /// Pieces that may still be made.
    unmade: usize,
    size: usize,
}

/// The end that uses what was read.
#[derive(Debug)]
pub(crate) struct Pieces {
    full: Receiver<io::Result<Piece>>,
    used: Sender<Vec<u8>>,
    piece: Option<Piece>,
    /// Bytes of `piece` that were used.
    at: usize,
    deadline: Deadline,
}

/// Both ends of at most `count` pieces of `size` bytes. Until `deadline` is over they are waited for.
pub(crate) fn pieces(count: usize, size: usize, deadline: Deadline) -> (Ahead, Pieces) {
    let (full, filled) = channel();
    let (to_fill, used) = channel();
    let ahead = Ahead {
        full,
        used,
        free: Vec::with_capacity(count),
        unmade: count,
        size,
    };
    let pieces = Pieces {
        full: filled,
        used: to_fill,
        piece: None,
        at: 0,
        deadline,
    };
    (ahead, pieces)
}

impl Ahead {
    /// Reads `source` to its end, or until nobody wants more, or to an error, which the user of the pieces gets after all that
    /// was read before it.
    pub(crate) fn read_all(&mut self, source: io::Result<impl Read>) {
        let mut source = match source {
            Ok(source) => source,
            Err(error) => return drop(self.full.send(Err(error))),
        };
        while let Some(bytes) = self.free_piece() {
            let mut piece = Piece { bytes, filled: 0 };
            let filled = piece.fill(&mut source);
            let is_last = piece.filled < piece.bytes.len();
            if piece.filled > 0 && self.full.send(Ok(piece)).is_err() {
                return;
            }
            if let Err(error) = filled {
                return drop(self.full.send(Err(error)));
            }
            if is_last {
                return;
            }
        }
    }

    /// A piece to fill, as soon as there is one; none when nobody wants any.
    fn free_piece(&mut self) -> Option<Vec<u8>> {
        self.free.extend(self.used.try_iter());
        if let Some(bytes) = self.free.pop() {
            return Some(bytes);
        }
        if self.unmade > 0 {
            self.unmade -= 1;
            return Some(vec![0; self.size]);
        }
        self.used.recv().ok()
    }
}

impl Piece {
    fn fill(&mut self, source: &mut impl Read) -> io::Result<()> {
        while self.filled < self.bytes.len() {
            match source.read(&mut self.bytes[self.filled..]) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self
            .piece
            .as_ref()
            .is_none_or(|piece| self.at == piece.filled)
        {
            if let Some(piece) = self.piece.take() {
                // at the end nobody takes it
                let _ = self.used.send(piece.bytes);
            }
            self.at = 0;
            let left = self.deadline.left();
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.piece = match self.full.recv_timeout(left) {
                Ok(piece) => Some(piece?),
                Err(RecvTimeoutError::Timeout) => return Err(io::ErrorKind::TimedOut.into()),
                Err(RecvTimeoutError::Disconnected) => None,
            };
        }
        let piece = self.piece.as_ref();
        Ok(piece.map_or(&[], |piece| &piece.bytes[self.at..piece.filled]))
    }

    fn consume(&mut self, length: usize) {
        self.at += length;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufRead as _, Read};
    use std::time::Duration;

    use super::pieces;
    use crate::load::Deadline;

    /// Yields so many bytes, a few at a time, and then what `end` gives.
    struct Bytes {
        left: usize,
        end: fn() -> io::Result<usize>,
    }

    impl Read for Bytes {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 {
                return (self.end)();
            }
            let read = self.left.min(buffer.len()).min(7);
            buffer[..read].fill(b'x');
            self.left -= read;
            Ok(read)
        }
    }

    fn minute() -> Deadline {
        Deadline::new(Duration::from_secs(60))
    }

    /// How many bytes come, with at most three pieces of 16 bytes, and with which error.
    fn read(left: usize, end: fn() -> io::Result<usize>) -> (usize, Option<io::ErrorKind>) {
        let (mut ahead, mut pieces) = pieces(3, 16, minute());
        std::thread::scope(|scope| {
            scope.spawn(move || ahead.read_all(Ok(Bytes { left, end })));
            let mut count = 0;
            loop {
                match pieces.fill_buf().map(<[u8]>::len) {
                    Ok(0) => return (count, None),
                    Ok(length) => {
                        // not all of it at once
                        let used = length.div_ceil(2);
                        count += used;
                        pieces.consume(used);
                    }
                    Err(error) => return (count, Some(error.kind())),
                }
            }
        })
    }

    #[test]
    fn all_comes_and_then_the_end_or_the_error() {
        for left in [0, 1, 15, 16, 17, 48, 1000] {
            assert_eq!(read(left, || Ok(0)), (left, None));
            let broken = || Err(io::ErrorKind::InvalidData.into());
            let error = Some(io::ErrorKind::InvalidData);
            assert_eq!(read(left, broken), (left, error));
        }
    }

    #[test]
    fn a_source_that_cannot_be_opened_is_an_error() {
        let (mut ahead, mut pieces) = pieces(3, 16, minute());
        ahead.read_all(Err::<io::Empty, _>(io::ErrorKind::NotFound.into()));
        let error = pieces.fill_buf().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn reading_ends_when_nobody_wants_more() {
        let (mut ahead, mut pieces) = pieces(3, 16, minute());
        std::thread::scope(|scope| {
            scope.spawn(move || ahead.read_all(Ok(io::repeat(0))));
            assert_eq!(pieces.fill_buf().unwrap().len(), 16);
            // or the scope would wait for ever
            drop(pieces);
        });
    }

    #[test]
    fn waiting_ends_with_the_time() {
        let (ahead, mut pieces) = pieces(3, 16, Deadline::new(Duration::from_millis(20)));
        let error = pieces.fill_buf().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(ahead);
        // over is over, also when there would be something
        let error = pieces.fill_buf().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
