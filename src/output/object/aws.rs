//! S3 and what is compatible with it: its addresses, its buckets, and the store over it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use object_store::aws::AmazonS3Builder;
use object_store::{Attributes, RetryConfig};
use url::{Host, Url};

use super::extras::Extras;
use super::service::Service;
use super::signer::Signer;
use super::store::{Cloud, Large, Store};
use crate::config::Secret;
use crate::net::aws::element;
use crate::net::http::{Answer, Client};

/// Region where nothing names one.
pub const DEFAULT_REGION: &str = "us-east-1";

/// Where a bucket is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// Address of the service, where it is not Amazon's.
    pub endpoint: Option<Url>,
    /// The bucket's name stays in the path.
    pub path_style: bool,
    /// Amazon's accelerated addresses.
    pub accelerate: bool,
    /// Amazon's addresses that have IPv6 too.
    pub dual_stack: bool,
}

impl Place {
    /// The address of the bucket.
    ///
    /// Errors: a bucket or region that can't be part of an address.
    pub fn url(&self) -> Result<Url, String> {
        let bucket = &self.bucket;
        let invalid = |e: url::ParseError| format!("bucket {bucket:?} in {:?} has no address: {e}", self.region);
        let dns = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let own_host = !self.path_style && bucket.chars().all(dns) && !bucket.is_empty();
        let Some(endpoint) = &self.endpoint else {
            // Amazon's certificates hold for one label before the service's name.
            let own_host = own_host && !bucket.contains('.');
            let host = match (self.accelerate, self.dual_stack) {
                (true, true) => "s3-accelerate.dualstack.amazonaws.com".to_owned(),
                (true, false) => "s3-accelerate.amazonaws.com".to_owned(),
                (false, true) => format!("s3.dualstack.{}.{}", self.region, self.domain()),
                (false, false) => format!("s3.{}.{}", self.region, self.domain()),
            };
            let text = if own_host { format!("https://{bucket}.{host}") } else { format!("https://{host}/{bucket}") };
            return Url::parse(&text).map_err(invalid);
        };
        let named = matches!(endpoint.host(), Some(Host::Domain(name)) if name != "localhost");
        let certified = endpoint.scheme() != "https" || !bucket.contains('.');
        let mut url = endpoint.clone();
        if own_host && named && certified {
            let host = format!("{bucket}.{}", endpoint.host_str().unwrap_or_default());
            url.set_host(Some(&host)).map_err(invalid)?;
        } else {
            url.set_path(&format!("{}/{bucket}", endpoint.path().trim_end_matches('/')));
        }
        Ok(url)
    }

    fn domain(&self) -> &'static str {
        if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }
}

/// A rule by which a bucket removes old objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifecycleRule {
    /// Its name.
    pub id: String,
    /// Which objects.
    pub prefix: String,
    /// Days after which they are removed.
    pub days: u32,
}

/// A bucket.
pub struct Bucket {
    /// Where it is.
    pub place: Place,
    /// Its address.
    pub url: Url,
    /// Sends requests.
    pub client: Arc<Client>,
    /// Signs them.
    pub signer: Arc<Signer>,
    /// Headers of requests about objects.
    pub extras: Arc<Extras>,
}

/// What the library itself adds to requests.
#[derive(Clone, Debug, Default)]
pub struct Library {
    /// A SHA-256 of each body.
    pub sha256: bool,
    /// A key of the operator's own for encryption by the store, in base64.
    pub customer_key: Option<Secret>,
}

/// Why a request about a bucket gave nothing.
pub enum BucketError {
    /// The store did not answer, or is overloaded: it may later.
    Unreachable(String),
    /// It answered, and refuses.
    Refused(String),
}

