//! Parameters of `splunk_hec`, and what is wrong with them.

use std::path::PathBuf;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use super::row::{Metrics, Part, Shape};
use super::{Acks, channel};
use crate::config::{Diagnostic, Pairs, Secret, TimeSpan};
use crate::event::RecordPath;
use crate::net::http::ClientOptions;
use crate::net::tls::{ClientSettings, Verify, Versions};
use crate::output::service::{Web, fields};
use crate::plugin::BuildContext;
use crate::plugin::web::{address, header};

/// The header that carries the channel.
const CHANNEL: &str = "x-splunk-request-channel";

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Http,
    #[default]
    Https,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DataType {
    #[default]
    Event,
    Metric,
}

/// Parameters of `splunk_hec`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SplunkParams {
    /// `http` or `https`.
    protocol: Protocol,
    /// Where the collector is.
    hec_host: Option<String>,
    /// Its port.
    hec_port: u16,
    /// The path of its endpoint.
    pub(super) hec_endpoint: String,
    /// Protocol, host and port in one.
    full_url: Option<String>,
    /// The token.
    hec_token: Option<Secret>,
    /// Plugin's time after which an unused connection is replaced.
    idle_timeout: Option<u64>,
    /// Seconds that the collector may be silent.
    read_timeout: Option<u64>,
    /// Seconds for connecting.
    open_timeout: Option<u64>,
    /// The client's certificate.
    client_cert: Option<PathBuf>,
    /// Its private key.
    client_key: Option<PathBuf>,
    /// Authorities to trust instead of the system's.
    ca_file: Option<PathBuf>,
    /// A directory of such files.
    ca_path: Option<PathBuf>,
    /// Suites of TLS 1.2.
    ssl_ciphers: Vec<String>,
    /// Whether the collector's certificate is not checked.
    insecure_ssl: bool,
    /// `event` or `metric`.
    data_type: DataType,
    /// The index, or the field with it.
    index: Option<String>,
    index_key: Option<String>,
    /// The host, or the field with it.
    host: Option<String>,
    host_key: Option<String>,
    /// The source, or the field with it.
    source: Option<String>,
    source_key: Option<String>,
    /// The sourcetype, or the field with it.
    sourcetype: Option<String>,
    sourcetype_key: Option<String>,
    /// The field with the time.
    time_key: Option<String>,
    /// Whether each field is a metric.
    metrics_from_event: Option<bool>,
    /// The field with a metric's name.
    metric_name_key: Option<String>,
    /// The field with its value.
    metric_value_key: Option<String>,
    /// Whether fields that become properties stay in the event.
    keep_keys: bool,
    /// Indexed fields, or dimensions of metrics.
    fields: Option<Pairs>,
    /// Name and version of the sender, as Splunk shows them.
    app_name: String,
    app_version: String,
    /// Whether bodies are packed.
    gzip_compression: bool,
    /// Whether what is refused is not tried again.
    pub(super) consume_chunk_on_4xx_errors: bool,
    /// Bytes that are no UTF-8.
    coerce_to_utf8: Option<bool>,
    /// What they become.
    non_utf8_replacement_string: Option<String>,
    /// Whether a chunk is delivered only when the indexers have it.
    use_ack: bool,
    /// The channel of acknowledgements, a GUID.
    channel: Option<String>,
    /// Where acknowledgements are asked for.
    ack_endpoint: String,
    /// Pause between two questions.
    ack_interval: TimeSpan,
    /// How long to wait for the indexers.
    ack_timeout: TimeSpan,
}

impl Default for SplunkParams {
    fn default() -> SplunkParams {
        SplunkParams {
            protocol: Protocol::default(),
            hec_host: None,
            hec_port: 8088,
            hec_endpoint: "services/collector".into(),
            full_url: None,
            hec_token: None,
            idle_timeout: None,
            read_timeout: None,
            open_timeout: None,
            client_cert: None,
            client_key: None,
            ca_file: None,
            ca_path: None,
            ssl_ciphers: Vec::new(),
            insecure_ssl: false,
            data_type: DataType::default(),
            index: None,
            index_key: None,
            host: None,
            host_key: None,
            source: None,
            source_key: None,
            sourcetype: None,
            sourcetype_key: None,
            time_key: None,
            metrics_from_event: None,
            metric_name_key: None,
            metric_value_key: None,
            keep_keys: false,
            fields: None,
            app_name: "suiro".into(),
            app_version: env!("CARGO_PKG_VERSION").into(),
            gzip_compression: false,
            consume_chunk_on_4xx_errors: true,
            coerce_to_utf8: None,
            non_utf8_replacement_string: None,
            use_ack: false,
            channel: None,
            ack_endpoint: "services/collector/ack".into(),
            ack_interval: TimeSpan::secs(1.0),
            ack_timeout: TimeSpan::secs(300.0),
        }
    }
}

