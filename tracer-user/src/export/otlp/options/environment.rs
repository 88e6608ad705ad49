//! The variables, each with its own rules.

use std::{borrow::Cow, ffi::OsString, path::PathBuf, time::Duration};

use hyper::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use percent_encoding::percent_decode_str;

use super::{Assumed, Compression, OtlpOptionError, Protocol, TlsFiles};

/// Where a URL on the command line was set.
const OPTION: &str = "--export otlp";

/// The variables of this process, or those of a test.
pub(super) struct Source<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// A variable that is set, with its name.
type Setting = (String, String);

impl<'a> Source<'a> {
    pub(super) fn new(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { variable }
    }

    fn get(&self, name: &str) -> Result<Option<String>, OtlpOptionError> {
        let Some(value) = (self.variable)(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let not_text = |_| OtlpOptionError::NotText { name: name.to_owned() };
        value.into_string().map(Some).map_err(not_text)
    }

    /// A variable of the exporter: the one for traces, or the general one.
    fn exporter(&self, suffix: &str) -> Result<Option<Setting>, OtlpOptionError> {
        for prefix in ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"] {
            let name = format!("{prefix}{suffix}");
            if let Some(value) = self.get(&name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// One of the values that `choices` gives, in any case.
    fn choice<T: Copy>(
        &self,
        suffix: &str,
        known: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, OtlpOptionError> {
        let Some((name, value)) = self.exporter(suffix)? else { return Ok(None) };
        let found = choices.iter().find(|(text, _)| text.eq_ignore_ascii_case(value.trim()));
        match found {
            Some((_, choice)) => Ok(Some(*choice)),
            None => Err(OtlpOptionError::Unknown { name, value, known }),
        }
    }

    pub(super) fn protocol(&self) -> Result<Option<Protocol>, OtlpOptionError> {
        let choices = [("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];
        self.choice("PROTOCOL", "grpc and http/protobuf", &choices)
    }

    pub(super) fn compression(&self) -> Result<Compression, OtlpOptionError> {
        let choices =
            [("none", Compression::None), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)];
        Ok(self.choice("COMPRESSION", "gzip, zstd and none", &choices)?.unwrap_or_default())
    }

    pub(super) fn timeout(&self) -> Result<Duration, OtlpOptionError> {
        let Some((name, value)) = self.exporter("TIMEOUT")? else {
            return Ok(Duration::from_secs(10));
        };
        match value.trim().parse() {
            Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
            _ => Err(OtlpOptionError::Milliseconds { name, value }),
        }
    }

    pub(super) fn tls(&self) -> Result<TlsFiles, OtlpOptionError> {
        let path = |suffix| Ok(self.exporter(suffix)?.map(|(_, value)| PathBuf::from(value)));
        let client = match (path("CLIENT_CERTIFICATE")?, path("CLIENT_KEY")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (certificate, _) => {
                let missing = match certificate {
                    Some(_) => "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                    None => "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                };
                return Err(OtlpOptionError::HalfClient { missing });
            }
        };
        Ok(TlsFiles { ca: path("CERTIFICATE")?, client })
    }

    /// The URL with its path. Without a word on the protocol the usual port of gRPC means gRPC.
    pub(super) fn endpoint(
        &self,
        url: Option<&str>,
        protocol: Option<Protocol>,
    ) -> Result<(Uri, Protocol, Assumed), OtlpOptionError> {
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (name, text, whole) = if let Some(url) = url {
            (OPTION, url.to_owned(), false)
        } else if let Some(value) = self.get(TRACES)? {
            (TRACES, value, true)
        } else if let Some(value) = self.get(ALL)? {
            (ALL, value, false)
        } else {
            let protocol = protocol.unwrap_or(Protocol::HttpProtobuf);
            let text = match protocol {
                Protocol::Grpc => "http://localhost:4317",
                Protocol::HttpProtobuf => "http://localhost:4318",
            };
            (OPTION, text.to_owned(), false)
        };
        let uri = self.parse_url(name, text.trim(), protocol)?;
        let is_secure = uri.scheme_str() == Some("https");
        let assumed =
            Assumed { protocol: protocol.is_none(), scheme: is_secure && !text.contains("://") };
        let protocol = protocol.unwrap_or(match uri.port_u16() {
            Some(4317) => Protocol::Grpc,
            _ => Protocol::HttpProtobuf,
        });
        // A path on the command line is a whole one, the general variable's is a beginning.
        let whole = whole || (name == OPTION && uri.path() != "/");
        let path = match protocol {
            Protocol::Grpc => with_path(uri.path(), GRPC_METHOD),
            Protocol::HttpProtobuf if whole => uri.path().to_owned(),
            Protocol::HttpProtobuf => with_path(uri.path(), "/v1/traces"),
        };
        let path = match uri.query() {
            Some(query) if protocol == Protocol::HttpProtobuf => format!("{path}?{query}"),
            _ => path,
        };
        let mut parts = uri.into_parts();
        let illegal = |_| OtlpOptionError::Url { name: name.to_owned(), value: text.clone() };
        parts.path_and_query = Some(path.parse().map_err(illegal)?);
        let illegal = |_| OtlpOptionError::Url { name: name.to_owned(), value: text.clone() };
        Ok((Uri::from_parts(parts).map_err(illegal)?, protocol, assumed))
    }

    fn parse_url(
        &self,
        name: &str,
        text: &str,
        protocol: Option<Protocol>,
    ) -> Result<Uri, OtlpOptionError> {
        let name = name.to_owned();
        let full = if text.contains("://") {
            text.to_owned()
        } else if protocol != Some(Protocol::HttpProtobuf) && !text.contains('/') {
            // gRPC's targets have no scheme; the specification then asks this variable.
            let choices = [("true", true), ("false", false)];
            let insecure = self.choice("INSECURE", "true and false", &choices)?;
            let scheme = if insecure == Some(true) { "http" } else { "https" };
            format!("{scheme}://{text}")
        } else {
            return Err(OtlpOptionError::Scheme { name });
        };
        let illegal = OtlpOptionError::Url { name: name.clone(), value: text.to_owned() };
        let Ok(uri) = full.parse::<Uri>() else { return Err(illegal) };
        let Some(authority) = uri.authority() else { return Err(illegal) };
        if authority.as_str().contains('@') {
            return Err(OtlpOptionError::UserInfo { name });
        }
        let has_port = authority.as_str() != authority.host();
        if authority.host().is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(illegal);
        }
        match uri.scheme_str() {
            Some("http" | "https") => Ok(uri),
            _ => Err(OtlpOptionError::Scheme { name }),
        }
    }

    pub(super) fn headers(&self) -> Result<HeaderMap, OtlpOptionError> {
        let mut headers = HeaderMap::new();
        let Some((name, value)) = self.exporter("HEADERS")? else { return Ok(headers) };
        for (entry, (key, value)) in (1..).zip(pairs(&name, &value)?) {
            let illegal = || OtlpOptionError::Pair { name: name.clone(), entry };
            let key = HeaderName::from_bytes(key.as_bytes()).map_err(|_| illegal())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| illegal())?;
            value.set_sensitive(true);
            headers.append(key, value);
        }
        Ok(headers)
    }

    pub(super) fn resource(&self) -> Result<Vec<(String, String)>, OtlpOptionError> {
        const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let mut all = vec![
            ("service.name".to_owned(), "tracer".to_owned()),
            ("host.name".to_owned(), host.trim().to_owned()),
            ("os.type".to_owned(), "linux".to_owned()),
        ];
        let given = self.get(ATTRIBUTES)?.unwrap_or_default();
        for (key, value) in pairs(ATTRIBUTES, &given)? {
            set(&mut all, &key, value);
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME")? {
            set(&mut all, "service.name", name);
        }
        // Each process has its own.
        all.retain(|(key, value)| key != "process.pid" && !value.is_empty());
        Ok(all)
    }
}

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/opentelemetry/proto/collector/trace/v1/trace_service.proto#L29>
pub(super) const GRPC_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn with_path(base: &str, path: &str) -> String {
    format!("{}{path}", base.trim_end_matches('/'))
}

fn set(all: &mut Vec<(String, String)>, key: &str, value: String) {
    match all.iter_mut().find(|(known, _)| known == key) {
        Some((_, place)) => *place = value,
        None => all.push((key.to_owned(), value)),
    }
}

/// `key=value,key=value`, the values percent-encoded.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, OtlpOptionError> {
    let entries = text.split(',').filter(|entry| !entry.trim().is_empty());
    (1..)
        .zip(entries)
        .map(|(number, entry)| {
            let pair = entry.split_once('=').and_then(|(key, value)| {
                let decode = |text: &str| {
                    let text = percent_decode_str(text.trim()).decode_utf8();
                    text.map(Cow::into_owned).ok()
                };
                Some((decode(key).filter(|key| !key.is_empty())?, decode(value)?))
            });
            pair.ok_or_else(|| OtlpOptionError::Pair { name: name.to_owned(), entry: number })
        })
        .collect()
}
