//! Parameters of the four outputs, and what is wrong with them.

use std::path::PathBuf;

use serde::Deserialize;

use super::judge::Operation;
use crate::config::{Diagnostic, Pairs, Secret, SizeLimit, TimeSpan};
use crate::net::tls::Version;
use crate::plugin::BuildContext;

/// Whose interface a target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Elastic's.
    Elasticsearch,
    /// OpenSearch's.
    Opensearch,
}

/// How hosts are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// How hard bodies are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompressionLevel {
    /// Not at all.
    #[default]
    NoCompression,
    /// As fast as can be.
    BestSpeed,
    /// As small as can be.
    BestCompression,
    /// In between.
    DefaultCompression,
}

/// `<metadata>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MetadataParams {
    /// Whether each document gets its chunk's id.
    pub include_chunk_id: bool,
    /// The field for it.
    pub chunk_id_key: Option<String>,
}

/// AWS's service by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AwsService {
    /// OpenSearch Service.
    #[default]
    Es,
    /// OpenSearch Serverless.
    Aoss,
}

/// `<endpoint>`: OpenSearch at AWS.
#[derive(Debug, Deserialize)]
pub struct EndpointParams {
    /// As `eu-west-1`.
    pub region: String,
    /// Address of the domain or collection.
    pub url: String,
    /// A key of its own.
    pub access_key_id: Option<String>,
    /// The key's secret.
    pub secret_access_key: Option<Secret>,
    /// A role to take.
    pub assume_role_arn: Option<String>,
    /// What the role's session is called.
    pub assume_role_session_name: Option<String>,
    /// File of the platform's token for that role.
    pub assume_role_web_identity_token_file: Option<PathBuf>,
    /// Region of the token service.
    pub sts_credentials_region: Option<String>,
    /// Path of the container's credentials.
    pub ecs_container_credentials_relative_uri: Option<String>,
    /// No effect: credentials are fetched anew before they end.
    pub refresh_credentials_interval: Option<TimeSpan>,
    /// `es` or `aoss`.
    #[serde(default)]
    pub aws_service_name: AwsService,
}

