//! `s3`: stores chunks as objects in S3 and what is compatible with it. Parameters are those of fluent-plugin-s3.

mod credentials;
mod headers;
mod params;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use object_store::{Attribute, Attributes};
use url::Url;

pub use self::params::{CredentialParams, S3Params};

use self::headers::Headers;
use self::params::{KEY_FORMAT, UNCHECKED_KEY_FORMAT};
use super::object::{
    Bucket, BucketError, Connection, DEFAULT_REGION, HexDigits, KeyParams, LifecycleRule, ObjectParams, Objects,
    PATIENCE, Place, Signer, buffer_defaults, store_as,
};
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::event::timefmt::Zone;
use crate::net::aws::Keychain;
use crate::net::http::{AwsScope, Proxy};
use crate::plugin::{BuildContext, Configure, InputError, Output, Render, Stop, WriteError};

/// Most digits of `%{hex_random}`.
const MAX_HEX_RANDOM_LENGTH: usize = 16;

/// The output.
pub struct S3 {
    objects: Objects,
    params: S3Params,
    place: Place,
    url: Url,
    connection: Connection,
    headers: Headers,
    content_type: &'static str,
}

impl Configure for S3 {
    type Config = S3Params;

    fn new(params: S3Params, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        buffer_defaults(cx);
        S3::with(params, None, cx)
    }
}

