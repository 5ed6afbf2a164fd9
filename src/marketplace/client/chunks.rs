//! A channel that passes a body from the async connection to a reader on a blocking thread.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Capacity of the channel: enough that neither side waits for every chunk of the other.
const CAPACITY: usize = 4;

/// The reading end, which joins the chunks into one body. The body ends when the sender is dropped, so the reader must
/// learn by other means whether it was complete.
pub(super) struct Chunks {
    coming: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

/// Creates both ends.
pub(super) fn chunks() -> (mpsc::Sender<Bytes>, Chunks) {
    let (sender, coming) = mpsc::channel(CAPACITY);
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