/// See the module's description. What is said "no effect" is taken, and warned of with the reason. Defaults are applied
/// where an output is built.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SearchParams {
    // ---- where ----
    /// The host.
    pub host: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Path in front of every other.
    pub path: Option<String>,
    /// Hosts, as `host`, `host:port` or URLs, in place of `host`.
    pub hosts: Option<String>,
    /// Who asks.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// An id of Elastic Cloud, in place of `host`.
    pub cloud_id: Option<String>,
    /// `user:password` there.
    pub cloud_auth: Option<Secret>,
    /// A key in place of user and password, as `id:key` or already encoded.
    pub api_key: Option<Secret>,
    /// Headers of every request.
    pub custom_headers: Pairs,
    /// A proxy for everything.
    pub proxy: Option<Secret>,
    /// How long a host may be silent.
    pub request_timeout: Option<TimeSpan>,
    /// How long a host that failed is left alone.
    pub resurrect_after: Option<TimeSpan>,
    /// Whether the cluster is asked for its hosts now and then.
    pub reload_connections: bool,
    /// Requests between two such questions.
    pub reload_after: Option<i64>,
    /// Whether it is asked when a host fails.
    pub reload_on_failure: bool,
    /// Whether the certificate is checked.
    pub ssl_verify: Option<bool>,
    /// Authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub client_cert: Option<PathBuf>,
    /// Its key.
    pub client_key: Option<PathBuf>,
    /// The key's passphrase.
    pub client_key_pass: Option<Secret>,
    /// The one version of TLS.
    pub ssl_version: Option<Version>,
    /// The lowest.
    pub ssl_min_version: Option<Version>,
    /// The highest.
    pub ssl_max_version: Option<Version>,
    /// OpenSearch at AWS.
    pub endpoint: Option<EndpointParams>,

    // ---- into what ----
    /// The index; placeholders may stand in it.
    pub index_name: Option<String>,
    /// An index for each day, with `@timestamp` in each document.
    pub logstash_format: bool,
    /// In front of the day; placeholders may stand in it.
    pub logstash_prefix: Option<String>,
    /// Between them.
    pub logstash_prefix_separator: Option<String>,
    /// How the day is written.
    pub logstash_dateformat: Option<String>,
    /// Whether the day is in UTC.
    pub utc_index: Option<bool>,
    /// The field that names the index; taken out of the record.
    pub target_index_key: Option<String>,
    /// Whether the index stands in the address instead of in each action.
    pub include_index_in_url: bool,
    /// The data stream; placeholders may stand in it.
    pub data_stream_name: Option<String>,
    /// The ingest pipeline; placeholders may stand in it.
    pub pipeline: Option<String>,
    /// `index`, `create`, `update` or `upsert`.
    pub write_operation: Option<Operation>,
    /// Where documents go that the target refuses.
    pub refused_index: Option<String>,

    // ---- as what ----
    /// The field of the document's id.
    pub id_key: Option<String>,
    /// Whether events without such a field get an id that follows from their chunk.
    pub exactly_once: Option<bool>,
    /// The field of the routing.
    pub routing_key: Option<String>,
    /// Whether each document gets `@timestamp`.
    pub include_timestamp: bool,
    /// The field that holds the time.
    pub time_key: Option<String>,
    /// How it is read.
    pub time_key_format: Option<String>,
    /// Digits behind the second.
    pub time_precision: Option<u32>,
    /// Whether `time_key` gives the index's day alone.
    pub time_key_exclude_timestamp: bool,
    /// Whether each document gets its tag.
    pub include_tag_key: bool,
    /// The field for it.
    pub tag_key: Option<String>,
    /// Fields that are left out.
    pub remove_keys: Option<String>,
    /// Fields that an update leaves out.
    pub remove_keys_on_update: Option<String>,
    /// The field that names those.
    pub remove_keys_on_update_key: Option<String>,
    /// Whether the record is an update's body as it is.
    pub suppress_doc_wrap: bool,
    /// Whether fields of nested maps are put on top.
    pub flatten_hashes: bool,
    /// Between their names.
    pub flatten_hashes_separator: Option<String>,
    /// The type of documents, for targets before version 7.
    pub type_name: Option<String>,
    /// Whether there are no types, whatever the version.
    pub suppress_type_name: bool,
    /// `<metadata>`
    pub metadata: Option<MetadataParams>,

    // ---- how much, and what then ----
    /// Size of a request before packing.
    pub bulk_message_request_threshold: Option<SizeLimit>,
    /// Documents of a request.
    pub bulk_message_max_documents: Option<usize>,
    /// Requests of a chunk that are under way at once.
    pub bulk_requests_at_once: Option<usize>,
    /// How hard bodies are packed.
    pub compression_level: CompressionLevel,
    /// Types of errors after which a document is not sent again.
    pub unrecoverable_error_types: Option<Vec<String>>,
    /// Types of errors after which a document is refused.
    pub unrecoverable_record_types: Option<Vec<String>>,
    /// Whether the log names each document that is refused.
    #[serde(alias = "log_os_400_reason")]
    pub log_es_400_reason: bool,
    /// Whether refused events go to `@ERROR`; else they are set aside.
    pub emit_error_label_event: bool,
    /// The same for events without an id that an update needs.
    pub emit_error_for_missing_id: bool,
    /// Tag under which events are emitted that the target put off.
    pub retry_tag: Option<String>,

    // ---- what has to be there ----
    /// Name of a template; placeholders may stand in it.
    pub template_name: Option<String>,
    /// Its file.
    pub template_file: Option<PathBuf>,
    /// Whether it is replaced where it is there.
    pub template_overwrite: bool,
    /// What is put in the place of texts of the file.
    pub customize_template: Pairs,
    /// Names of templates and their files.
    pub templates: Pairs,
    /// Whether templates are of the old kind; not those of data streams.
    pub use_legacy_template: Option<bool>,
    /// Whether indices roll over behind an alias.
    pub rollover_index: bool,
    /// The alias.
    pub deflector_alias: Option<String>,
    /// Part of the names of indices that roll over.
    pub application_name: Option<String>,
    /// Date expression in those names.
    pub index_date_pattern: Option<String>,
    /// Between the parts of those names.
    pub index_separator: Option<String>,
    /// Whether a lifecycle policy makes them roll over.
    pub enable_ilm: bool,
    /// The policy.
    pub ilm_policy_id: Option<String>,
    /// Its text; by default 50 GB or 30 days.
    pub ilm_policy: Option<String>,
    /// Several, by name.
    pub ilm_policies: Pairs,
    /// Whether a policy that is there is replaced.
    pub ilm_policy_overwrite: bool,
    /// A policy of OpenSearch's index state management.
    pub ism_policy_id: Option<String>,
    /// Its text.
    pub ism_policy: Option<String>,
    /// Template of the data stream.
    pub data_stream_template_name: Option<String>,
    /// Policy of the data stream.
    pub data_stream_ilm_name: Option<String>,
    /// Its text; by default 50 GB or 30 days.
    pub data_stream_ilm_policy: Option<String>,
    /// Whether a policy that is there is replaced.
    pub data_stream_ilm_policy_overwrite: bool,
    /// Whether names that begin like the stream's get its template.
    pub data_stream_template_use_index_patterns_wildcard: Option<bool>,
    /// How long what was made is remembered.
    pub truncate_caches_interval: Option<TimeSpan>,
    /// Whether the target is asked for its version.
    #[serde(alias = "verify_os_version_at_startup")]
    pub verify_es_version_at_startup: Option<bool>,
    /// The version where it does not say.
    #[serde(alias = "default_opensearch_version")]
    pub default_elasticsearch_version: Option<u32>,

    // ---- no effect, or none at all ----
    /// No effect.
    pub reconnect_on_error: Option<String>,
    /// No effect.
    pub sniffer_class_name: Option<String>,
    /// No effect.
    pub selector_class_name: Option<String>,
    /// No effect.
    pub http_backend: Option<String>,
    /// No effect.
    pub http_backend_excon_nonblock: Option<String>,
    /// No effect.
    pub prefer_oj_serializer: Option<String>,
    /// No effect.
    pub with_transporter_log: Option<String>,
    /// No effect.
    pub validate_client_version: Option<String>,
    /// No effect.
    pub content_type: Option<String>,
    /// No effect.
    pub max_retry_putting_template: Option<String>,
    /// No effect.
    pub fail_on_putting_template_retry_exceed: Option<String>,
    /// No effect.
    #[serde(alias = "max_retry_get_os_version")]
    pub max_retry_get_es_version: Option<String>,
    /// No effect.
    #[serde(alias = "fail_on_detecting_os_version_retry_exceed")]
    pub fail_on_detecting_es_version_retry_exceed: Option<String>,
    /// No effect.
    pub catch_transport_exception_on_retry: Option<String>,
    /// No effect.
    pub time_parse_error_tag: Option<String>,
    /// No effect.
    pub ignore_exceptions: Option<String>,
    /// No effect.
    pub exception_backup: Option<String>,
    /// No effect.
    pub target_type_key: Option<String>,
    /// No effect.
    pub parent_key: Option<String>,
    /// Refused where it is true.
    pub target_index_affinity: bool,
    /// Refused.
    pub index_prefix: Option<String>,
}

