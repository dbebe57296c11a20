//! From the parameters to an output: names, documents, hosts, what is made before.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value as Json;
use url::Url;

use super::document::{Layout, Stamp, Updates, iso8601};
use super::hosts::{Cluster, Host, Reach, Signing};
use super::install::{Installer, Plan, Rollover, Stream};
use super::judge::{Operation, Rules};
use super::names::{self, DatedRules, NameRules};
use super::pace::{MAX_REQUESTS_AT_ONCE, Pace};
use super::params::{AwsService, CompressionLevel, EndpointParams, Family, Scheme, SearchParams};
use super::send::{Counts, Sender};
use super::{Elsewhere, Search};
use crate::config::{Diagnostic, Pairs, Secret, TimeSpan};
use crate::event::RecordPath;
use crate::event::timefmt::Zone;
use crate::net::LogGate;
use crate::net::aws::{Keychain, Metadata, Role, Source, Sts};
use crate::net::http::{AwsCredentials, AwsScope, ClientOptions, Proxy};
use crate::net::tls::{ClientSettings, Verify, Versions};
use crate::plugin::{BufferDefaults, BuildContext, Template};

/// Silence of a host that is waited for, where nothing is said. The plugins' 5 s give up on requests that a busy cluster is
/// still working on.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Shortest such time that may be asked for.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
/// How long a host that failed is left alone, where nothing is said: the plugins'.
const RESURRECT_AFTER: Duration = Duration::from_secs(60);
/// The port, where nothing is said.
const PORT: u16 = 9200;
/// The version that a target is taken for that does not say. The first one without types and later ones are treated alike.
const DEFAULT_VERSION: u32 = 8;
/// Digits behind the second, where nothing is said.
const DIGITS: u32 = 9;
/// Errors after which a document is not sent again, where nothing is said.
const UNRECOVERABLE: &[&str] = &["out_of_memory_error"];
/// Errors of a document alone, where nothing is said.
const OF_RECORDS: &[&str] = &["json_parse_exception"];
/// Longest wait for a connection and for TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests after which the cluster is asked for its hosts, where nothing else is said: the client libraries'.
const RELOAD_AFTER: u64 = 10_000;
/// Lines about times that can't be read.
const ODD_TIMES: Duration = Duration::from_secs(10);
/// The container's credential service.
const CONTAINER: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

type Built<T> = Result<T, Diagnostic>;

/// Reads the parameters of one of the four outputs; nothing is opened.
pub fn build(params: SearchParams, family: Family, stream: bool, cx: &mut BuildContext<'_>) -> Built<Search> {
    cx.buffer_defaults(BufferDefaults { buffered: true, keys: &["tag"], utc: true, ..BufferDefaults::default() });
    params.check(family, stream, cx)?;
    if let Some(index) = &params.refused_index {
        names::checked(index).map_err(|why| cx.fault("refused_index", why))?;
    }
    let names = names(&params, family, stream, cx)?;
    let layout = layout(&params, stream, cx)?;
    let elsewhere = Elsewhere {
        errors: params.emit_error_label_event,
        missing_ids: params.emit_error_for_missing_id,
        second_index: params.refused_index.clone(),
        retry_tag: params.retry_tag.clone(),
    };
    let at_once = params.bulk_requests_at_once;
    if at_once.is_some_and(|at_once| !(1..=MAX_REQUESTS_AT_ONCE).contains(&at_once)) {
        return Err(cx.fault("bulk_requests_at_once", format!("bulk_requests_at_once is 1 to {MAX_REQUESTS_AT_ONCE}")));
    }
    let bytes =
        params.bulk_message_request_threshold.and_then(|size| size.0).and_then(|bytes| usize::try_from(bytes).ok());
    let sender = Sender {
        cluster: Cluster::new(reach(&params, cx)?),
        pace: Pace::new(bytes, params.bulk_message_max_documents, at_once),
        rules: Rules { unrecoverable: unrecoverable(&params) },
        operation: layout.operation,
        packing: match params.compression_level {
            CompressionLevel::NoCompression => None,
            CompressionLevel::BestSpeed => Some(Compression::fast()),
            CompressionLevel::BestCompression => Some(Compression::best()),
            CompressionLevel::DefaultCompression => Some(Compression::default()),
        },
        logs_refusals: params.log_es_400_reason,
        rounds: params.retry_tag.is_none(),
        counts: Counts::default(),
    };
    let installer = Installer::new(plan(&params, family, stream, cx)?);
    let (emit, progress) = (OnceLock::new(), Mutex::new(HashMap::new()));
    Ok(Search { sender, layout, names, installer, elsewhere, emit, progress })
}