impl S3 {
    /// As [`new`](Configure::new), for an output that puts its chunks here on their way. `fixed`: the events' form, where
    /// `<format>` does not decide, and the zone of names.
    pub fn with(
        params: S3Params,
        fixed: Option<(Render, Option<Zone>)>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Diagnostic> {
        let (render, zone) = fixed.map_or((None, None), |(render, zone)| (Some(render), zone));
        let place = place(&params, cx)?;
        let url = place.url().map_err(|why| cx.fault("s3_bucket", why))?;
        credentials::check(&params.credentials, cx)?;
        remarks(&params, cx)?;
        let store_as = store_as(params.store_as.as_deref(), params.compress.as_ref(), cx)?;
        let format = match (&params.s3_object_key_format, params.check_object) {
            (Some(format), _) => format.as_str(),
            (None, true) => KEY_FORMAT,
            (None, false) => UNCHECKED_KEY_FORMAT,
        };
        let objects = Objects::new(
            ObjectParams {
                key: KeyParams {
                    parameter: "s3_object_key_format",
                    format,
                    path: &params.path,
                    extension: store_as.extension(),
                    time_slice_format: params.time_slice_format.as_deref(),
                    zone,
                    index_format: &params.index_format,
                    hex_length: hex_length(params.hex_random_length, cx)?,
                    hex: HexDigits::Reversed,
                },
                store_as,
                compress: params.compress.as_ref(),
                render,
                overwrite: params.overwrite,
                metadata: Some(("s3_metadata", &params.s3_metadata)),
                warn_for_delay: params.warn_for_delay.map(|t| t.duration()),
            },
            cx,
        )?;
        let connection = connection(&params, cx)?;
        let headers = Headers::new(&params, cx)?;
        Ok(S3 { objects, content_type: store_as.content_type(), params, place, url, connection, headers })
    }
}

fn place(params: &S3Params, cx: &BuildContext<'_>) -> Result<Place, Diagnostic> {
    let bucket = params.s3_bucket.clone().ok_or_else(|| cx.fault("s3_bucket", "'s3_bucket' parameter is required"))?;
    if bucket.is_empty() || bucket.contains(['/', '$', '%', '?', '#']) {
        return Err(cx.fault("s3_bucket", format!("{bucket:?} can't be the name of a bucket")));
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let region = params.s3_region.clone().or_else(|| variable("AWS_REGION")).unwrap_or_else(|| DEFAULT_REGION.into());
    let endpoint = match &params.s3_endpoint {
        None => None,
        Some(text) if is_amazons(text) => {
            let remedy = "s3_endpoint parameter is not supported for S3, use s3_region instead. This parameter is for S3 \
                          compatible services";
            return Err(cx.fault("s3_endpoint", remedy));
        }
        Some(text) => Some(address(text).map_err(|why| cx.fault("s3_endpoint", why))?),
    };
    if endpoint.is_some() && (params.enable_transfer_acceleration || params.enable_dual_stack) {
        let why = "enable_transfer_acceleration and enable_dual_stack choose addresses of Amazon's; with s3_endpoint take them out";
        return Err(cx.fault("s3_endpoint", why));
    }
    Ok(Place {
        bucket,
        region,
        endpoint,
        path_style: params.force_path_style,
        accelerate: params.enable_transfer_acceleration,
        dual_stack: params.enable_dual_stack,
    })
}

/// fluent-plugin-s3's rule: Amazon's own addresses follow from the region, but for those of special networks.
fn is_amazons(endpoint: &str) -> bool {
    let special = ["fips", "gov"].iter().any(|word| endpoint.contains(word));
    endpoint.ends_with("amazonaws.com") && !endpoint.ends_with("vpce.amazonaws.com") && !special
}

fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.ok_or_else(|| format!("{text:?} is no address; write https://host:port"))
}

fn hex_length(length: usize, cx: &BuildContext<'_>) -> Result<usize, Diagnostic> {
    if length > MAX_HEX_RANDOM_LENGTH {
        let why = format!("hex_random_length parameter must be less than or equal to {MAX_HEX_RANDOM_LENGTH}");
        return Err(cx.fault("hex_random_length", why));
    }
    Ok(length)
}

/// What is obeyed in another way, or has no effect.
fn remarks(params: &S3Params, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
    if params.signature_version.as_deref().is_some_and(|version| version != "v4") {
        let why = "there is signature version v4 alone, which every store takes; take signature_version out";
        return Err(cx.fault("signature_version", why));
    }
    if params.compute_checksums.is_some() {
        cx.without_effect("compute_checksums", "every request is signed with the digest of its body");
    }
    if params.use_bundled_cert.is_some() {
        cx.without_effect("use_bundled_cert", "those are certificates of the Ruby library; use ssl_ca_bundle");
    }
    if params.reduced_redundancy {
        cx.warn(
            "reduced_redundancy",
            "reduced_redundancy parameter is deprecated. Use storage_class parameter instead",
        );
    }
    if params.force_path_style && params.s3_endpoint.is_none() {
        cx.warn(
            "force_path_style",
            "Amazon gives such addresses up for new buckets; force_path_style is for other stores",
        );
    }
    if !params.check_object && params.s3_object_key_format.is_some() {
        let note = "with check_object false nobody is asked before a put, and nothing is replaced: an object whose name is \
                    taken gets a number before its ending";
        cx.warn("check_object", note);
    }
    Ok(())
}

fn connection(params: &S3Params, cx: &BuildContext<'_>) -> Result<Connection, Diagnostic> {
    let proxy = params.proxy_uri.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
    Ok(Connection {
        proxy: proxy.map_err(|why| cx.fault("proxy_uri", why))?,
        insecure: !params.ssl_verify_peer,
        ca_bundle: params.ssl_ca_bundle.clone(),
        ca_directory: params.ssl_ca_directory.clone(),
        ..Connection::default()
    })
}

impl S3 {
    /// What is looked at before the first object. A store that does not answer is no fault: the buffer keeps what comes,
    /// and the puts are tried again.
    async fn look(&self, bucket: &Bucket) -> Result<(), BucketError> {
        if self.params.check_apikey_on_start {
            bucket.check_key(&self.params.path).await?;
        }
        if self.params.check_bucket {
            bucket.ensure(self.params.auto_create_bucket).await?;
        }
        if self.params.lifecycle.is_empty() {
            return Ok(());
        }
        let rules = self.params.lifecycle.iter().map(|rule| LifecycleRule {
            id: rule.id.clone(),
            prefix: rule.prefix.clone(),
            days: rule.expiration_days,
        });
        bucket.ensure_lifecycle(&rules.collect::<Vec<_>>()).await
    }
}

impl S3 {
    /// The part that all stores share.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Where its objects are.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Who signs.
    ///
    /// Errors: what keeps the source of credentials from being used.
    pub fn keychain(&self) -> Result<Keychain, String> {
        let source = credentials::source(&self.params.credentials, &self.connection)?;
        Ok(Keychain::new(source, &self.place.region))
    }
}

impl Output for S3 {
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        let source = credentials::source(&self.params.credentials, &self.connection).map_err(InputError)?;
        let scope = AwsScope { service: "s3".into(), region: self.place.region.clone() };
        let bucket = Bucket {
            place: self.place.clone(),
            url: self.url.clone(),
            client: Arc::new(self.connection.open()?),
            signer: Arc::new(Signer { keychain: Keychain::new(source, &self.place.region), scope }),
            extras: Arc::new(self.headers.extras()),
        };
        match self.look(&bucket).await {
            Ok(()) => {}
            Err(BucketError::Refused(why)) => return Err(InputError(why)),
            Err(BucketError::Unreachable(why)) => {
                tracing::warn!("{why}: whether the bucket is there is not known; its objects are tried as they come");
            }
        }
        let attributes = Attributes::from_iter([(Attribute::ContentType, self.content_type)]);
        self.objects.open(bucket.store(attributes, self.headers.library()).map_err(InputError)?);
        Ok(())
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.objects.write(chunk).await
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