/// Parameters that change nothing here, and why.
const NO_EFFECT: &[(&str, &str)] = &[
    ("reconnect_on_error", "a connection that failed is never used again"),
    (
        "sniffer_class_name",
        "it names a Ruby class; hosts are those of the configuration, or reload_connections asks for them",
    ),
    ("selector_class_name", "it names a Ruby class; hosts take turns, and one that failed is left alone"),
    ("http_backend", "there is one HTTP client"),
    ("http_backend_excon_nonblock", "the HTTP client never blocks"),
    ("prefer_oj_serializer", "JSON is not made by Ruby"),
    ("with_transporter_log", "requests are not logged; figures are in the monitor"),
    ("validate_client_version", "no client library has a version of its own"),
    ("content_type", "bodies are always application/x-ndjson, which every version takes"),
    ("max_retry_putting_template", "what can't be made is tried again with the chunk that needs it"),
    ("fail_on_putting_template_retry_exceed", "a target that is down keeps nothing from starting"),
    ("max_retry_get_es_version", "it is asked for again with the next chunk"),
    ("fail_on_detecting_es_version_retry_exceed", "a target that is down keeps nothing from starting"),
    ("catch_transport_exception_on_retry", "what fails is tried again with the chunk"),
    ("time_parse_error_tag", "a time that can't be read is logged, and the event's own is taken"),
    ("ignore_exceptions", "it names Ruby classes; what fails is sent again, what is refused is set aside"),
    ("exception_backup", "what is refused is always set aside"),
    ("target_type_key", "targets since version 7 have no types"),
    ("parent_key", "targets since version 6 have no parents; use routing_key"),
    ("refresh_credentials_interval", "credentials are fetched anew before they end"),
];