fn unrecoverable(params: &SearchParams) -> Vec<String> {
    let of = |written: &Option<Vec<String>>, usual: &[&str]| {
        written.clone().unwrap_or_else(|| usual.iter().map(|kind| (*kind).to_owned()).collect())
    };
    let mut kinds = of(&params.unrecoverable_error_types, UNRECOVERABLE);
    kinds.extend(of(&params.unrecoverable_record_types, OF_RECORDS));
    kinds
}

fn names(params: &SearchParams, family: Family, stream: bool, cx: &BuildContext<'_>) -> Built<NameRules> {
    let of = |name: &str, text: &str| Template::new(text, name, cx);
    let some = |name: &str, text: &Option<String>| text.as_deref().map(|text| of(name, text)).transpose();
    let index = match (stream, &params.data_stream_name) {
        (false, _) => of("index_name", or(&params.index_name, "fluentd"))?,
        (true, Some(name)) => of("data_stream_name", name)?,
        (true, None) => return Err(cx.fault("data_stream_name", "'data_stream_name' parameter is required")),
    };
    let named = if stream { "data_stream_name" } else { "index_name" };
    if index.is_constant() && !params.logstash_format {
        names::checked(&index.source().to_lowercase()).map_err(|why| cx.fault(named, why))?;
    }
    let dated = match params.logstash_format && !stream {
        true => Some(DatedRules {
            prefix: of("logstash_prefix", or(&params.logstash_prefix, "logstash"))?,
            separator: or(&params.logstash_prefix_separator, "-").into(),
            format: or(&params.logstash_dateformat, "%Y.%m.%d").into(),
        }),
        false => None,
    };
    let policy = match (family, stream) {
        (Family::Opensearch, _) => some("ism_policy_id", &params.ism_policy_id)?,
        (Family::Elasticsearch, false) if params.enable_ilm => {
            Some(of("ilm_policy_id", or(&params.ilm_policy_id, "logstash-policy"))?)
        }
        (Family::Elasticsearch, false) => None,
        (Family::Elasticsearch, true) => {
            let usual = format!("{}_policy", index.source());
            Some(of("data_stream_ilm_name", params.data_stream_ilm_name.as_deref().unwrap_or(&usual))?)
        }
    };
    let template = match stream {
        true => &params.data_stream_template_name,
        false => &params.template_name,
    };
    let customize = params.customize_template.iter();
    Ok(NameRules {
        index,
        dated,
        pipeline: some("pipeline", &params.pipeline)?,
        template: some("template_name", template)?,
        customize: customize
            .map(|pair| Ok((pair.name.clone(), of("customize_template", pair.text())?)))
            .collect::<Built<_>>()?,
        alias: some("deflector_alias", &params.deflector_alias)?,
        application: Some(of("application_name", or(&params.application_name, "default"))?),
        policy,
    })
}

fn or<'p>(written: &'p Option<String>, usual: &'p str) -> &'p str {
    written.as_deref().unwrap_or(usual)
}

