//! Signatures of requests to S3.

use hyper::header::HeaderMap;
use hyper::{Method, StatusCode};
use url::Url;

use crate::event::EventTime;
use crate::net::aws::Keychain;
use crate::net::http::{AwsScope, Client};

/// Signs the requests of one output.
pub struct Signer {
    /// Who signs.
    pub keychain: Keychain,
    /// What for.
    pub scope: AwsScope,
}

impl Signer {
    /// Adds the signature of all that is there.
    ///
    /// Errors: no credentials, with the reason; a credential that can't stand in a header.
    pub async fn sign(
        &self,
        client: &Client,
        method: &Method,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), String> {
        let credentials = self.keychain.credentials(client).await?;
        let signed = self.scope.sign(&credentials, method.as_str(), url, headers, body, EventTime::now());
        signed.map_err(|e| format!("can't sign the request: {e}"))
    }

    /// Credentials that may have been refused are fetched anew next time.
    pub async fn heed(&self, status: StatusCode) {
        if matches!(status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) {
            self.keychain.forget().await;
        }
    }
}