/// Parameters of one family or kind alone: the name, and whose it is.
const ELASTIC_ONLY: &[&str] = &[
    "cloud_id",
    "cloud_auth",
    "api_key",
    "rollover_index",
    "deflector_alias",
    "enable_ilm",
    "ilm_policy_id",
    "ilm_policy",
    "ilm_policies",
    "ilm_policy_overwrite",
    "data_stream_ilm_name",
    "data_stream_ilm_policy",
    "data_stream_ilm_policy_overwrite",
];
/// See [`ELASTIC_ONLY`].
const OPEN_ONLY: &[&str] = &["endpoint", "ism_policy_id", "ism_policy"];
/// Parameters of outputs into data streams.
const STREAM_ONLY: &[&str] = &[
    "data_stream_name",
    "data_stream_template_name",
    "data_stream_ilm_name",
    "data_stream_ilm_policy",
    "data_stream_ilm_policy_overwrite",
    "data_stream_template_use_index_patterns_wildcard",
];
/// Parameters that an output into a data stream has no use for.
const NOT_OF_STREAMS: &[&str] = &[
    "index_name",
    "logstash_format",
    "target_index_key",
    "include_index_in_url",
    "rollover_index",
    "deflector_alias",
    "enable_ilm",
    "template_name",
];

/// Whether it is one, the parameter, and what to write instead.
type Contradiction = (bool, &'static str, &'static str);

impl SearchParams {
    /// What contradicts itself, is somebody else's, or changes nothing.
    pub fn check(&self, family: Family, stream: bool, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        for (name, why) in NO_EFFECT {
            cx.without_effect(name, why);
        }
        if self.endpoint.as_ref().is_some_and(|endpoint| endpoint.refresh_credentials_interval.is_some()) {
            cx.warn(
                "endpoint",
                "refresh_credentials_interval has no effect here: credentials are fetched anew before they end",
            );
        }
        let (others, kind) = match family {
            Family::Elasticsearch => (OPEN_ONLY, "opensearch"),
            Family::Opensearch => (ELASTIC_ONLY, "elasticsearch"),
        };
        let has = |name: &&&str| cx.section.has(name) || cx.section.child(name).is_some();
        if let Some(name) = others.iter().find(has) {
            let help = if *name == "enable_ilm" { "; write ism_policy_id and ism_policy" } else { "" };
            return Err(cx.fault(name, format!("'{name}' is a parameter of {kind}{help}")));
        }
        match stream {
            false => {
                if let Some(name) = STREAM_ONLY.iter().find(has) {
                    return Err(cx.fault(name, format!("'{name}' is a parameter of outputs into data streams")));
                }
            }
            true => {
                for name in NOT_OF_STREAMS {
                    cx.without_effect(name, "documents go into the data stream that data_stream_name names");
                }
                if !matches!(self.write_operation, None | Some(Operation::Create)) {
                    return Err(
                        cx.fault("write_operation", "a data stream takes only create; take write_operation out")
                    );
                }
            }
        }
        self.contradictions(cx)
    }

