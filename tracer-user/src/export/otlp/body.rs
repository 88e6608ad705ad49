//! From an encoded request to the body that is sent: compressed, with gRPC's header. Buffers go
//! round, so that sending allocates none in the steady state.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use flate2::write::GzEncoder;

use super::{
    encode::PREFIX,
    options::{Compression, Protocol},
};

/// Buffers that are not in use.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<ArrayQueue<Vec<u8>>>);

impl Pool {
    /// Keeps `buffers` at most.
    pub(super) fn new(buffers: usize) -> Self {
        Self(Arc::new(ArrayQueue::new(buffers.max(1))))
    }

    /// One with no defined content.
    pub(super) fn get(&self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn put(&self, buffer: Vec<u8>) {
        // When there are enough of them this one is freed.
        drop(self.0.push(buffer));
    }

    /// Bytes that go back to the pool when nobody has them any more.
    pub(super) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, pool: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    pool: Pool,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.buffer));
    }
}

/// Compresses and frames a request, which stands behind [`PREFIX`].
pub(super) fn make(
    request: Vec<u8>,
    protocol: Protocol,
    compression: Compression,
    pool: &Pool,
) -> io::Result<Bytes> {
    let mut body = if compression == Compression::None {
        request
    } else {
        let packed = compress(request.get(PREFIX..).unwrap_or_default(), compression, pool)?;
        pool.put(request);
        packed
    };
    if protocol == Protocol::HttpProtobuf {
        return Ok(pool.lend(body).slice(PREFIX..));
    }
    let len = u32::try_from(body.len() - PREFIX).map_err(io::Error::other)?;
    if let Some([flag, length @ ..]) = body.first_chunk_mut::<PREFIX>() {
        *flag = u8::from(compression != Compression::None);
        *length = len.to_be_bytes();
    }
    Ok(pool.lend(body))
}

fn compress(bytes: &[u8], compression: Compression, pool: &Pool) -> io::Result<Vec<u8>> {
    /// The fastest: a span shrinks to a quarter.
    const LEVEL: u8 = 1;
    let mut out = pool.get();
    out.clear();
    out.resize(PREFIX, 0);
    match compression {
        Compression::None => out.extend_from_slice(bytes),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(out, flate2::Compression::new(LEVEL.into()));
            encoder.write_all(bytes)?;
            out = encoder.finish()?;
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(out, LEVEL.into())?;
            encoder.write_all(bytes)?;
            out = encoder.finish()?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const TEXT: &[u8] = b"spans spans spans spans spans";

    fn body(protocol: Protocol, compression: Compression) -> Vec<u8> {
        let request = [&[0; PREFIX], TEXT].concat();
        make(request, protocol, compression, &Pool::new(2)).unwrap().to_vec()
    }

    #[test]
    fn bodies_can_be_read_again() {
        assert_eq!(body(Protocol::HttpProtobuf, Compression::None), TEXT);
        let framed = body(Protocol::Grpc, Compression::None);
        assert_eq!(framed, [&[0, 0, 0, 0, 29], TEXT].concat());

        let mut text = Vec::new();
        let gzip = body(Protocol::HttpProtobuf, Compression::Gzip);
        flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut text).unwrap();
        assert_eq!(text, TEXT);

        let framed = body(Protocol::Grpc, Compression::Zstd);
        assert_eq!(framed[0], 1);
        assert_eq!(usize::from(framed[4]), framed.len() - PREFIX);
        assert_eq!(zstd::decode_all(&framed[PREFIX..]).unwrap(), TEXT);
    }

    #[test]
    fn buffers_go_round() {
        let pool = Pool::new(2);
        let mut request = Vec::with_capacity(4096);
        request.resize(PREFIX, 0);
        let body = make(request, Protocol::Grpc, Compression::None, &pool).unwrap();
        assert_eq!(pool.get().capacity(), 0);
        drop((body.clone(), body));
        assert_eq!(pool.get().capacity(), 4096);
    }
}
