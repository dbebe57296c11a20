//! `object`: stores chunks as objects at a URL: `s3://`, `gs://`, `az://`, or files with `file://`. The same section runs
//! with a cloud and without one; credentials are those of the environment.

use std::time::Duration;

use object_store::{Attribute, Attributes};
use serde::Deserialize;
use url::Url;

use super::object::{
    Address, BucketError, Compressed, HexDigits, KeyParams, ObjectParams, Objects, PATIENCE, Target, buffer_defaults,
    store_as,
};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, Pairs};
use crate::plugin::{BuildContext, Configure, InputError, Output, Root, Stop, WriteError};

/// Most digits of `%{hex_random}`.
const MAX_HEX_RANDOM_LENGTH: usize = 32;

/// Parameters of `object`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ObjectUrlParams {
    /// Where objects go: `s3://bucket/directory`, `gs://bucket/directory`, `az://container/directory`, `file:///directory`.
    url: Option<String>,
    /// Beginning of the names, below the URL.
    path: String,
    /// Form of the names.
    object_key_format: String,
    /// Form of the time slice in names.
    time_slice_format: Option<String>,
    /// gzip, zstd, text, json, parquet; by default gzip, or what the format of a whole file says.
    store_as: Option<String>,
    /// How `store_as` packs.
    compress: Option<Compressed>,
    /// Form of `%{index}`.
    index_format: String,
    /// Digits of `%{hex_random}`, at most 32.
    hex_random_length: usize,
    /// Whether an object of the same name is replaced, where names have no number.
    overwrite: bool,
    /// Metadata, with placeholders.
    metadata: Pairs,
    /// Region of `s3://`; by default that of `AWS_REGION`, else us-east-1.
    region: Option<String>,
    /// Address of the service, where it is not the cloud's own.
    endpoint: Option<String>,
    /// Project of `gs://`, for a bucket that is made.
    project: Option<String>,
    /// Whether a bucket (container) that is not there is made.
    auto_create_bucket: bool,
    /// Whether the bucket is looked for at the start.
    check_bucket: bool,
}

impl Default for ObjectUrlParams {
    fn default() -> ObjectUrlParams {
        ObjectUrlParams {
            url: None,
            path: String::new(),
            object_key_format: "%{path}%{time_slice}_%{index}.%{file_extension}".into(),
            time_slice_format: None,
            store_as: None,
            compress: None,
            index_format: "%d".into(),
            hex_random_length: 4,
            overwrite: false,
            metadata: Pairs::default(),
            region: None,
            endpoint: None,
            project: None,
            auto_create_bucket: false,
            check_bucket: true,
        }
    }
}

/// The output.
pub struct ObjectUrl {
    objects: Objects,
    address: Address,
    root: Option<Root>,
    attributes: Attributes,
}

impl Configure for ObjectUrl {
    type Config = ObjectUrlParams;

    fn new(params: ObjectUrlParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        buffer_defaults(cx);
        let text = params.url.as_deref().ok_or_else(|| cx.fault("url", "'url' parameter is required"))?;
        let mut address = Address::parse(text).map_err(|why| cx.fault("url", why))?;
        if params.hex_random_length > MAX_HEX_RANDOM_LENGTH {
            let why = format!("hex_random_length must be at most {MAX_HEX_RANDOM_LENGTH}");
            return Err(cx.fault("hex_random_length", why));
        }
        remarks(&address.target, cx);
        let store_as = store_as(params.store_as.as_deref(), params.compress.as_ref(), cx)?;
        let objects = Objects::new(
            ObjectParams {
                key: KeyParams {
                    parameter: "object_key_format",
                    format: &params.object_key_format,
                    path: &format!("{}{}", address.directory, params.path),
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
                metadata: Some(("metadata", &params.metadata)),
                warn_for_delay: None,
            },
            cx,
        )?;
        let endpoint = params.endpoint.as_deref().map(|text| Url::parse(text).map_err(|e| e.to_string())).transpose();
        address.endpoint = endpoint.map_err(|why| cx.fault("endpoint", why))?;
        (address.region, address.project) = (params.region, params.project);
        (address.create, address.check) = (params.auto_create_bucket, params.check_bucket);
        let (files, directories) = cx.process.output_modes();
        Ok(ObjectUrl {
            objects,
            root: match &address.target {
                Target::Files(path) => Some(Root::new(path, directories, files)),
                _ => None,
            },
            address,
            attributes: Attributes::from_iter([(Attribute::ContentType, store_as.content_type())]),
        })
    }
}

/// What has no effect with this target.
fn remarks(target: &Target, cx: &mut BuildContext<'_>) {
    if !matches!(target, Target::S3(_)) {
        cx.without_effect("region", "it is for s3:// alone");
    }
    if !matches!(target, Target::Gcs(_)) {
        cx.without_effect("project", "it is for gs:// alone");
    }
    if matches!(target, Target::Files(_)) {
        for parameter in ["endpoint", "auto_create_bucket", "check_bucket"] {
            cx.without_effect(
                parameter,
                "files have no service and no bucket; directories are made as they are needed",
            );
        }
        cx.without_effect("metadata", "files have none but the chunk's id");
    }
}

impl Output for ObjectUrl {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let opened = self.address.open(self.root.as_ref(), self.attributes.clone()).await;
        let (store, seen) = opened.map_err(InputError)?;
        match seen {
            Ok(()) => {}
            Err(BucketError::Refused(why)) => return Err(InputError(why)),
            Err(BucketError::Unreachable(why)) => {
                tracing::warn!("{why}: whether the bucket is there is not known; its objects are tried as they come");
            }
        }
        self.objects.open(store);
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.objects.write(chunk).await
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