/// Names between commas.
fn listed(text: Option<&str>) -> Vec<String> {
    let names = text.unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn layout(params: &SearchParams, stream: bool, cx: &mut BuildContext<'_>) -> Built<Layout> {
    // A path of fields with points needs no `$.` in front, as in the plugins.
    let path = |name: &str, text: &Option<String>| {
        let Some(text) = text else { return Ok(None) };
        let nested = text.contains('.') && !text.starts_with("$[") && !text.starts_with("$.");
        let path = if nested { format!("$.{text}") } else { text.clone() };
        RecordPath::parse(&path).map(Some).map_err(|e| cx.fault(name, e.to_string()))
    };
    let (id, routing) = (path("id_key", &params.id_key)?, path("routing_key", &params.routing_key)?);
    let target_index = if stream { None } else { path("target_index_key", &params.target_index_key)? };
    let (digits, own_id) = (params.time_precision.unwrap_or(DIGITS), params.exactly_once.unwrap_or(true));
    let stamp = (stream || params.logstash_format || params.include_timestamp).then(|| Stamp {
        format: iso8601(digits, Zone::local()),
        digits,
        key: params.time_key.clone(),
        key_format: params.time_key_format.clone(),
        key_alone: params.time_key_exclude_timestamp && !stream,
    });
    if let Some(format) = &params.time_key_format {
        let read = crate::event::timefmt::by_format(b"", format, crate::event::EventTime::default());
        read.map_err(|why| cx.fault("time_key_format", why))?;
    }
    let operation = match params.write_operation {
        Some(operation) => operation,
        None if stream || id.is_none() && own_id => Operation::Create,
        None => Operation::Index,
    };
    let metadata = params.metadata.as_ref().filter(|metadata| metadata.include_chunk_id);
    Ok(Layout {
        operation,
        own_id,
        id,
        routing,
        target_index,
        stamp,
        utc_index: params.utc_index.unwrap_or(true),
        tag_key: params.include_tag_key.then(|| or(&params.tag_key, "tag").into()),
        remove: listed(params.remove_keys.as_deref()),
        updates: Updates {
            remove: listed(params.remove_keys_on_update.as_deref()),
            remove_key: params.remove_keys_on_update_key.clone(),
            bare: params.suppress_doc_wrap,
        },
        flatten: params.flatten_hashes.then(|| or(&params.flatten_hashes_separator, "_").into()),
        chunk_id_key: metadata.map(|m| m.chunk_id_key.clone().unwrap_or_else(|| "chunk_id".into())),
        inject: cx.inject()?,
        in_url: stream || params.include_index_in_url,
        type_name: or(&params.type_name, "fluentd").into(),
        odd_times: LogGate::new(ODD_TIMES),
    })
}

// ---- hosts ----

fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    secret(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

fn secret(text: String) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text).map_err(|e| e.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Text as it may stand in a URL's user or password: what is in `%{...}` is escaped.
fn escaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("%{") {
        let Some((inside, behind)) = behind.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&super::send::encoded(inside));
        rest = behind;
    }
    out + rest
}

/// `%{...}` around a user or a password that is a parameter of its own.
fn bare(text: &str) -> &str {
    text.strip_prefix("%{").and_then(|text| text.strip_suffix('}')).unwrap_or(text)
}

/// The address of one host: `host`, `host:port`, an IPv6 address, or a URL.
fn address(text: &str, params: &SearchParams) -> Result<Host, String> {
    let scheme = if params.scheme == Scheme::Https { "https" } else { "http" };
    let port = params.port.unwrap_or(PORT);
    let is_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let written = match text {
        _ if is_v6 => format!("{scheme}://[{text}]:{port}"),
        _ if text.contains("://") => escaped(text),
        _ if text.contains(':') => format!("{scheme}://{text}"),
        _ => format!("{scheme}://{text}:{port}"),
    };
    let bad = |why: &str| format!("{:?} is no host: {why}", bare_of_secrets(text));
    if text.contains("${") {
        return Err(bad("a placeholder can't choose the host, for what an event brings would"));
    }
    let mut url = Url::parse(&written).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || url.query().is_some() {
        return Err(bad("write host, host:port or https://host:port/path"));
    }
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = match (url.username(), url.password()) {
        ("", _) => None,
        (user, password) => Some(basic(&decoded(user), &decoded(password.unwrap_or_default()))?),
    };
    // Neither fails where there is a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if url.path() == "/"
        && let Some(path) = &params.path
    {
        url.set_path(&format!("/{}", path.trim_matches('/')));
    }
    Ok(Host { url, login })
}

