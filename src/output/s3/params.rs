//! Parameters of `s3`: those of fluent-plugin-s3.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{Pairs, Secret, TimeSpan};
use crate::output::object::Compressed;

/// Names where the configuration says nothing.
pub const KEY_FORMAT: &str = "%{path}%{time_slice}_%{index}.%{file_extension}";
/// The same with `check_object false`.
pub const UNCHECKED_KEY_FORMAT: &str = "%{path}/%{time_slice}_%{hms_slice}.%{file_extension}";

/// Parameters of `s3`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct S3Params {
    /// The bucket.
    pub s3_bucket: Option<String>,
    /// Its region; by default that of `AWS_REGION`, else us-east-1.
    pub s3_region: Option<String>,
    /// Address of a store that is compatible with S3.
    pub s3_endpoint: Option<String>,
    /// Beginning of the names.
    pub path: String,
    /// Form of the names.
    pub s3_object_key_format: Option<String>,
    /// Form of the time slice in names.
    pub time_slice_format: Option<String>,
    /// gzip, zstd, text, json, parquet; by default gzip, or what the format of a whole file says.
    pub store_as: Option<String>,
    /// How `store_as` packs.
    pub compress: Option<Compressed>,
    /// Arguments of a command that is not run here.
    pub command_parameter: Option<String>,
    /// Form of `%{index}`.
    pub index_format: String,
    /// Digits of `%{hex_random}`, at most 16.
    pub hex_random_length: usize,
    /// Whether names get a number; without one they get the time of day.
    pub check_object: bool,
    /// Whether an object of the same name is replaced, where names have no number.
    pub overwrite: bool,
    /// Whether the bucket is looked for at the start.
    pub check_bucket: bool,
    /// Whether a bucket that is not there is made.
    pub auto_create_bucket: bool,
    /// Whether the keys are tried at the start.
    pub check_apikey_on_start: bool,
    /// Storage class.
    pub storage_class: String,
    /// Older name of a storage class.
    pub reduced_redundancy: bool,
    /// Canned rights, as `private`.
    pub acl: Option<String>,
    /// Who may do all.
    pub grant_full_control: Option<String>,
    /// Who may read.
    pub grant_read: Option<String>,
    /// Who may read the rights.
    pub grant_read_acp: Option<String>,
    /// Who may change the rights.
    pub grant_write_acp: Option<String>,
    /// Encryption by the store: AES256, aws:kms, aws:kms:dsse.
    pub use_server_side_encryption: Option<String>,
    /// Key of KMS.
    pub ssekms_key_id: Option<Secret>,
    /// AES256.
    pub sse_customer_algorithm: Option<String>,
    /// A key of the operator's own, 32 bytes, as they are or in base64.
    pub sse_customer_key: Option<Secret>,
    /// Its digest, which is computed.
    pub sse_customer_key_md5: Option<Secret>,
    /// Tags, as `a=b&c=d`.
    pub tagging: Option<String>,
    /// Metadata, with placeholders.
    pub s3_metadata: Pairs,
    /// CRC32, CRC32C or SHA256.
    pub checksum_algorithm: Option<String>,
    /// Requests are signed with their digest in any case.
    pub compute_checksums: Option<bool>,
    /// There is version 4.
    pub signature_version: Option<String>,
    /// Slices that are older than this are warned of.
    pub warn_for_delay: Option<TimeSpan>,
    /// The bucket's name stays in the path of addresses.
    pub force_path_style: bool,
    /// Amazon's accelerated addresses.
    pub enable_transfer_acceleration: bool,
    /// Amazon's addresses that have IPv6 too.
    pub enable_dual_stack: bool,
    /// An HTTP proxy.
    pub proxy_uri: Option<Secret>,
    /// Whether the store's certificate is checked.
    pub ssl_verify_peer: bool,
    /// File of authorities to trust.
    pub ssl_ca_bundle: Option<PathBuf>,
    /// Directory of such files.
    pub ssl_ca_directory: Option<PathBuf>,
    /// Certificates of the Ruby library, which is not here.
    pub use_bundled_cert: Option<bool>,
    /// Rules by which the bucket removes objects.
    #[serde(rename = "bucket_lifecycle_rule")]
    pub lifecycle: Vec<LifecycleParams>,
    /// Who signs.
    #[serde(rename = "$same")]
    pub credentials: CredentialParams,
}

