//! What is said with each object: class, rights, encryption, tags, checksums.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::params::S3Params;
use crate::config::{Diagnostic, Secret};
use crate::output::object::{Checksum, Extras, Library};
use crate::plugin::BuildContext;

/// Canned rights of S3.
const ACLS: [&str; 7] = [
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
];

/// Encryption by the store.
const ENCRYPTIONS: [&str; 3] = ["AES256", "aws:kms", "aws:kms:dsse"];

/// Bytes of a key for AES256.
const KEY_BYTES: usize = 32;

/// Headers of an output.
#[derive(Debug)]
pub struct Headers {
    creating: HeaderMap,
    checksum: Option<Checksum>,
    sha256: bool,
    /// In base64.
    customer_key: Option<Secret>,
}

impl Headers {
    /// Reads the parameters.
    pub fn new(params: &S3Params, cx: &mut BuildContext<'_>) -> Result<Headers, Diagnostic> {
        let one_of = |name: &str, value: &Option<String>, known: &[&str]| match value {
            Some(value) if !known.contains(&value.as_str()) => {
                Err(cx.fault(name, format!("{name} {value:?} is none of {}", known.join(", "))))
            }
            _ => Ok(()),
        };
        one_of("acl", &params.acl, &ACLS)?;
        one_of("use_server_side_encryption", &params.use_server_side_encryption, &ENCRYPTIONS)?;
        if params.ssekms_key_id.is_some() && params.use_server_side_encryption.as_deref() != Some("aws:kms") {
            let remedy = "ssekms_key_id has a meaning with use_server_side_encryption aws:kms alone";
            cx.warn("ssekms_key_id", remedy);
        }
        let class = if params.reduced_redundancy { "REDUCED_REDUNDANCY" } else { params.storage_class.as_str() };
        // What S3 does anyway is not said: some stores know no classes.
        let class = (class != "STANDARD").then(|| class.to_owned());
        let key_id = params.ssekms_key_id.as_ref().map(|id| id.expose().to_owned());
        let wanted = [
            ("storage_class", "x-amz-storage-class", &class),
            ("acl", "x-amz-acl", &params.acl),
            ("grant_full_control", "x-amz-grant-full-control", &params.grant_full_control),
            ("grant_read", "x-amz-grant-read", &params.grant_read),
            ("grant_read_acp", "x-amz-grant-read-acp", &params.grant_read_acp),
            ("grant_write_acp", "x-amz-grant-write-acp", &params.grant_write_acp),
            ("use_server_side_encryption", "x-amz-server-side-encryption", &params.use_server_side_encryption),
            ("ssekms_key_id", "x-amz-server-side-encryption-aws-kms-key-id", &key_id),
            ("tagging", "x-amz-tagging", &params.tagging),
        ];
        let mut creating = HeaderMap::new();
        for (parameter, name, value) in wanted {
            let Some(value) = value else { continue };
            let value = HeaderValue::try_from(value).map_err(|e| cx.fault(parameter, e.to_string()))?;
            creating.insert(HeaderName::from_static(name), value);
        }
        let (checksum, sha256) = checksum(params, cx)?;
        Ok(Headers { creating, checksum, sha256, customer_key: customer_key(params, cx)? })
    }

    /// Headers that are added to requests.
    pub fn extras(&self) -> Extras {
        Extras {
            creating: self.creating.clone(),
            customer_key: HeaderMap::new(),
            checksum: self.checksum,
            conditional: true,
        }
    }

    /// What the library does itself.
    pub fn library(&self) -> Library {
        Library { sha256: self.sha256, customer_key: self.customer_key.clone() }
    }
}

fn checksum(params: &S3Params, cx: &BuildContext<'_>) -> Result<(Option<Checksum>, bool), Diagnostic> {
    Ok(match params.checksum_algorithm.as_deref() {
        None => (None, false),
        Some("CRC32") => (Some(Checksum::Crc32), false),
        Some("CRC32C") => (Some(Checksum::Crc32c), false),
        Some("SHA256") => (None, true),
        Some(other) => {
            let why = format!("checksum_algorithm {other:?} is not here. There are CRC32, CRC32C and SHA256");
            return Err(cx.fault("checksum_algorithm", why));
        }
    })
}

/// The operator's own key, in base64.
fn customer_key(params: &S3Params, cx: &mut BuildContext<'_>) -> Result<Option<Secret>, Diagnostic> {
    if params.sse_customer_algorithm.as_deref().is_some_and(|name| name != "AES256") {
        return Err(cx.fault("sse_customer_algorithm", "there is AES256 alone"));
    }
    if params.sse_customer_key_md5.is_some() {
        cx.without_effect("sse_customer_key_md5", "the digest is computed from sse_customer_key");
    }
    let Some(key) = &params.sse_customer_key else {
        return match params.sse_customer_algorithm.is_some() {
            true => Err(cx.fault("sse_customer_algorithm", "sse_customer_algorithm without sse_customer_key")),
            false => Ok(None),
        };
    };
    if params.use_server_side_encryption.is_some() {
        let why = "sse_customer_key and use_server_side_encryption exclude each other; take one of them out";
        return Err(cx.fault("sse_customer_key", why));
    }
    let key = key.expose();
    if key.len() == KEY_BYTES {
        return Ok(Some(Secret::new(STANDARD.encode(key))));
    }
    match STANDARD.decode(key) {
        Ok(bytes) if bytes.len() == KEY_BYTES => Ok(Some(Secret::new(key))),
        _ => Err(cx.fault("sse_customer_key", "the key must have 32 bytes, as they are or in base64")),
    }
}
