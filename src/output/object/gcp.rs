//! Google Cloud Storage: its buckets, and the store over it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::{Attributes, StaticCredentialProvider};
use url::Url;

use super::aws::{BucketError, no_retries};
use super::extras::Extras;
use super::service::Service;
use super::store::{Cloud, Large, Store};
use crate::config::Secret;
use crate::net::http::{Answer, Client};

/// Address of the service.
const ENDPOINT: &str = "https://storage.googleapis.com";

/// A bucket.
pub struct GcsBucket {
    /// Its name.
    pub bucket: String,
    /// The project that a new bucket belongs to.
    pub project: Option<String>,
    /// Path of a service account's key; without one the environment and the machine are asked.
    pub keyfile: Option<String>,
    /// The key itself.
    pub key: Option<Secret>,
    /// Address of the service, where it is not Google's own: an emulator's, say, which is asked without credentials unless
    /// a key is given.
    pub endpoint: Option<Url>,
    /// Sends requests.
    pub client: Arc<Client>,
    /// Headers of requests about objects.
    pub extras: Arc<Extras>,
}

impl GcsBucket {
    /// Opens the store and its credentials.
    ///
    /// Errors: a key that can't be read.
    pub fn open(&self) -> Result<GoogleCloudStorage, String> {
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(&self.bucket)
            .with_retry(no_retries())
            .with_http_connector(Service::new(self.client.clone(), self.extras.clone(), None));
        if let Some(key) = &self.key {
            builder = builder.with_service_account_key(key.expose());
        } else if let Some(path) = &self.keyfile {
            builder = builder.with_application_credentials(path);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
        }
        if self.is_anonymous() {
            // The library asks for a token of the machine even where it signs nothing.
            let nobody = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
            builder = builder.with_credentials(Arc::new(nobody));
        }
        builder.build().map_err(|e| format!("can't use the credentials for GCS: {e}"))
    }

    /// An emulator that is given no key is sent none.
    fn is_anonymous(&self) -> bool {
        self.endpoint.is_some() && self.key.is_none() && self.keyfile.is_none()
    }

    /// Objects in this bucket.
    pub fn store(&self, store: GoogleCloudStorage, attributes: Attributes) -> Store {
        let place = format!("gs://{}", self.bucket);
        // Uploads in parts take no conditions there.
        Store::Cloud(Cloud { store: Arc::new(store), large: Large::Copied, attributes, place })
    }

    /// Sees that the bucket is there, or makes it.
    pub async fn ensure(&self, store: &GoogleCloudStorage, create: bool) -> Result<(), BucketError> {
        let answer = self.ask(store, Method::GET, &format!("/storage/v1/b/{}", self.bucket), Bytes::new()).await?;
        match answer.status {
            status if status.is_success() => return Ok(()),
            StatusCode::NOT_FOUND if create => {}
            StatusCode::NOT_FOUND => {
                let remedy = "create it, or set auto_create_bucket true";
                return Err(BucketError::Refused(format!("bucket `{}` does not exist: {remedy}", self.bucket)));
            }
            // Who may write objects need not be allowed to look at the bucket.
            StatusCode::FORBIDDEN => {
                tracing::warn!("may not look at bucket {}: whether it is there is not known", self.bucket);
                return Ok(());
            }
            _ => return Err(self.refused("look at", &answer)),
        }
        let Some(project) = &self.project else {
            let remedy = "set 'project', or create the bucket";
            return Err(BucketError::Refused(format!("bucket `{}` does not exist: {remedy}", self.bucket)));
        };
        tracing::info!("creating bucket `{}`", self.bucket);
        let body = serde_json::json!({ "name": self.bucket }).to_string();
        let answer = self.ask(store, Method::POST, &format!("/storage/v1/b?project={project}"), body.into()).await?;
        match answer.status {
            status if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
            _ => Err(self.refused("create", &answer)),
        }
    }

    fn refused(&self, what: &str, answer: &Answer) -> BucketError {
        let text = String::from_utf8_lossy(&answer.body).chars().take(300).collect::<String>();
        BucketError::Refused(format!("can't {what} bucket {}: {} {text}", self.bucket, answer.status))
    }

    async fn ask(
        &self,
        store: &GoogleCloudStorage,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer, BucketError> {
        let base = self.endpoint.as_ref().map_or(ENDPOINT, |url| url.as_str()).trim_end_matches('/');
        let refused = |e: String| BucketError::Refused(format!("{base}{path}: {e}"));
        let url = Url::parse(&format!("{base}{path}")).map_err(|e| refused(e.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if !self.is_anonymous() {
            let token = store.credentials().get_credential().await;
            let token = token.map_err(|e| BucketError::Unreachable(format!("no credentials for GCS: {e}")))?;
            let value =
                HeaderValue::try_from(format!("Bearer {}", token.bearer)).map_err(|e| refused(e.to_string()))?;
            headers.insert(AUTHORIZATION, value);
        }
        let answer = self.client.send(method, &url, headers, body).await;
        answer.map_err(|e| BucketError::Unreachable(format!("{url}: {e}")))
    }
}