/// A host without its user and password, for messages.
fn bare_of_secrets(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// The address that an id of Elastic Cloud stands for: `name:BASE64(domain$cluster$...)`.
fn cloud(id: &str) -> Result<Host, String> {
    let bad = || "it is no id of Elastic Cloud; copy it from the deployment's page".to_owned();
    let (_, packed) = id.split_once(':').ok_or_else(bad)?;
    let text = String::from_utf8(STANDARD.decode(packed.trim()).map_err(|_| bad())?).map_err(|_| bad())?;
    let mut parts = text.split('$');
    let (domain, cluster) = (parts.next().unwrap_or_default(), parts.next().filter(|c| !c.is_empty()).ok_or_else(bad)?);
    let (domain, port) = domain.split_once(':').unwrap_or((domain, "443"));
    let url = Url::parse(&format!("https://{cluster}.{domain}:{port}/")).map_err(|_| bad())?;
    Ok(Host { url, login: None })
}

fn hosts(params: &SearchParams, cx: &BuildContext<'_>) -> Built<Vec<Host>> {
    if let Some(endpoint) = &params.endpoint {
        let host = address(endpoint.url.trim_end_matches('/'), params);
        return Ok(vec![host.map_err(|why| cx.fault("endpoint", why))?]);
    }
    if let Some(id) = &params.cloud_id {
        return Ok(vec![cloud(id).map_err(|why| cx.fault("cloud_id", why))?]);
    }
    let (name, text) =
        params.hosts.as_deref().map_or_else(|| ("host", or(&params.host, "localhost")), |hosts| ("hosts", hosts));
    let hosts = text.split(',').map(str::trim).filter(|host| !host.is_empty());
    let hosts: Vec<Host> =
        hosts.map(|host| address(host, params)).collect::<Result<_, _>>().map_err(|why| cx.fault(name, why))?;
    match hosts.is_empty() {
        true => Err(cx.fault(name, format!("{name} names no host"))),
        false => Ok(hosts),
    }
}

fn headers(params: &SearchParams, cx: &BuildContext<'_>) -> Built<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in &params.custom_headers {
        let fault = |why: String| cx.fault("custom_headers", format!("{:?}: {why}", pair.name));
        let name = HeaderName::try_from(&pair.name).map_err(|e| fault(e.to_string()))?;
        headers.insert(name, HeaderValue::try_from(pair.text()).map_err(|e| fault(e.to_string()))?);
    }
    let login = match (&params.user, &params.password, &params.cloud_auth, &params.api_key) {
        (Some(user), Some(password), ..) => Some(basic(bare(user), bare(password.expose()))),
        (_, _, Some(both), _) => {
            let (user, password) = both.expose().split_once(':').unwrap_or((both.expose(), ""));
            Some(basic(user, password))
        }
        (_, _, _, Some(key)) => {
            // `id:key` is packed here; what is not of that form was packed by who gave it.
            let key = key.expose();
            let key = if key.contains(':') { STANDARD.encode(key) } else { key.to_owned() };
            Some(secret(format!("ApiKey {key}")))
        }
        _ => None,
    };
    if let Some(login) = login {
        headers.insert(AUTHORIZATION, login.map_err(|why| cx.fault("user", why))?);
    }
    Ok(headers)
}

