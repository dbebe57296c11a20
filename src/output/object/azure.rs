//! Azure Blob Storage: its containers, and the store over it.

use std::sync::Arc;

use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, StatusCode};
use object_store::azure::{AzureAuthorizer, AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody};
use object_store::{Attributes, ClientOptions};
use url::Url;

use super::aws::{BucketError, no_retries};
use super::extras::Extras;
use super::service::Service;
use super::store::{Cloud, Large, Store};
use crate::config::Secret;
use crate::net::http::Client;

/// A container.
pub struct Container {
    /// The account; without one the environment names it.
    pub account: Option<String>,
    /// Its key; without one the environment and the machine are asked.
    pub access_key: Option<Secret>,
    /// The container's name.
    pub name: String,
    /// Address of the account, where it is not Azure's.
    pub endpoint: Option<Url>,
    /// Sends requests.
    pub client: Arc<Client>,
}

/// An open container.
pub struct OpenContainer {
    store: MicrosoftAzure,
    account: String,
    url: Url,
}

impl Container {
    fn service(&self) -> Service {
        Service::new(self.client.clone(), Arc::new(Extras::default()), None)
    }

    /// Opens the store and its credentials.
    ///
    /// Errors: no account, a key that is none.
    pub fn open(&self) -> Result<OpenContainer, String> {
        let mut builder = MicrosoftAzureBuilder::from_env()
            .with_container_name(&self.name)
            .with_allow_http(true)
            .with_retry(no_retries())
            .with_http_connector(self.service());
        // The names that Azure's own tools and the Ruby library read.
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let account = self.account.clone().or_else(|| variable("AZURE_STORAGE_ACCOUNT"));
        let key = self.access_key.as_ref().map(|key| key.expose().to_owned());
        if let Some(account) = &account {
            builder = builder.with_account(account);
        }
        if let Some(key) = key.or_else(|| variable("AZURE_STORAGE_ACCESS_KEY")) {
            builder = builder.with_access_key(key);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
        }
        let account = builder.get_config_value(&AzureConfigKey::AccountName);
        let account =
            account.ok_or("no account: set azure_storage_account, or AZURE_STORAGE_ACCOUNT in the environment")?;
        let base = builder.get_config_value(&AzureConfigKey::Endpoint);
        let base = base.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
        let url = Url::parse(&base).map_err(|e| format!("{base:?} is no address: {e}"))?;
        let store = builder.build().map_err(|e| format!("can't use the credentials for Azure: {e}"))?;
        Ok(OpenContainer { store, account, url })
    }

    /// Sees that the container is there, or makes it.
    pub async fn ensure(&self, open: &OpenContainer, create: bool) -> Result<(), BucketError> {
        match self.ask(open, Method::GET).await? {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND if create => {
                tracing::info!("creating container {}", self.name);
                match self.ask(open, Method::PUT).await? {
                    status if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
                    status => Err(self.refused("create", status)),
                }
            }
            StatusCode::NOT_FOUND => Err(BucketError::Refused(format!(
                "The specified container does not exist: container = {}. Create it, or set auto_create_container true",
                self.name
            ))),
            status => Err(self.refused("look at", status)),
        }
    }

    fn refused(&self, what: &str, status: StatusCode) -> BucketError {
        BucketError::Refused(format!(
            "can't {what} container {}: {status}. The key must be that of the account, and may need the right to do this",
            self.name
        ))
    }

    async fn ask(&self, open: &OpenContainer, method: Method) -> Result<StatusCode, BucketError> {
        let base = open.url.as_str().trim_end_matches('/');
        let address = format!("{base}/{}?restype=container", self.name);
        let refused = |e: String| BucketError::Refused(format!("{address}: {e}"));
        let credentials = open.store.credentials().get_credential().await;
        let credentials =
            credentials.map_err(|e| BucketError::Unreachable(format!("no credentials for Azure: {e}")))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() = address.parse().map_err(|e| refused(format!("{e}")))?;
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        AzureAuthorizer::new(&credentials, &open.account).authorize(&mut request);
        let client = self.service().connect(&ClientOptions::default()).map_err(|e| refused(e.to_string()))?;
        let answer = client.execute(request).await;
        let answer = answer.map_err(|e| BucketError::Unreachable(format!("{address}: {e}")))?;
        match answer.status() {
            status if status.is_server_error() => Err(BucketError::Unreachable(format!("{address}: {status}"))),
            status => Ok(status),
        }
    }

    /// Objects in this container.
    pub fn store(&self, open: OpenContainer, attributes: Attributes) -> Store {
        let place = format!("az://{}", self.name);
        Store::Cloud(Cloud { store: Arc::new(open.store), large: Large::Copied, attributes, place })
    }
}
