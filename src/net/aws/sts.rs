//! The token service (STS): credentials of a role, for a time.

use std::path::Path;

use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::{Lent, seconds};
use crate::config::Secret;
use crate::event::EventTime;
use crate::net::http::{AwsCredentials, AwsScope, Client};

/// The role that is taken.
#[derive(Clone, Debug, Default)]
pub struct Role {
    /// Its name.
    pub arn: String,
    /// What the session is called in logs.
    pub session: String,
    /// A policy in JSON that narrows what the session may do.
    pub policy: Option<String>,
    /// Seconds that the credentials are lent for.
    pub duration: Option<u32>,
    /// What a third party must know.
    pub external_id: Option<Secret>,
}

/// Where the service is.
#[derive(Default)]
pub struct Sts {
    /// Its address; by default that of the region.
    pub endpoint: Option<Url>,
    /// Its region; by default that of the output.
    pub region: Option<String>,
    /// A client of its own, where it is reached by a proxy of its own.
    pub client: Option<Client>,
}

impl std::fmt::Debug for Sts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sts").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Sts {
    /// Credentials of a role, by those of someone who may take it.
    pub(super) async fn assume_role(
        &self,
        role: &Role,
        base: &AwsCredentials,
        client: &Client,
        region: &str,
    ) -> Result<Lent, String> {
        let mut form = role.form("AssumeRole");
        if let Some(id) = &role.external_id {
            form.push(("ExternalId", id.expose().to_owned()));
        }
        self.ask(&form, Some(base), client, region).await
    }

    /// Credentials of a role, by the token in a file. The file is read anew each time: the platform renews it.
    pub(super) async fn web_identity(
        &self,
        role: &Role,
        token: &Path,
        client: &Client,
        region: &str,
    ) -> Result<Lent, String> {
        let text = tokio::fs::read_to_string(token).await;
        let text = text.map_err(|e| format!("the web identity token {}: {e}", token.display()))?;
        let mut form = role.form("AssumeRoleWithWebIdentity");
        form.push(("WebIdentityToken", text.trim().to_owned()));
        self.ask(&form, None, client, region).await
    }

    async fn ask(
        &self,
        form: &[(&str, String)],
        signer: Option<&AwsCredentials>,
        client: &Client,
        region: &str,
    ) -> Result<Lent, String> {
        let region = self.region.as_deref().unwrap_or(region);
        let url = self.endpoint.clone().map_or_else(|| regional(region), Ok)?;
        let body = encoded(form);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/xml"));
        if let Some(credentials) = signer {
            let scope = AwsScope { service: "sts".into(), region: region.to_owned() };
            let signed = scope.sign(credentials, "POST", &url, &mut headers, body.as_bytes(), EventTime::now());
            signed.map_err(|e| format!("can't sign the request to STS: {e}"))?;
        }
        let client = self.client.as_ref().unwrap_or(client);
        let answer = client.send(Method::POST, &url, headers, body.into()).await;
        let answer = answer.map_err(|e| format!("{url}: {e}"))?;
        let text = String::from_utf8_lossy(&answer.body);
        if !answer.status.is_success() {
            let code = element(&text, "Code").unwrap_or_default();
            let message = element(&text, "Message").unwrap_or_default();
            return Err(format!("STS refuses the role with {}: {code} {message}", answer.status));
        }
        credentials_of(&text)
    }
}

impl Role {
    fn form(&self, action: &'static str) -> Vec<(&'static str, String)> {
        let mut form = vec![
            ("Action", action.to_owned()),
            ("Version", "2011-06-15".to_owned()),
            ("RoleArn", self.arn.clone()),
            ("RoleSessionName", self.session.clone()),
        ];
        form.extend(self.policy.clone().map(|policy| ("Policy", policy)));
        form.extend(self.duration.map(|seconds| ("DurationSeconds", seconds.to_string())));
        form
    }
}

fn regional(region: &str) -> Result<Url, String> {
    let ending = if region.starts_with("cn-") { ".cn" } else { "" };
    Url::parse(&format!("https://sts.{region}.amazonaws.com{ending}/")).map_err(|e| format!("region {region:?}: {e}"))
}

fn encoded(form: &[(&str, String)]) -> String {
    let pairs = form.iter().map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
    pairs.collect::<Vec<_>>().join("&")
}

pub(super) fn credentials_of(text: &str) -> Result<Lent, String> {
    let field = |name: &str| element(text, name).ok_or_else(|| format!("the answer of STS has no {name}"));
    let credentials = AwsCredentials {
        access_key: field("AccessKeyId")?,
        secret_key: Secret::new(field("SecretAccessKey")?),
        session_token: Some(Secret::new(field("SessionToken")?)),
    };
    Ok(Lent { credentials, until: Some(seconds(&field("Expiration")?)?) })
}

/// The text of the first element of this name. What is asked for holds no markup.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim().replace("&quot;", "\"").replace("&apos;", "'").replace("&lt;", "<").replace("&gt;", ">");
    Some(text.replace("&amp;", "&"))
}
