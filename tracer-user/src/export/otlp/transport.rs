//! Requests over HTTP: one POST each, for gRPC too, whose requests and answers are HTTP/2 with a
//! header of five bytes. So a request is encoded and compressed once, however often it is sent.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, Uri,
    body::{Body, Frame, Incoming, SizeHint},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    options::{Assumed, Compression, OtlpOptions, Protocol},
    tls::{self, TlsError},
    verdict::{self, Answer, Failure, Verdict},
};

/// Longest answer that is read, in bytes. One to a request has a few dozen.
const MAX_ANSWER: usize = 64 * 1024;
/// A connection that nobody used for so long is closed, before the other side does so.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

type Connections = Client<HttpsConnector<HttpConnector>, Posted>;

/// Whether a body has left this program, as far as it can tell: without that nothing arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Departure(Arc<AtomicBool>);

impl Departure {
    pub(super) fn has_happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A body that notes its departure.
struct Posted {
    bytes: Option<Bytes>,
    departure: Departure,
}

impl Body for Posted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.departure.0.store(true, Ordering::Release);
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// The way to one receiver.
#[derive(Debug)]
pub(super) struct Transport {
    protocol: Protocol,
    assumed: Assumed,
    endpoint: Uri,
    headers: HeaderMap,
    connector: HttpsConnector<HttpConnector>,
    connections: Mutex<Connections>,
}

impl Transport {
    /// Reads the files for TLS; connects to nothing yet.
    pub(super) fn new(options: &OtlpOptions) -> Result<Self, TlsError> {
        let is_tls = options.endpoint.scheme_str() == Some("https");
        let tls = if is_tls { tls::client_config(&options.tls)? } else { tls::unused_config()? };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match options.protocol {
            Protocol::Grpc => builder.enable_http2().wrap_connector(tcp),
            Protocol::HttpProtobuf => builder.enable_http1().wrap_connector(tcp),
        };
        Ok(Self {
            protocol: options.protocol,
            assumed: options.assumed,
            endpoint: options.endpoint.clone(),
            headers: headers(options),
            connections: Mutex::new(connections(options.protocol, &connector)),
            connector,
        })
    }

    /// Where it leads, without the path.
    pub(super) fn name(&self) -> String {
        let scheme = self.endpoint.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.endpoint.authority().map_or("", |it| it.as_str()))
    }

    /// Sends a body, framed and compressed, and judges the answer. Must be called in the runtime.
    pub(super) async fn send(&self, body: Bytes, departure: Departure) -> Verdict {
        match self.exchange(Posted { bytes: Some(body), departure }).await {
            Ok(answer) => {
                let is_other = verdict::is_of_another_protocol(self.protocol, &answer);
                let mut verdict = verdict::judge(self.protocol, &answer);
                if let (true, Verdict::Failed(failure)) = (is_other, &mut verdict) {
                    self.add_hint(&mut failure.reason);
                }
                verdict
            }
            Err(failure) => Verdict::Failed(failure),
        }
    }

    /// Says what to set where the receiver may speak another protocol than was assumed.
    fn add_hint(&self, reason: &mut String) {
        if self.assumed.protocol {
            reason.push_str(match self.protocol {
                Protocol::HttpProtobuf => {
                    "; if the receiver speaks gRPC, set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
                }
                Protocol::Grpc => {
                    "; if the receiver speaks HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
                }
            });
        }
    }

    fn unanswered(&self, error: &(dyn Error + 'static)) -> Failure {
        let mut text = reason(error);
        if speaks_otherwise(error) {
            self.add_hint(&mut text);
        }
        // The text of rustls for what is no TLS.
        if self.assumed.scheme && text.contains("InvalidContentType") {
            text.push_str("; an address without http:// means https");
        }
        Failure::unanswered(&text)
    }

    /// Leaves the connections to those who wait on them: what does not answer may be half open.
    pub(super) fn reconnect(&self) {
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner) =
            connections(self.protocol, &self.connector);
    }

    async fn exchange(&self, body: Posted) -> Result<Answer, Failure> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        *request.headers_mut() = self.headers.clone();
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = connections.request(request).await;
        self.read(response.map_err(|error| self.unanswered(&error))?).await
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, Failure> {
        let (parts, body) = response.into_parts();
        let mut answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: Bytes::new(),
            trailers: None,
        };
        if verdict::needs_body(answer.status, &answer.headers) {
            let all = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::malformed(&format!("more than {MAX_ANSWER} bytes"))
                } else {
                    self.unanswered(&*error)
                }
            })?;
            answer.trailers = all.trailers().cloned();
            answer.body = all.to_bytes();
        }
        Ok(answer)
    }
}

/// Whether what came back, or that nothing did, is what another protocol looks like.
fn speaks_otherwise(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            // Of errors of HTTP/2 hyper says no more than this.
            return error.is_parse()
                || error.is_incomplete_message()
                || error.to_string().contains("http2 error");
        }
        cause = error.source();
    }
    false
}

fn connections(protocol: Protocol, connector: &HttpsConnector<HttpConnector>) -> Connections {
    Client::builder(TokioExecutor::new())
        .http2_only(protocol == Protocol::Grpc)
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(connector.clone())
}

fn headers(options: &OtlpOptions) -> HeaderMap {
    let mut headers = options.headers.clone();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(USER_AGENT, concat!("tracer/", env!("CARGO_PKG_VERSION")));
    let encoding = match options.compression {
        Compression::None => None,
        Compression::Gzip => Some("gzip"),
        Compression::Zstd => Some("zstd"),
    };
    match options.protocol {
        Protocol::Grpc => {
            set(CONTENT_TYPE, "application/grpc");
            set(TE, "trailers");
            if let Some(encoding) = encoding {
                headers.insert("grpc-encoding", HeaderValue::from_static(encoding));
            }
            // `m` is milliseconds, of which eight digits are allowed.
            let timeout = format!("{}m", options.timeout.as_millis().min(99_999_999));
            if let Ok(timeout) = HeaderValue::from_str(&timeout) {
                headers.insert("grpc-timeout", timeout);
            }
        }
        Protocol::HttpProtobuf => {
            set(CONTENT_TYPE, "application/x-protobuf");
            if let Some(encoding) = encoding {
                set(CONTENT_ENCODING, encoding);
            }
        }
    }
    headers
}

/// The error with its causes, the last of which says most.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
