//! The services on the machine or in the container that lend its role: the instance's metadata (with its session token,
//! version 2) and the container's endpoint.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::{Lent, Printed, variable};
use crate::net::http::{Answer, Client, ClientOptions};

/// The instance's service, where nothing else is said.
const INSTANCE: &str = "http://169.254.169.254";
/// The container's service, for a relative address.
const CONTAINER: &str = "http://169.254.170.2";
/// Where the role is named.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// How long a session of the instance's service is valid, in seconds.
const SESSION_SECONDS: &str = "21600";
/// How long an answer is waited for: where there is no such service, nobody answers at all.
const WAIT: Duration = Duration::from_secs(2);

/// How the services are asked.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// The instance's service.
    pub endpoint: Option<Url>,
    /// Attempts beyond the first.
    pub retries: u32,
    /// How long one answer may take.
    pub wait: Duration,
}

impl Default for Metadata {
    fn default() -> Metadata {
        Metadata { endpoint: None, retries: 1, wait: WAIT }
    }
}

impl Metadata {
    /// The role's credentials.
    ///
    /// Errors: nobody answers, or there is no role.
    pub(super) async fn credentials(&self, client: &Client) -> Result<Lent, String> {
        let mut left = self.retries;
        loop {
            match self.once(client).await {
                Err(_) if left > 0 => left -= 1,
                outcome => return outcome,
            }
        }
    }

    async fn once(&self, client: &Client) -> Result<Lent, String> {
        if let Some(url) = container()? {
            return self.container(&url, client).await;
        }
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return Err("AWS_EC2_METADATA_DISABLED is set".into());
        }
        let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| INSTANCE.into());
        let base = self.endpoint.clone().map_or_else(|| Url::parse(&base).map_err(|e| e.to_string()), Ok)?;
        let mut headers = HeaderMap::new();
        headers.insert("x-aws-ec2-metadata-token-ttl-seconds", HeaderValue::from_static(SESSION_SECONDS));
        let session = self.ask(client, Method::PUT, &base, "/latest/api/token", headers).await?;
        let mut headers = HeaderMap::new();
        let token = HeaderValue::from_bytes(&session.body).map_err(|e| e.to_string())?;
        headers.insert(HeaderName::from_static("x-aws-ec2-metadata-token"), token);
        let roles = self.ask(client, Method::GET, &base, ROLES, headers.clone()).await?;
        let roles = String::from_utf8_lossy(&roles.body).into_owned();
        let role = roles.lines().next().filter(|r| !r.is_empty()).ok_or("the instance has no role")?;
        let answer = self.ask(client, Method::GET, &base, &format!("{ROLES}{role}"), headers).await?;
        Printed::read(&answer.body)
    }

    async fn container(&self, url: &Url, client: &Client) -> Result<Lent, String> {
        let mut headers = HeaderMap::new();
        let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => Some(tokio::fs::read_to_string(&path).await.map_err(|e| format!("{path}: {e}"))?),
            None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        };
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, HeaderValue::try_from(token.trim()).map_err(|e| e.to_string())?);
        }
        let path = url[url::Position::BeforePath..].to_owned();
        let answer = self.ask(client, Method::GET, url, &path, headers).await?;
        Printed::read(&answer.body)
    }

    async fn ask(
        &self,
        client: &Client,
        method: Method,
        base: &Url,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Answer, String> {
        let url = base.join(path).map_err(|e| e.to_string())?;
        // These services are on this machine: a proxy would ask its own.
        let direct = Client::new(ClientOptions { reuse: false, ..ClientOptions::default() });
        let client = if url.scheme() == "https" { client } else { &direct };
        let answer = timeout(self.wait, client.send(method, &url, headers, Bytes::new())).await;
        let answer = answer.map_err(|_| format!("{url} does not answer"))?.map_err(|e| format!("{url}: {e}"))?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(format!("{url} knows no role of this machine")),
            status => Err(format!("{url} answers {status}")),
        }
    }
}

/// The address of the container's service, where there is one. Other hosts than these must not be sent a token in clear
/// ("Container credential provider").
fn container() -> Result<Option<Url>, String> {
    if let Some(path) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        return Url::parse(&format!("{CONTAINER}{path}")).map(Some).map_err(|e| e.to_string());
    }
    let Some(full) = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") else { return Ok(None) };
    let url = Url::parse(&full).map_err(|e| format!("AWS_CONTAINER_CREDENTIALS_FULL_URI: {e}"))?;
    let own = ["localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
    if url.scheme() == "https" || url.host_str().is_some_and(|host| own.contains(&host)) {
        return Ok(Some(url));
    }
    Err(format!("AWS_CONTAINER_CREDENTIALS_FULL_URI: {full} is neither https nor on this machine"))
}