impl SplunkParams {
    /// What contradicts itself or changes nothing.
    pub(super) fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.full_url.is_none() && self.hec_host.is_none() {
            return Err(cx.fault("hec_host", "'hec_host' parameter is required"));
        }
        let pairs = [
            ("index", &self.index, &self.index_key),
            ("host", &self.host, &self.host_key),
            ("source", &self.source, &self.source_key),
            ("sourcetype", &self.sourcetype, &self.sourcetype_key),
        ];
        for (name, fixed, key) in pairs {
            if fixed.is_some() && key.is_some() {
                return Err(cx.fault(name, format!("Can not set {name} and {name}_key at the same time.")));
            }
        }
        cx.without_effect("idle_timeout", "a connection that the collector has closed is noticed before it is used");
        let utf8 = "bytes that are no UTF-8 become U+FFFD, which is what JSON can hold";
        ["coerce_to_utf8", "non_utf8_replacement_string"].iter().for_each(|name| cx.without_effect(name, utf8));
        if !self.use_ack {
            let names = ["channel", "ack_endpoint", "ack_interval", "ack_timeout"];
            names.iter().for_each(|name| cx.without_effect(name, "it is for use_ack true"));
        }
        if self.data_type == DataType::Event {
            let names = ["metrics_from_event", "metric_name_key", "metric_value_key"];
            names.iter().for_each(|name| cx.without_effect(name, "it is for data_type metric"));
        } else if cx.section.child("format").is_some() {
            return Err(cx.fault("format", "<format> is for data_type event: metrics have a form of their own"));
        }
        Ok(())
    }

    /// The address of one of the collector's endpoints.
    pub(super) fn address(&self, endpoint: &str, cx: &BuildContext<'_>) -> Result<Url, Diagnostic> {
        let endpoint = endpoint.trim_start_matches('/');
        if let Some(full) = &self.full_url {
            return address(&format!("{}/{endpoint}", full.trim_end_matches('/')), "full_url", cx);
        }
        let (host, port) = (self.hec_host.as_deref().unwrap_or_default(), self.hec_port);
        let protocol = if self.protocol == Protocol::Https { "https" } else { "http" };
        let url = address(&format!("{protocol}://{host}:{port}/{endpoint}"), "hec_host", cx)?;
        // What looks like a path or a query within the host would lead elsewhere.
        match url.port_or_known_default() == Some(port) && !host.contains(['/', '?', '#']) {
            true => Ok(url),
            false => Err(cx.fault("hec_host", "hec_host is a name or an address alone")),
        }
    }

    pub(super) fn headers(&self, acks: bool, cx: &BuildContext<'_>) -> Result<HeaderMap, Diagnostic> {
        let token = self.hec_token.as_ref().map(Secret::expose).unwrap_or_default();
        if token.is_empty() {
            return Err(cx.fault("hec_token", "'hec_token' parameter is required"));
        }
        let mut headers = HeaderMap::new();
        let token = header(&format!("Splunk {token}")).map_err(|why| cx.fault("hec_token", why))?;
        headers.insert(AUTHORIZATION, token);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (parameter, name, value) in [
            ("app_name", "__splunk_app_name", &self.app_name),
            ("app_version", "__splunk_app_version", &self.app_version),
        ] {
            let value = HeaderValue::try_from(value).map_err(|e| cx.fault(parameter, e.to_string()))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        if acks {
            let channel = match &self.channel {
                Some(text) => header(text),
                None => channel(),
            };
            headers.insert(HeaderName::from_static(CHANNEL), channel.map_err(|why| cx.fault("channel", why))?);
        }
        Ok(headers)
    }

    pub(super) fn acks(&self, cx: &BuildContext<'_>) -> Result<Option<Acks>, Diagnostic> {
        if !self.use_ack {
            return Ok(None);
        }
        let (interval, timeout) = (self.ack_interval.duration(), self.ack_timeout.duration());
        if interval.is_zero() || timeout <= interval {
            return Err(cx.fault("ack_interval", "ack_interval must be more than nothing and less than ack_timeout"));
        }
        Ok(Some(Acks { url: self.address(&self.ack_endpoint, cx)?, interval, timeout }))
    }

    pub(super) fn web(&self, cx: &mut BuildContext<'_>) -> Result<Web, Diagnostic> {
        let settings = ClientSettings {
            verify: Verify { nothing: self.insecure_ssl, ..Verify::default() },
            system_roots: self.ca_file.is_none() && self.ca_path.is_none(),
            ca_paths: self.ca_file.iter().cloned().collect(),
            cert_path: self.client_cert.clone(),
            private_key_path: self.client_key.clone(),
            private_key_passphrase: None,
            versions: Versions::default(),
            ciphers: (!self.ssl_ciphers.is_empty()).then(|| self.ssl_ciphers.join(":")),
            alpn: &[],
        };
        // What it finds at fault has another name here.
        let named = |parameter: &str| if parameter == "tls_ciphers" { "ssl_ciphers" } else { "client_cert" };
        let warnings = settings.check().map_err(|f| cx.fault(named(f.parameter), f.message))?;
        warnings.into_iter().for_each(|w| cx.warn(named(w.parameter), w.message));
        let tls = self.address("", cx)?.scheme() == "https";
        if !tls {
            let names = ["client_cert", "ca_file", "ca_path", "ssl_ciphers", "insecure_ssl"];
            names.iter().for_each(|name| cx.without_effect(name, "the collector is not spoken to by https"));
        }
        let seconds = |value: Option<u64>| std::time::Duration::from_secs(value.unwrap_or(60).max(1));
        let options = ClientOptions {
            connect_timeout: seconds(self.open_timeout),
            tls_timeout: seconds(self.open_timeout),
            read_timeout: seconds(self.read_timeout),
            ..ClientOptions::default()
        };
        Ok(Web::new(options, tls.then_some(settings), self.gzip_compression).trusting(self.ca_path.clone()))
    }

    pub(super) fn shape(&self, cx: &mut BuildContext<'_>) -> Result<Shape, Diagnostic> {
        let formatter = match cx.section.child("format") {
            Some(_) => Some(cx.formatter("json")?),
            None => None,
        };
        let inject = cx.inject()?;
        let host = part("host", self.host.as_deref(), self.host_key.as_deref(), cx)?;
        Ok(Shape {
            host: host.unwrap_or_else(|| Part::Fixed(cx.process.hostname.clone())),
            source: part("source", self.source.as_deref(), self.source_key.as_deref(), cx)?,
            sourcetype: part("sourcetype", self.sourcetype.as_deref(), self.sourcetype_key.as_deref(), cx)?,
            index: part("index", self.index.as_deref(), self.index_key.as_deref(), cx)?,
            time: self.time_key.as_deref().map(|key| path("time_key", key, cx)).transpose()?,
            keep: self.keep_keys,
            fields: self.fields.as_ref().map(fields).transpose()?,
            formatter,
            metrics: self.metrics(cx)?,
            inject,
        })
    }

    fn metrics(&self, cx: &BuildContext<'_>) -> Result<Option<Metrics>, Diagnostic> {
        if self.data_type == DataType::Event {
            return Ok(None);
        }
        let Some(name) = &self.metric_name_key else {
            return match self.metrics_from_event {
                Some(false) => {
                    let why = "`metric_name_key` is required when `metrics_from_event` is `false`.";
                    Err(cx.fault("metric_name_key", why))
                }
                _ => Ok(Some(Metrics::Each)),
            };
        };
        let missing = || cx.fault("metric_value_key", "`metric_value_key` is required when `metric_name_key` is set.");
        let value = self.metric_value_key.as_ref().ok_or_else(missing)?;
        Ok(Some(Metrics::Named(path("metric_name_key", name, cx)?, path("metric_value_key", value, cx)?)))
    }
}