    fn contradictions(&self, cx: &BuildContext<'_>) -> Result<(), Diagnostic> {
        let mut all = self.of_hosts().into_iter().chain(self.of_making()).chain(self.of_documents());
        match all.find(|(wrong, ..)| *wrong) {
            Some((_, parameter, why)) => Err(cx.fault(parameter, why)),
            None => Ok(()),
        }
    }

    fn of_hosts(&self) -> [Contradiction; 5] {
        [
            (self.user.is_some() && self.password.is_none(), "user", "`password` must be present if `user` is present"),
            (self.password.is_some() && self.user.is_none(), "password", "password without user; give both or none"),
            (
                self.cloud_id.is_some() && self.cloud_auth.is_none() && self.api_key.is_none(),
                "cloud_id",
                "`cloud_auth` must be present if `cloud_id` is present (or api_key)",
            ),
            (
                self.cloud_id.is_some() && self.hosts.is_some(),
                "cloud_id",
                "cloud_id and hosts both say where to; take one of them out",
            ),
            (
                self.api_key.is_some() && self.user.is_some(),
                "api_key",
                "api_key and user both say who asks; take one of them out",
            ),
        ]
    }

    fn of_making(&self) -> [Contradiction; 6] {
        [
            (
                self.template_name.is_some() && self.template_file.is_none(),
                "template_name",
                "template_name without template_file; give both",
            ),
            (
                self.ilm_policy.is_some() && !self.ilm_policies.is_empty(),
                "ilm_policy",
                "You can't specify ilm_policy and ilm_policies at the same time",
            ),
            (
                self.ilm_policy_overwrite && self.ilm_policy.is_none() && self.ilm_policies.is_empty(),
                "ilm_policy_overwrite",
                "ilm_policy_overwrite requires a non empty ilm_policy.",
            ),
            (
                self.enable_ilm && self.deflector_alias.is_some(),
                "deflector_alias",
                "deflector_alias is prohibited to use with enable_ilm at same time.",
            ),
            (
                self.enable_ilm && self.template_name.is_none(),
                "enable_ilm",
                "enable_ilm needs template_name and template_file: the policy is named in that template",
            ),
            (
                self.ism_policy_id.is_some() != self.ism_policy.is_some(),
                "ism_policy_id",
                "ism_policy_id and ism_policy belong together; give both or none",
            ),
        ]
    }

    fn of_documents(&self) -> [Contradiction; 6] {
        [
            (
                self.index_prefix.is_some(),
                "index_prefix",
                "index_prefix is gone since 4.0; write index_name, or logstash_prefix with logstash_format",
            ),
            (
                self.target_index_affinity,
                "target_index_affinity",
                "target_index_affinity is not supported: a search before each request would decide where documents go. Write index_name or target_index_key, and update there",
            ),
            (
                self.time_precision.is_some_and(|digits| digits > 9),
                "time_precision",
                "time_precision is 0 to 9: an event's time has nanoseconds",
            ),
            (
                self.logstash_dateformat.as_ref().is_some_and(|format| format.contains("${")),
                "logstash_dateformat",
                "placeholders can't stand in logstash_dateformat, which is that of each event's own time; write them into logstash_prefix",
            ),
            (
                self.refused_index.is_some() && self.emit_error_label_event,
                "refused_index",
                "refused_index and emit_error_label_event both say where refused events go; take one of them out",
            ),
            (
                matches!(self.write_operation, Some(Operation::Update | Operation::Upsert)) && self.id_key.is_none(),
                "write_operation",
                "update and upsert need id_key: they change the document of that id",
            ),
        ]
    }
}
