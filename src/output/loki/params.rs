//! Parameters of `loki`, and what is wrong with them.

use std::path::PathBuf;

use hyper::header::HeaderMap;
use serde::Deserialize;
use url::Url;

use super::row::{LineFormat, Shape, label_name};
use crate::config::{Diagnostic, Pairs, Secret, TimeSpan};
use crate::event::RecordPath;
use crate::net::http::{ClientOptions, Proxy};
use crate::net::tls::{ClientSettings, Verify, Version, Versions};
use crate::output::service::{Web, fields};
use crate::plugin::BuildContext;
use crate::plugin::web::{LoginParams, Token, address, by_key};

/// The plugin's address.
const DEFAULT_URL: &str = "https://logs-prod-us-central1.grafana.net";

/// How bodies are packed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Compress {
    Gzip,
}

/// Parameters of `loki`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct LokiParams {
    /// The address of Loki; `/loki/api/v1/push` is put behind it.
    url: String,
    /// How to log in.
    #[serde(rename = "$same_login")]
    login: LoginParams,
    /// The client's certificate.
    cert: Option<PathBuf>,
    /// Its private key.
    key: Option<PathBuf>,
    /// Authorities to trust instead of the system's.
    ca_cert: Option<PathBuf>,
    /// Suites of TLS 1.2, as an OpenSSL cipher string.
    ciphers: Option<String>,
    /// The lowest version of TLS.
    min_version: Option<Version>,
    /// Whether the certificate of the target is not checked.
    insecure_tls: bool,
    /// Headers to send.
    custom_headers: Pairs,
    /// `gzip`.
    compress: Option<Compress>,
    /// The tenant; placeholders may stand in it.
    pub(super) tenant: Option<String>,
    /// Labels that all entries get.
    extra_labels: Pairs,
    /// Labels from fields.
    label: Pairs,
    /// Structured metadata from fields.
    structured_metadata: Pairs,
    /// `json` or `key_value`.
    line_format: LineFormat,
    /// Whether the labels of Kubernetes' pods become labels.
    extract_kubernetes_labels: bool,
    /// Fields to take out.
    remove_keys: Vec<String>,
    /// Whether a record of one field is a line of its value.
    drop_single_key: bool,
    /// Whether there is a label `fluentd_thread` where there are several flush threads.
    include_thread_label: bool,
    /// How long connecting may take.
    open_timeout: Option<TimeSpan>,
    /// How long Loki may be silent.
    read_timeout: Option<TimeSpan>,
    /// A proxy for everything.
    proxy: Option<Secret>,
}

impl Default for LokiParams {
    fn default() -> LokiParams {
        LokiParams {
            url: DEFAULT_URL.into(),
            login: LoginParams::default(),
            cert: None,
            key: None,
            ca_cert: None,
            ciphers: None,
            min_version: None,
            insecure_tls: false,
            custom_headers: Pairs::default(),
            compress: None,
            tenant: None,
            extra_labels: Pairs::default(),
            label: Pairs::default(),
            structured_metadata: Pairs::default(),
            line_format: LineFormat::default(),
            extract_kubernetes_labels: false,
            remove_keys: Vec::new(),
            drop_single_key: false,
            include_thread_label: true,
            open_timeout: None,
            read_timeout: None,
            proxy: None,
        }
    }
}

/// What `<buffer>` says about threads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ThreadParams {
    flush_thread_count: Option<u64>,
}

impl LokiParams {
    pub(super) fn address(&self, cx: &BuildContext<'_>) -> Result<Url, Diagnostic> {
        address(&format!("{}/loki/api/v1/push", self.url.trim_end_matches('/')), "url", cx)
    }

    /// Headers of every request, and the token that goes there each time.
    pub(super) fn headers(&self, cx: &BuildContext<'_>) -> Result<(HeaderMap, Option<Token>), Diagnostic> {
        let mut headers = by_key(&self.custom_headers, "custom_headers", cx)?;
        let token = self.login.prove(&mut headers, cx)?;
        Ok((headers, token))
    }

    pub(super) fn web(&self, cx: &mut BuildContext<'_>) -> Result<Web, Diagnostic> {
        let settings = ClientSettings {
            verify: Verify { nothing: self.insecure_tls, ..Verify::default() },
            ca_paths: self.ca_cert.iter().cloned().collect(),
            system_roots: self.ca_cert.is_none(),
            cert_path: self.cert.clone(),
            private_key_path: self.key.clone(),
            private_key_passphrase: None,
            versions: Versions { only: None, min: self.min_version, max: self.min_version.map(|_| Version::Tls13) },
            ciphers: self.ciphers.clone(),
            alpn: &[],
        };
        // What it finds at fault has another name here.
        let named = |parameter: &str| match parameter {
            "tls_ciphers" => "ciphers",
            "tls_client_cert_path" => "cert",
            _ => "min_version",
        };
        let warnings = settings.check().map_err(|f| cx.fault(named(f.parameter), f.message))?;
        warnings.into_iter().for_each(|w| cx.warn(named(w.parameter), w.message));
        let tls = self.url.starts_with("https://");
        if !tls {
            let names = ["cert", "ca_cert", "ciphers", "min_version", "insecure_tls"];
            names.iter().for_each(|name| cx.without_effect(name, "url is not https"));
        }
        let proxy = self.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
        let defaults = ClientOptions::default();
        let options = ClientOptions {
            connect_timeout: self.open_timeout.map_or(defaults.connect_timeout, TimeSpan::duration),
            read_timeout: self.read_timeout.map_or(defaults.read_timeout, TimeSpan::duration),
            proxy: proxy.map_err(|e| cx.fault("proxy", e))?,
            ..defaults
        };
        Ok(Web::new(options, tls.then_some(settings), self.compress.is_some()))
    }

    pub(super) fn shape(&self, cx: &mut BuildContext<'_>) -> Result<Shape, Diagnostic> {
        let sanitised = |mut all: Vec<(String, RecordPath)>| {
            all.iter_mut().for_each(|(name, _)| *name = label_name(name));
            all
        };
        let path = |key: &String| RecordPath::parse(key).map_err(|e| cx.fault("remove_keys", e.to_string()));
        let remove = self.remove_keys.iter().map(path).collect::<Result<_, _>>()?;
        if self.label.is_empty() && self.extra_labels.is_empty() && !self.extract_kubernetes_labels {
            let remedy = "Loki takes no entry without a label. Name fields in <label>, or give extra_labels {\"job\":\"fluentd\"}";
            return Err(cx.fault("extra_labels", remedy));
        }
        let mut extra: Vec<_> = self.extra_labels.iter().map(|p| (p.name.clone(), p.text().to_owned())).collect();
        extra.sort();
        Ok(Shape {
            extra,
            labels: sanitised(fields(&self.label)?),
            metadata: sanitised(fields(&self.structured_metadata)?),
            remove,
            kubernetes: self.extract_kubernetes_labels,
            drop_single: self.drop_single_key,
            format: self.line_format,
            inject: cx.inject()?,
        })
    }

    /// Flush threads, where they show in a label; else 1.
    pub(super) fn threads(&self, cx: &BuildContext<'_>) -> u64 {
        let section = cx.section.child("buffer").filter(|_| self.include_thread_label);
        let read = |section| crate::config::from_section::<ThreadParams>(section, crate::config::Options::default());
        section.and_then(|section| read(section).value?.flush_thread_count).unwrap_or(1)
    }
}