/// A property: `${tag}` is the tag, other texts stand for themselves.
fn part(name: &str, fixed: Option<&str>, key: Option<&str>, cx: &BuildContext<'_>) -> Result<Option<Part>, Diagnostic> {
    Ok(match (fixed, key) {
        (_, Some(key)) => Some(Part::Field(path(&format!("{name}_key"), key, cx)?)),
        (Some("${tag}"), None) => Some(Part::Tag),
        (Some(text), None) if text.contains("${") => {
            let why =
                format!("{text:?}: {name} is '${{tag}}' as a whole, or a text without placeholders; see {name}_key");
            return Err(cx.fault(name, why));
        }
        (Some(text), None) => Some(Part::Fixed(text.to_owned())),
        (None, None) => None,
    })
}

/// A field by its name; dots lead into nested ones, as in the plugin.
fn path(parameter: &str, key: &str, cx: &BuildContext<'_>) -> Result<RecordPath, Diagnostic> {
    let text = match key.starts_with('$') || !key.contains('.') {
        true => key.to_owned(),
        false => {
            let steps: String = key.split('.').map(|step| format!("['{step}']")).collect();
            format!("${steps}")
        }
    };
    RecordPath::parse(&text).map_err(|e| cx.fault(parameter, e.to_string()))
}