fn reach(params: &SearchParams, cx: &mut BuildContext<'_>) -> Built<Reach> {
    let hosts = hosts(params, cx)?;
    let settings = ClientSettings {
        verify: Verify { nothing: params.ssl_verify == Some(false), ..Verify::default() },
        ca_paths: params.ca_file.iter().cloned().collect(),
        system_roots: params.ca_file.is_none(),
        cert_path: params.client_cert.clone(),
        private_key_path: params.client_key.clone(),
        private_key_passphrase: params.client_key_pass.clone(),
        versions: Versions { only: params.ssl_version, min: params.ssl_min_version, max: params.ssl_max_version },
        ciphers: None,
        alpn: &[],
    };
    let own = |parameter: &str| match parameter {
        "tls_version" => "ssl_version",
        "tls_client_cert_path" => "client_cert",
        _ => "ca_file",
    };
    let warnings = settings.check().map_err(|fault| cx.fault(own(fault.parameter), fault.message))?;
    warnings.into_iter().for_each(|warning| cx.warn(own(warning.parameter), warning.message));
    let has_tls = hosts.iter().any(|host| host.url.scheme() == "https");
    for name in ["ssl_verify", "ca_file", "client_cert", "client_key"] {
        if !has_tls {
            cx.without_effect(name, "no host is https");
        }
    }
    let proxy = params.proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
    let reload_after = params.reload_after.and_then(|after| u64::try_from(after).ok()).filter(|after| *after > 0);
    Ok(Reach {
        hosts,
        headers: headers(params, cx)?,
        signing: params.endpoint.as_ref().map(|endpoint| signing(endpoint, cx)).transpose()?,
        resurrect_after: params.resurrect_after.map_or(RESURRECT_AFTER, TimeSpan::duration),
        options: ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            tls_timeout: CONNECT_TIMEOUT,
            read_timeout: params.request_timeout.map_or(REQUEST_TIMEOUT, TimeSpan::duration).max(SHORTEST_TIMEOUT),
            proxy: proxy.map_err(|why| cx.fault("proxy", why))?,
            ..ClientOptions::default()
        },
        tls: has_tls.then_some(settings),
        reload_after: params.reload_connections.then(|| reload_after.unwrap_or(RELOAD_AFTER)),
        reload_on_failure: params.reload_on_failure,
    })
}

fn signing(endpoint: &EndpointParams, cx: &mut BuildContext<'_>) -> Built<Signing> {
    let keys = match (&endpoint.access_key_id, &endpoint.secret_access_key) {
        (Some(id), Some(secret)) if !id.is_empty() && !secret.is_empty() => Some(Source::Static(AwsCredentials {
            access_key: id.clone(),
            secret_key: secret.clone(),
            session_token: None,
        })),
        (Some(id), _) if !id.is_empty() => {
            return Err(cx.fault("endpoint", "access_key_id without secret_access_key; give both or none"));
        }
        (_, Some(secret)) if !Secret::is_empty(secret) => {
            return Err(cx.fault("endpoint", "secret_access_key without access_key_id; give both or none"));
        }
        _ => None,
    };
    let role = endpoint.assume_role_arn.as_ref().map(|arn| Role {
        arn: arn.clone(),
        session: endpoint.assume_role_session_name.clone().unwrap_or_else(|| "suiro".into()),
        ..Role::default()
    });
    let sts = Sts { region: endpoint.sts_credentials_region.clone(), ..Sts::default() };
    let source = match (role, &endpoint.assume_role_web_identity_token_file) {
        (Some(role), Some(token)) => Source::WebIdentity(Box::new((sts, role, token.clone()))),
        (Some(role), None) => Source::AssumeRole(Box::new((sts, role, keys.unwrap_or(Source::Chain)))),
        (None, Some(_)) => {
            let why = "assume_role_web_identity_token_file without assume_role_arn; give both";
            return Err(cx.fault("endpoint", why));
        }
        (None, None) => match (keys, &endpoint.ecs_container_credentials_relative_uri) {
            (Some(keys), _) => keys,
            (None, Some(path)) if std::env::var(CONTAINER).is_ok_and(|set| set == *path) => {
                Source::Instance(Metadata::default())
            }
            (None, Some(_)) => {
                let why = format!(
                    "ecs_container_credentials_relative_uri is read from {CONTAINER}, which the platform sets; take it out, \
                     or set that variable"
                );
                return Err(cx.fault("endpoint", why));
            }
            (None, None) => Source::Chain,
        },
    };
    let service = match endpoint.aws_service_name {
        AwsService::Es => "es",
        AwsService::Aoss => "aoss",
    };
    let scope = AwsScope { service: service.into(), region: endpoint.region.clone() };
    Ok(Signing { keychain: Keychain::new(source, &endpoint.region), scope })
}

// ---- what is made before ----

fn policy(name: &str, text: &str, cx: &BuildContext<'_>) -> Built<Json> {
    let json: Result<Json, _> = serde_json::from_str(text);
    let json = json.map_err(|e| cx.fault(name, format!("{name} is no JSON: {e}")))?;
    match json.get("policy").is_some_and(Json::is_object) {
        true => Ok(json),
        false => Err(cx.fault(name, format!("{name} has no \"policy\"; write {{\"policy\":{{...}}}}"))),
    }
}