impl Default for S3Params {
    fn default() -> S3Params {
        S3Params {
            s3_bucket: None,
            s3_region: None,
            s3_endpoint: None,
            path: String::new(),
            s3_object_key_format: None,
            time_slice_format: None,
            store_as: None,
            compress: None,
            command_parameter: None,
            index_format: "%d".into(),
            hex_random_length: 4,
            check_object: true,
            overwrite: false,
            check_bucket: true,
            auto_create_bucket: true,
            check_apikey_on_start: true,
            storage_class: "STANDARD".into(),
            reduced_redundancy: false,
            acl: None,
            grant_full_control: None,
            grant_read: None,
            grant_read_acp: None,
            grant_write_acp: None,
            use_server_side_encryption: None,
            ssekms_key_id: None,
            sse_customer_algorithm: None,
            sse_customer_key: None,
            sse_customer_key_md5: None,
            tagging: None,
            s3_metadata: Pairs::default(),
            checksum_algorithm: None,
            compute_checksums: None,
            signature_version: None,
            warn_for_delay: None,
            force_path_style: false,
            enable_transfer_acceleration: false,
            enable_dual_stack: false,
            proxy_uri: None,
            ssl_verify_peer: true,
            ssl_ca_bundle: None,
            ssl_ca_directory: None,
            use_bundled_cert: None,
            lifecycle: Vec::new(),
            credentials: CredentialParams::default(),
        }
    }
}

/// `<bucket_lifecycle_rule>`
#[derive(Debug, Deserialize)]
pub struct LifecycleParams {
    /// Its name.
    pub id: String,
    /// Beginning of the names it is for.
    #[serde(default)]
    pub prefix: String,
    /// Days after which objects are removed.
    pub expiration_days: u32,
}

/// Who signs. At most one of these counts; without any, the usual places are looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CredentialParams {
    /// Access key.
    pub aws_key_id: Option<Secret>,
    /// Its secret.
    pub aws_sec_key: Option<Secret>,
    /// Profile of the shared files.
    pub aws_profile: Option<String>,
    /// A command that prints credentials.
    pub aws_credential_process: Option<String>,
    /// Attempts to ask the instance.
    pub aws_iam_retries: Option<u32>,
    /// A role, by other credentials.
    pub assume_role_credentials: Option<RoleParams>,
    /// A role, by a token of the platform.
    pub web_identity_credentials: Option<WebIdentityParams>,
    /// The machine's or the container's role.
    pub instance_profile_credentials: Option<InstanceParams>,
    /// The shared files.
    pub shared_credentials: Option<SharedParams>,
}

/// `<assume_role_credentials>`
#[derive(Clone, Debug, Deserialize)]
pub struct RoleParams {
    /// The role.
    pub role_arn: Secret,
    /// What the session is called.
    pub role_session_name: String,
    /// What a third party must know.
    pub external_id: Option<Secret>,
    /// Where the token service is.
    #[serde(rename = "$same")]
    pub sts: StsParams,
}

/// `<web_identity_credentials>`
#[derive(Clone, Debug, Deserialize)]
pub struct WebIdentityParams {
    /// The role.
    pub role_arn: String,
    /// What the session is called.
    pub role_session_name: String,
    /// File of the platform's token.
    pub web_identity_token_file: PathBuf,
    /// Where the token service is.
    #[serde(rename = "$same")]
    pub sts: StsParams,
}

/// What both sections about roles have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct StsParams {
    /// A policy in JSON that narrows what the session may do.
    pub policy: Option<String>,
    /// Seconds that the credentials are lent for.
    pub duration_seconds: Option<u32>,
    /// Region of the token service.
    pub sts_region: Option<String>,
    /// A proxy to it.
    pub sts_http_proxy: Option<Secret>,
    /// Its address.
    pub sts_endpoint_url: Option<String>,
}

/// `<instance_profile_credentials>`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct InstanceParams {
    /// Attempts beyond the first.
    pub retries: Option<u32>,
    /// Address of the metadata service.
    pub ip_address: Option<String>,
    /// Its port.
    pub port: Option<u16>,
    /// Seconds for connecting.
    pub http_open_timeout: Option<f64>,
    /// Seconds for an answer.
    pub http_read_timeout: Option<f64>,
}

/// `<shared_credentials>`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SharedParams {
    /// The file.
    pub path: Option<PathBuf>,
    /// The profile.
    pub profile_name: Option<String>,
}
