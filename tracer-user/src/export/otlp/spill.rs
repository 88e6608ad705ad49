//! Requests on disk while too many are on their way: first in, first out, bounded, in a file
//! without a name, so that nobody else can open it and nothing stays behind.

use std::{collections::VecDeque, fs::File, io, os::unix::fs::FileExt};

use super::options::SpillOptions;

/// The queue.
#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    limit: u64,
    /// Where the next one goes.
    end: u64,
    parcels: VecDeque<Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    at: u64,
    len: usize,
    spans: u64,
}

/// Why a request is not in the queue.
#[derive(Debug)]
pub(super) enum NotStored {
    /// It has all it may have.
    Full,
    /// The disk is full, or broken.
    Io(io::Error),
}

impl Spill {
    /// An empty queue in this folder.
    pub(super) fn open(options: &SpillOptions) -> io::Result<Self> {
        let file = tempfile::tempfile_in(&options.folder)?;
        Ok(Self { file, limit: options.bytes, end: 0, parcels: VecDeque::new() })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Spans in the queue.
    pub(super) fn spans(&self) -> u64 {
        self.parcels.iter().map(|stored| stored.spans).sum()
    }

    /// Appends a request.
    pub(super) fn push(&mut self, body: &[u8], spans: u64) -> Result<(), NotStored> {
        if self.end.saturating_add(body.len() as u64) > self.limit {
            return Err(NotStored::Full);
        }
        // What is written past the end by a failure is written over by the next.
        self.file.write_all_at(body, self.end).map_err(NotStored::Io)?;
        self.parcels.push_back(Stored { at: self.end, len: body.len(), spans });
        self.end += body.len() as u64;
        Ok(())
    }

    /// Takes the oldest request out, into a buffer; `None` when there is none. After an error it
    /// is lost, with so many spans.
    pub(super) fn pop(&mut self, mut buffer: Vec<u8>) -> Option<(io::Result<Vec<u8>>, u64)> {
        let Stored { at, len, spans } = self.parcels.pop_front()?;
        buffer.clear();
        buffer.resize(len, 0);
        let body = self.file.read_exact_at(&mut buffer, at).map(|()| buffer);
        if self.parcels.is_empty() {
            self.end = 0;
            // Space that is not given back now is so at the end.
            if let Err(error) = self.file.set_len(0) {
                log::warn!("cannot empty the file for requests that wait: {error}");
            }
        }
        Some((body, spans))
    }

    /// Forgets all; returns how many spans that were.
    pub(super) fn clear(&mut self) -> u64 {
        let spans = self.spans();
        self.parcels.clear();
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spill(bytes: u64) -> Spill {
        Spill::open(&SpillOptions { folder: std::env::temp_dir(), bytes }).unwrap()
    }

    fn pop(spill: &mut Spill) -> Option<(Vec<u8>, u64)> {
        spill.pop(vec![9; 3]).map(|(body, spans)| (body.unwrap(), spans))
    }

    #[test]
    fn first_in_first_out_within_the_limit() {
        let mut spill = spill(10);
        spill.push(b"abcd", 1).unwrap();
        spill.push(b"efghij", 2).unwrap();
        assert!(matches!(spill.push(b"k", 1), Err(NotStored::Full)));
        assert_eq!(spill.spans(), 3);
        assert_eq!(pop(&mut spill), Some((b"abcd".to_vec(), 1)));
        assert_eq!(pop(&mut spill), Some((b"efghij".to_vec(), 2)));
        assert_eq!(pop(&mut spill), None);
        assert_eq!(spill.file.metadata().unwrap().len(), 0);
        spill.push(b"k", 7).unwrap();
        assert_eq!(spill.clear(), 7);
        assert!(spill.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_spans() {
        let mut spill = spill(10);
        spill.push(b"abcd", 5).unwrap();
        spill.file.set_len(2).unwrap();
        let (body, spans) = spill.pop(Vec::new()).unwrap();
        assert!(body.is_err());
        assert_eq!(spans, 5);
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let options = SpillOptions { folder: "/no/such/folder".into(), bytes: 1 };
        assert!(Spill::open(&options).is_err());
    }
}