fn policies(params: &SearchParams, family: Family, stream: bool, cx: &BuildContext<'_>) -> Built<Vec<(String, Json)>> {
    let one = |name: &str, text: &Option<String>| {
        // Without a name it is the one that the parameters name.
        text.iter().map(|text| Ok((String::new(), policy(name, text, cx)?))).collect::<Built<Vec<_>>>()
    };
    let each = |pairs: &Pairs| {
        let each = pairs.iter().map(|pair| Ok((pair.name.clone(), policy("ilm_policies", pair.text(), cx)?)));
        each.collect::<Built<Vec<_>>>()
    };
    match (family, stream) {
        (Family::Opensearch, _) => one("ism_policy", &params.ism_policy),
        (Family::Elasticsearch, true) => one("data_stream_ilm_policy", &params.data_stream_ilm_policy),
        (Family::Elasticsearch, false) if params.ilm_policies.is_empty() => one("ilm_policy", &params.ilm_policy),
        (Family::Elasticsearch, false) => each(&params.ilm_policies),
    }
}

fn plan(params: &SearchParams, family: Family, stream: bool, cx: &BuildContext<'_>) -> Built<Plan> {
    let rolls = !stream && (params.rollover_index || params.enable_ilm);
    let wildcard = params.data_stream_template_use_index_patterns_wildcard;
    let templates = params.templates.iter().map(|pair| (pair.name.clone(), pair.text().into()));
    Ok(Plan {
        family,
        verifies: params.verify_es_version_at_startup.unwrap_or(true),
        untyped: params.suppress_type_name,
        default_version: params.default_elasticsearch_version.unwrap_or(DEFAULT_VERSION),
        template_file: params.template_file.clone(),
        templates: templates.collect(),
        overwrites: params.template_overwrite,
        is_legacy: params.use_legacy_template.unwrap_or(!stream),
        rollover: rolls.then(|| Rollover {
            date_pattern: or(&params.index_date_pattern, "now/d").into(),
            separator: or(&params.index_separator, "-").into(),
            by_policy: params.enable_ilm,
        }),
        policies: policies(params, family, stream, cx)?,
        overwrites_policies: params.ilm_policy_overwrite || params.data_stream_ilm_policy_overwrite,
        stream: stream.then_some(Stream { wildcard: wildcard.unwrap_or(true) }),
        forget_after: params.truncate_caches_interval.map(TimeSpan::duration),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(text: &str) -> String {
        let params = SearchParams { path: Some("/base/".into()), ..SearchParams::default() };
        address(text, &params).map_or_else(|why| why, |host| host.url.to_string())
    }

    #[test]
    fn hosts_are_read_in_every_form() {
        assert_eq!(url("es"), "http://es:9200/base");
        assert_eq!(url("es:1"), "http://es:1/base");
        assert_eq!(url("::1"), "http://[::1]:9200/base");
        assert_eq!(url("https://u:p@es.example/own"), "https://es.example/own");
        assert!(url("es-${tag}").contains("a placeholder can't choose the host"));
        assert!(!url("ftp://u:secret@es").contains("secret"));
        let login = address("https://%{j+h}:%{p@ss}@es", &SearchParams::default()).unwrap().login.unwrap();
        assert_eq!(login, basic("j+h", "p@ss").unwrap());
    }

    #[test]
    fn an_id_of_the_cloud_is_an_address() {
        let id = |text: &str| format!("logs:{}", STANDARD.encode(text));
        let of = |id: &str| cloud(id).map(|host| host.url.to_string());
        assert_eq!(of(&id("eu.cloud.example$abc$def")).unwrap(), "https://abc.eu.cloud.example/");
        assert_eq!(of(&id("eu.cloud.example:9243$abc$")).unwrap(), "https://abc.eu.cloud.example:9243/");
        for bad in ["logs", "logs:!!", &id("eu.cloud.example"), &id("eu$")] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
