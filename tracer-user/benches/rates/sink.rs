//! An OTLP receiver over gRPC that counts spans and does nothing else, so that it is not what is
//! measured.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use hyper::{HeaderMap, Response, header::HeaderValue};
use tokio::net::{TcpListener, TcpStream};

/// Bytes on their way that a connection is allowed, as collectors allow.
const WINDOW: u32 = 1 << 20;
/// Bytes before a message, its flag and its length.
const PREFIX: usize = 5;

/// A running receiver. Its thread ends with the program.
pub(crate) struct Sink {
    address: SocketAddr,
    spans: Arc<AtomicU64>,
}

impl Sink {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let spans = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&spans);
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks costs spans, which the books then show.
                drop(tokio::spawn(connection(stream, Arc::clone(&counter))));
            }
        };
        thread::Builder::new().name("sink".into()).spawn(move || runtime.block_on(serve))?;
        Ok(Self { address, spans })
    }

    pub(crate) fn url(&self) -> String {
        // The port is none that says gRPC, so the protocol is told by a variable.
        format!("http://{}", self.address)
    }

    /// Spans that have come so far.
    pub(crate) fn spans(&self) -> u64 {
        self.spans.load(Ordering::Acquire)
    }
}

async fn connection(stream: TcpStream, spans: Arc<AtomicU64>) -> Result<(), h2::Error> {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        drop(tokio::spawn(answer(request.into_body(), respond, Arc::clone(&spans))));
    }
    Ok(())
}

async fn answer(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    spans: Arc<AtomicU64>,
) -> Result<(), h2::Error> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        message.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len())?;
    }
    let request = message.get(PREFIX..).unwrap_or_default();
    spans.fetch_add(count(request, &[1, 2, 2]), Ordering::AcqRel);
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(Bytes::from_static(&[0; PREFIX]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}

/// How many messages stand at the end of this path of field numbers.
fn count(message: &[u8], path: &[u64]) -> u64 {
    let Some((wanted, below)) = path.split_first() else { return 1 };
    let (mut rest, mut found) = (message, 0);
    while let Some(tag) = varint(&mut rest) {
        // On this path there are strings and messages alone.
        let len = varint(&mut rest).and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
        let Some((content, tail)) = rest.split_at_checked(len) else { break };
        if tag >> 3 == *wanted {
            found += count(content, below);
        }
        rest = tail;
    }
    found
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