impl Bucket {
    /// Objects in this bucket.
    ///
    /// Errors: what the library says of the address.
    pub fn store(&self, attributes: Attributes, library: Library) -> Result<Store, String> {
        let service = Service::new(self.client.clone(), self.extras.clone(), Some(self.signer.clone()));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.place.bucket)
            .with_region(&self.place.region)
            // The address holds the bucket already, in its host or in its path.
            .with_endpoint(self.url.as_str().trim_end_matches('/'))
            .with_virtual_hosted_style_request(true)
            .with_skip_signature(true)
            .with_retry(no_retries())
            .with_http_connector(service);
        if library.sha256 {
            builder = builder.with_checksum_algorithm(object_store::aws::Checksum::SHA256);
        }
        if let Some(key) = &library.customer_key {
            builder = builder.with_ssec_encryption(key.expose());
        }
        let store = builder.build().map_err(|e| e.to_string())?;
        let place = format!("s3://{}", self.place.bucket);
        Ok(Store::Cloud(Cloud { store: Arc::new(store), large: Large::Conditional, attributes, place }))
    }

    async fn ask(
        &self,
        method: Method,
        query: Option<&str>,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, BucketError> {
        let mut url = self.url.clone();
        url.set_query(query);
        let signed = self.signer.sign(&self.client, &method, &url, &mut headers, &body).await;
        signed.map_err(BucketError::Refused)?;
        let answer = self.client.send(method, &url, headers, body).await;
        let answer = answer.map_err(|e| BucketError::Unreachable(format!("{url}: {e}")))?;
        if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(BucketError::Unreachable(format!("{url}: {}", answer.status)));
        }
        Ok(answer)
    }

    /// Lists one object below a path, to see that the key is good.
    pub async fn check_key(&self, path: &str) -> Result<(), BucketError> {
        let fixed = &path[..path.find(['%', '$']).unwrap_or(path.len())];
        let prefix = percent_encoding::utf8_percent_encode(fixed, percent_encoding::NON_ALPHANUMERIC);
        let query = format!("list-type=2&max-keys=1&prefix={prefix}");
        let answer = self.ask(Method::GET, Some(&query), HeaderMap::new(), Bytes::new()).await?;
        match answer.status {
            status if status.is_success() || code(&answer) == "NoSuchBucket" => Ok(()),
            _ => Err(BucketError::Refused(format!(
                "can't call S3 API. Please check your credentials or s3_region configuration. error = {}. Without the \
                 right to list the bucket, set check_apikey_on_start false",
                said(&answer)
            ))),
        }
    }

    /// Sees that the bucket is there, or makes it.
    pub async fn ensure(&self, create: bool) -> Result<(), BucketError> {
        let answer = self.ask(Method::HEAD, None, HeaderMap::new(), Bytes::new()).await?;
        let bucket = &self.place.bucket;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND if create => self.create().await,
            StatusCode::NOT_FOUND => Err(BucketError::Refused(format!(
                "The specified bucket does not exist: bucket = {bucket}. Create it, or set auto_create_bucket true"
            ))),
            StatusCode::MOVED_PERMANENTLY => Err(BucketError::Refused(format!(
                "bucket {bucket} is in another region than {}: set s3_region",
                self.place.region
            ))),
            status => Err(BucketError::Refused(format!(
                "can't look at bucket {bucket}: {status}. Allow this key to list it (s3:ListBucket), or set check_bucket \
                 false; s3_region must be that of the bucket"
            ))),
        }
    }

    async fn create(&self) -> Result<(), BucketError> {
        tracing::info!("creating bucket {} at {}", self.place.bucket, self.url);
        let body = match self.place.region.as_str() {
            DEFAULT_REGION => Bytes::new(),
            region => format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{region}\
                 </LocationConstraint></CreateBucketConfiguration>"
            )
            .into(),
        };
        let answer = self.ask(Method::PUT, None, HeaderMap::new(), body).await?;
        if answer.status.is_success() || code(&answer) == "BucketAlreadyOwnedByYou" {
            return Ok(());
        }
        Err(BucketError::Refused(format!("can't create bucket {}: {}", self.place.bucket, said(&answer))))
    }

    /// Sees that the bucket has these rules and no others, as fluent-plugin-s3 does.
    pub async fn ensure_lifecycle(&self, rules: &[LifecycleRule]) -> Result<(), BucketError> {
        let mut wanted = rules.to_vec();
        wanted.sort_by(|a, b| a.id.cmp(&b.id));
        let answer = self.ask(Method::GET, Some("lifecycle="), HeaderMap::new(), Bytes::new()).await?;
        if answer.status.is_success() && rules_of(&String::from_utf8_lossy(&answer.body)) == wanted {
            return Ok(());
        }
        tracing::info!("configuring bucket lifecycle rules for {}", self.place.bucket);
        let body = Bytes::from(rules_xml(&wanted));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        let digest = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            <sha2::Sha256 as sha2::Digest>::digest(&body),
        );
        let digest = HeaderValue::try_from(digest).map_err(|e| BucketError::Refused(e.to_string()))?;
        headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("SHA256"));
        headers.insert("x-amz-checksum-sha256", digest);
        let answer = self.ask(Method::PUT, Some("lifecycle="), headers, body).await?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(BucketError::Refused(format!("can't set bucket_lifecycle_rule: {}", said(&answer)))),
        }
    }
}

