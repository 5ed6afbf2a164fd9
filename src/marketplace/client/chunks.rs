//! A body on its way from the connection to whoever reads it on a thread that may block.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Chunks in between: enough that neither side waits for each of the other's.
const AHEAD: usize = 4;

/// Where chunks come out, as one body. It ends where the other side is dropped, so whoever reads must be told by other
/// means whether that was the end.
pub(super) struct Chunks {
    coming: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

/// Both sides.
pub(super) fn chunks() -> (mpsc::Sender<Bytes>, Chunks) {
    let (sender, coming) = mpsc::channel(AHEAD);
    (sender, Chunks { coming, chunk: Bytes::new() })
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.coming.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}
