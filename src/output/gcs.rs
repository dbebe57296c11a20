//! `gcs`: stores chunks as objects in Google Cloud Storage. Parameters are those of fluent-plugin-gcs.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use object_store::{Attribute, Attributes};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use url::Url;

use super::object::{
    BucketError, Compressed, Connection, Extras, GcsBucket, HexDigits, KeyParams, ObjectParams, Objects, PATIENCE,
    StoreAs, buffer_defaults, store_as,
};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, Pair, Pairs, Secret};
use crate::plugin::{BuildContext, Configure, InputError, Output, Stop, WriteError};

/// Most digits of `%{hex_random}`.
const MAX_HEX_RANDOM_LENGTH: usize = 32;

/// Bytes of a key for AES256.
const KEY_BYTES: usize = 32;

/// Names of rights, and what the service calls them.
const ACLS: &[(&str, &str)] = &[
    ("auth_read", "authenticated-read"),
    ("owner_full", "bucket-owner-full-control"),
    ("owner_read", "bucket-owner-read"),
    ("private", "private"),
    ("project_private", "project-private"),
    ("public_read", "public-read"),
];

/// Names of storage classes, and what the service calls them.
const CLASSES: &[(&str, &str)] = &[
    ("dra", "DURABLE_REDUCED_AVAILABILITY"),
    ("nearline", "NEARLINE"),
    ("coldline", "COLDLINE"),
    ("archive", "ARCHIVE"),
    ("multi_regional", "MULTI_REGIONAL"),
    ("regional", "REGIONAL"),
    ("standard", "STANDARD"),
];

/// Parameters of `gcs`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct GcsParams {
    /// The project, for a bucket that is made.
    project: Option<String>,
    /// File of a service account's key.
    keyfile: Option<String>,
    /// The key itself, in JSON.
    credentials_json: Option<Secret>,
    /// Attempts are the engine's.
    client_retries: Option<u32>,
    /// Seconds that the service may be silent.
    client_timeout: Option<u64>,
    /// The bucket.
    bucket: Option<String>,
    /// Beginning of the names.
    path: String,
    /// Form of the names.
    object_key_format: String,
    /// Form of the time slice in names.
    time_slice_format: Option<String>,
    /// gzip, zstd, text, json, parquet; by default gzip, or what the format of a whole file says.
    store_as: Option<String>,
    /// How `store_as` packs.
    compress: Option<Compressed>,
    /// Whether readers get packed objects unpacked.
    transcoding: bool,
    /// Whether a bucket that is not there is made.
    auto_create_bucket: bool,
    /// Digits of `%{hex_random}`, at most 32.
    hex_random_length: usize,
    /// Form of `%{index}`.
    index_format: String,
    /// Whether an object of the same name is replaced, where names have no number.
    overwrite: bool,
    /// Whether the key may not read objects.
    blind_write: bool,
    /// Rights.
    acl: Option<String>,
    /// Storage class.
    storage_class: Option<String>,
    /// A key of the operator's own, 32 bytes, as they are or in base64.
    encryption_key: Option<Secret>,
    /// Metadata.
    object_metadata: Vec<MetadataParams>,
    /// Address of the service, where it is not Google's own: an emulator's, which is asked without credentials unless a key
    /// is given.
    endpoint: Option<String>,
}

impl Default for GcsParams {
    fn default() -> GcsParams {
        GcsParams {
            project: None,
            keyfile: None,
            credentials_json: None,
            client_retries: None,
            client_timeout: None,
            bucket: None,
            path: String::new(),
            object_key_format: "%{path}%{time_slice}_%{index}.%{file_extension}".into(),
            time_slice_format: None,
            store_as: None,
            compress: None,
            transcoding: false,
            auto_create_bucket: true,
            hex_random_length: 4,
            index_format: "%d".into(),
            overwrite: false,
            blind_write: false,
            acl: None,
            storage_class: None,
            encryption_key: None,
            object_metadata: Vec::new(),
            endpoint: None,
        }
    }
}

/// `<object_metadata>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MetadataParams {
    /// Name.
    key: String,
    /// Value.
    value: String,
}

/// The output.
pub struct Gcs {
    objects: Objects,
    params: GcsParams,
    bucket: String,
    endpoint: Option<Url>,
    headers: Headers,
    attributes: Attributes,
}

impl Configure for Gcs {
    type Config = GcsParams;