/// Retries are the engine's.
pub fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn code(answer: &Answer) -> String {
    element(&String::from_utf8_lossy(&answer.body), "Code").unwrap_or_default()
}

fn said(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let message = element(&text, "Message").unwrap_or_default();
    format!("{} {} {message}", answer.status, code(answer)).trim().to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn rules_xml(rules: &[LifecycleRule]) -> String {
    let rules: String = rules
        .iter()
        .map(|rule| {
            format!(
                "<Rule><ID>{}</ID><Filter><Prefix>{}</Prefix></Filter><Status>Enabled</Status><Expiration><Days>{}</Days>\
                 </Expiration></Rule>",
                escaped(&rule.id),
                escaped(&rule.prefix),
                rule.days
            )
        })
        .collect();
    format!(
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}</LifecycleConfiguration>"
    )
}

/// The rules of an answer, sorted; one that says more than these can gives none that is equal.
fn rules_of(xml: &str) -> Vec<LifecycleRule> {
    let rules = xml.split("<Rule>").skip(1);
    let mut rules: Vec<LifecycleRule> = rules
        .map(|rule| LifecycleRule {
            id: element(rule, "ID").unwrap_or_default(),
            prefix: element(rule, "Prefix").unwrap_or_default(),
            days: element(rule, "Days")
                .filter(|_| rule.contains("<Status>Enabled</Status>"))
                .and_then(|days| days.parse().ok())
                .unwrap_or_default(),
        })
        .collect();
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    rules
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn url(bucket: &str, endpoint: Option<&str>, change: impl FnOnce(&mut Place)) -> String {
        let mut place = Place {
            bucket: bucket.into(),
            region: "eu-west-1".into(),
            endpoint: endpoint.map(|e| Url::parse(e).unwrap()),
            path_style: false,
            accelerate: false,
            dual_stack: false,
        };
        change(&mut place);
        place.url().unwrap().to_string()
    }

    #[test]
    fn buckets_have_hosts_of_their_own_where_that_works() {
        assert_eq!(url("logs", None, |_| ()), "https://logs.s3.eu-west-1.amazonaws.com/");
        assert_eq!(url("a.b", None, |_| ()), "https://s3.eu-west-1.amazonaws.com/a.b");
        assert_eq!(url("logs", None, |p| p.path_style = true), "https://s3.eu-west-1.amazonaws.com/logs");
        assert_eq!(
            url("logs", None, |p| p.region = "cn-north-1".into()),
            "https://logs.s3.cn-north-1.amazonaws.com.cn/"
        );
        assert_eq!(url("logs", None, |p| p.accelerate = true), "https://logs.s3-accelerate.amazonaws.com/");
        assert_eq!(url("logs", None, |p| p.dual_stack = true), "https://logs.s3.dualstack.eu-west-1.amazonaws.com/");
        assert_eq!(url("logs", Some("http://127.0.0.1:9000"), |_| ()), "http://127.0.0.1:9000/logs");
        assert_eq!(url("logs", Some("http://localhost:9000/"), |_| ()), "http://localhost:9000/logs");
        assert_eq!(url("logs", Some("https://minio.example"), |_| ()), "https://logs.minio.example/");
        assert_eq!(url("logs", Some("https://minio.example"), |p| p.path_style = true), "https://minio.example/logs");
        assert_eq!(url("a.b", Some("https://minio.example"), |_| ()), "https://minio.example/a.b");
    }

    #[test]
    fn lifecycle_rules_come_back_from_their_text() {
        let rule = |id: &str, prefix: &str| LifecycleRule { id: id.into(), prefix: prefix.into(), days: 3 };
        let rules = [rule("a", "x<y&"), rule("b", "")];
        assert_eq!(rules_of(&rules_xml(&rules)), rules);
    }
}
