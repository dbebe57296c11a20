//! `object`: stores chunks as objects at a URL: `s3://`, `gs://`, `az://`, or files with `file://`. The same section runs
//! with a cloud and without one; credentials are those of the environment.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::{Attribute, Attributes};
use serde::Deserialize;
use url::Url;

use super::object::{
    Bucket, BucketError, Compressed, Connection, Container, DEFAULT_REGION, Directory, Extras, GcsBucket, HexDigits,
    KeyParams, Library, ObjectParams, Objects, PATIENCE, Place, Signer, Store, buffer_defaults, store_as,
};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, Pairs};
use crate::net::aws::{Keychain, Source};
use crate::net::http::AwsScope;
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

/// What the URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    S3(String),
    Gcs(String),
    Azure(String),
    Files(PathBuf),
}

/// The output.
pub struct ObjectUrl {
    objects: Objects,
    params: ObjectUrlParams,
    target: Target,
    endpoint: Option<Url>,
    root: Option<Root>,
    attributes: Attributes,
}

impl Configure for ObjectUrl {
    type Config = ObjectUrlParams;

    fn new(params: ObjectUrlParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        buffer_defaults(cx);
        let text = params.url.as_deref().ok_or_else(|| cx.fault("url", "'url' parameter is required"))?;
        let (target, directory) = target(text).map_err(|why| cx.fault("url", why))?;
        if params.hex_random_length > MAX_HEX_RANDOM_LENGTH {
            let why = format!("hex_random_length must be at most {MAX_HEX_RANDOM_LENGTH}");
            return Err(cx.fault("hex_random_length", why));
        }
        remarks(&target, cx);
        let store_as = store_as(params.store_as.as_deref(), params.compress.as_ref(), cx)?;
        let objects = Objects::new(
            ObjectParams {
                key: KeyParams {
                    parameter: "object_key_format",
                    format: &params.object_key_format,
                    path: &format!("{directory}{}", params.path),
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
        let (files, directories) = cx.process.output_modes();
        Ok(ObjectUrl {
            objects,
            root: match &target {
                Target::Files(path) => Some(Root::new(path, directories, files)),
                _ => None,
            },
            target,
            endpoint: endpoint.map_err(|why| cx.fault("endpoint", why))?,
            attributes: Attributes::from_iter([(Attribute::ContentType, store_as.content_type())]),
            params,
        })
    }
}

/// What a URL names, and the directory within it, with a slash behind it.
fn target(text: &str) -> Result<(Target, String), String> {
    if text.contains(['%', '$']) {
        return Err("the URL is the same for all chunks: write placeholders into 'path'".into());
    }
    let known = "write s3://bucket/directory, gs://bucket/directory, az://container/directory or file:///directory";
    let url = Url::parse(text).map_err(|e| format!("{text:?} is no URL ({e}): {known}"))?;
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.port().is_some() {
        return Err(format!("{text:?} has more than a place: {known}"));
    }
    if url.scheme() == "file" {
        let path = url.to_file_path().map_err(|()| format!("{text:?} names no file of this host: {known}"))?;
        return Ok((Target::Files(path), String::new()));
    }
    let name =
        url.host_str().filter(|name| !name.is_empty()).ok_or_else(|| format!("{text:?} has no bucket: {known}"))?;
    let name = name.to_owned();
    let directory = url.path().trim_matches('/');
    let directory = if directory.is_empty() { String::new() } else { format!("{directory}/") };
    let target = match url.scheme() {
        "s3" => Target::S3(name),
        "gs" => Target::Gcs(name),
        "az" => Target::Azure(name),
        other => return Err(format!("objects can't be put to {other}:// : {known}")),
    };
    Ok((target, directory))
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

/// A store, whose bucket may not have been seen.
type Opened = Result<(Store, Result<(), BucketError>), String>;

impl ObjectUrl {
    async fn open(&self) -> Opened {
        let create = self.params.auto_create_bucket;
        let connection = || Connection::default().open().map(Arc::new).map_err(|e| e.to_string());
        match &self.target {
            Target::S3(bucket) => self.s3(bucket, connection()?).await,
            Target::Gcs(bucket) => {
                let bucket = GcsBucket {
                    bucket: bucket.clone(),
                    project: self.params.project.clone(),
                    keyfile: None,
                    key: None,
                    endpoint: self.endpoint.clone(),
                    client: connection()?,
                    extras: Arc::new(Extras::default()),
                };
                let store = bucket.open()?;
                let seen = if self.params.check_bucket { bucket.ensure(&store, create).await } else { Ok(()) };
                Ok((bucket.store(store, self.attributes.clone()), seen))
            }
            Target::Azure(name) => {
                let container = Container {
                    account: None,
                    access_key: None,
                    name: name.clone(),
                    endpoint: self.endpoint.clone(),
                    client: connection()?,
                };
                let open = container.open()?;
                let seen = if self.params.check_bucket { container.ensure(&open, create).await } else { Ok(()) };
                Ok((container.store(open, self.attributes.clone()), seen))
            }
            Target::Files(path) => {
                let root = self.root.clone().ok_or_else(|| format!("{} was not read", path.display()))?;
                let directory = Directory::new(root);
                directory.check().map_err(|e| format!("{}: {e}", path.display()))?;
                Ok((Store::Directory(directory), Ok(())))
            }
        }
    }

    async fn s3(&self, bucket: &str, client: Arc<crate::net::http::Client>) -> Opened {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = self.params.region.clone().or_else(|| variable("AWS_REGION"));
        let region = region.unwrap_or_else(|| DEFAULT_REGION.into());
        let place = Place {
            bucket: bucket.to_owned(),
            region: region.clone(),
            endpoint: self.endpoint.clone(),
            path_style: false,
            accelerate: false,
            dual_stack: false,
        };
        let keychain = Keychain::new(Source::Chain, &region);
        let bucket = Bucket {
            url: place.url()?,
            place,
            client,
            signer: Arc::new(Signer { keychain, scope: AwsScope { service: "s3".into(), region } }),
            extras: Arc::new(Extras { conditional: true, ..Extras::default() }),
        };
        let create = self.params.auto_create_bucket;
        let seen = if self.params.check_bucket { bucket.ensure(create).await } else { Ok(()) };
        Ok((bucket.store(self.attributes.clone(), Library::default())?, seen))
    }
}

impl Output for ObjectUrl {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let (store, seen) = self.open().await.map_err(InputError)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_store_and_a_directory() {
        let s3 = |bucket: &str, directory: &str| Ok((Target::S3(bucket.into()), directory.to_owned()));
        assert_eq!(target("s3://logs"), s3("logs", ""));
        assert_eq!(target("s3://logs/a/b/"), s3("logs", "a/b/"));
        assert_eq!(target("gs://b/x"), Ok((Target::Gcs("b".into()), "x/".into())));
        assert_eq!(target("az://c"), Ok((Target::Azure("c".into()), String::new())));
        assert_eq!(target("file:///srv/logs"), Ok((Target::Files("/srv/logs".into()), String::new())));
        for bad in ["logs", "s3://", "s3://b/${tag}", "s3://b/%Y", "s3://u:p@b", "s3://b?x", "ftp://b", "file://host/x"]
        {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