    fn new(params: GcsParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        buffer_defaults(cx);
        let bucket = params.bucket.clone().ok_or_else(|| cx.fault("bucket", "'bucket' parameter is required"))?;
        if bucket.is_empty() || bucket.contains(['/', '$', '%', '?', '#']) {
            return Err(cx.fault("bucket", format!("{bucket:?} can't be the name of a bucket")));
        }
        if params.client_retries.is_some() {
            cx.without_effect("client_retries", "chunks are tried again as <buffer> says");
        }
        if params.blind_write {
            let why = "nothing is asked before a put; an object whose name is taken is looked at, which needs \
                       storage.objects.get. Names with %{hex_random} and %{uuid_flush} are hardly ever taken";
            cx.without_effect("blind_write", why);
        }
        if params.hex_random_length > MAX_HEX_RANDOM_LENGTH {
            let why =
                format!("hex_random_length parameter should be set to {MAX_HEX_RANDOM_LENGTH} characters or less.");
            return Err(cx.fault("hex_random_length", why));
        }
        let store_as = store_as(params.store_as.as_deref(), params.compress.as_ref(), cx)?;
        let endpoint = params.endpoint.as_deref().map(|text| Url::parse(text).map_err(|e| e.to_string())).transpose();
        let metadata: Pairs = params
            .object_metadata
            .iter()
            .map(|m| Pair {
                name: m.key.clone(),
                value: crate::config::Value::bare(&m.value),
                span: cx.section.span_of("object_metadata").clone(),
            })
            .collect();
        Ok(Gcs {
            objects: Objects::new(
                ObjectParams {
                    key: KeyParams {
                        parameter: "object_key_format",
                        format: &params.object_key_format,
                        path: &params.path,
                        extension: store_as.extension(),
                        time_slice_format: params.time_slice_format.as_deref(),
                        zone: None,
                        index_format: &params.index_format,
                        hex_length: params.hex_random_length,
                        hex: HexDigits::Digest,
                    },
                    store_as,
                    compress: params.compress.as_ref(),
                    render: None,
                    overwrite: params.overwrite,
                    metadata: Some(("object_metadata", &metadata)),
                    warn_for_delay: None,
                },
                cx,
            )?,
            bucket,
            endpoint: endpoint.map_err(|why| cx.fault("endpoint", why))?,
            headers: Headers::new(&params, cx)?,
            attributes: attributes(store_as, params.transcoding),
            params,
        })
    }
}

fn attributes(store_as: StoreAs, transcoding: bool) -> Attributes {
    let mut attributes = Attributes::new();
    let kind = match store_as {
        StoreAs::Gzip if transcoding => "text/plain",
        StoreAs::Gzip => "application/gzip",
        other => other.content_type(),
    };
    attributes.insert(Attribute::ContentType, kind.into());
    if transcoding && store_as == StoreAs::Gzip {
        attributes.insert(Attribute::ContentEncoding, "gzip".into());
    }
    attributes
}

struct Headers {
    creating: HeaderMap,
    customer_key: HeaderMap,
}

impl Headers {
    fn new(params: &GcsParams, cx: &BuildContext<'_>) -> Result<Headers, Diagnostic> {
        let mut creating = HeaderMap::new();
        let named = [
            ("acl", "x-goog-acl", &params.acl, ACLS),
            ("storage_class", "x-goog-storage-class", &params.storage_class, CLASSES),
        ];
        for (parameter, header, value, known) in named {
            let Some(value) = value else { continue };
            let Some((_, said)) = known.iter().find(|(name, _)| name == value) else {
                let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                return Err(cx.fault(parameter, format!("{parameter} {value:?} is none of {}", names.join(", "))));
            };
            creating.insert(HeaderName::from_static(header), HeaderValue::from_static(said));
        }
        let mut customer_key = HeaderMap::new();
        if let Some(key) = &params.encryption_key {
            let bytes = match key.expose() {
                raw if raw.len() == KEY_BYTES => raw.as_bytes().to_vec(),
                text => STANDARD.decode(text).unwrap_or_default(),
            };
            if bytes.len() != KEY_BYTES {
                let why = "the key must have 32 bytes, as they are or in base64";
                return Err(cx.fault("encryption_key", why));
            }
            let (key, digest) = (STANDARD.encode(&bytes), STANDARD.encode(Sha256::digest(&bytes)));
            // For the copy that large objects end with, too.
            for prefix in ["x-goog-encryption", "x-goog-copy-source-encryption"] {
                for (name, value) in [("algorithm", "AES256"), ("key", key.as_str()), ("key-sha256", digest.as_str())] {
                    let name = HeaderName::try_from(format!("{prefix}-{name}"));
                    let name = name.map_err(|e| cx.fault("encryption_key", e.to_string()))?;
                    let mut value =
                        HeaderValue::try_from(value).map_err(|e| cx.fault("encryption_key", e.to_string()))?;
                    value.set_sensitive(true);
                    customer_key.insert(name, value);
                }
            }
        }
        Ok(Headers { creating, customer_key })
    }
}

impl Output for Gcs {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let timeout = self.params.client_timeout.map(Duration::from_secs);
        let extras = Extras {
            creating: self.headers.creating.clone(),
            customer_key: self.headers.customer_key.clone(),
            ..Extras::default()
        };
        let bucket = GcsBucket {
            bucket: self.bucket.clone(),
            project: self.params.project.clone(),
            keyfile: self.params.keyfile.clone(),
            key: self.params.credentials_json.clone(),
            endpoint: self.endpoint.clone(),
            client: Arc::new(Connection { timeout, ..Connection::default() }.open()?),
            extras: Arc::new(extras),
        };
        let store = bucket.open().map_err(InputError)?;
        match bucket.ensure(&store, self.params.auto_create_bucket).await {
            Ok(()) => {}
            Err(BucketError::Refused(why)) => return Err(InputError(why)),
            Err(BucketError::Unreachable(why)) => {
                tracing::warn!("{why}: whether the bucket is there is not known; its objects are tried as they come");
            }
        }
        self.objects.open(bucket.store(store, self.attributes.clone()));
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.objects.write(chunk).await
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
