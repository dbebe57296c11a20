//! Who signs requests to AWS: where credentials come from, and when they are fetched anew.
//!
//! The order of the chain, the files' forms and the metadata services are those of Amazon's own tools ("AWS SDKs and Tools
//! Reference Guide", standardized credential providers). Credentials that are lent for a time are fetched again before
//! they end; what was fetched is shared by all requests of an output.

mod metadata;
mod profile;
mod sts;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use self::metadata::Metadata;
pub use self::sts::{Role, Sts, element};
use super::http::{AwsCredentials, Client};
use crate::config::Secret;
use crate::event::EventTime;

/// How long before their end credentials are fetched anew.
const MARGIN: Duration = Duration::from_secs(300);

/// How long credentials without an end are used before the files are read again.
const REREAD: Duration = Duration::from_secs(60);

/// Longest run of a command that prints credentials.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(60);

/// Where credentials come from.
#[derive(Debug)]
pub enum Source {
    /// The configuration.
    Static(AwsCredentials),
    /// The chain: environment, web identity of the environment, files, container, instance.
    Chain,
    /// A profile of the shared files.
    Profile {
        /// The credentials file; `None` for the usual place.
        path: Option<PathBuf>,
        /// The profile; `None` for `AWS_PROFILE` or `default`.
        name: Option<String>,
    },
    /// What a command prints.
    Process(String),
    /// A role, by a token that the platform writes into a file.
    WebIdentity(Box<(Sts, Role, PathBuf)>),
    /// A role, by other credentials.
    AssumeRole(Box<(Sts, Role, Source)>),
    /// The machine's or the container's role.
    Instance(Metadata),
}

/// Credentials and the moment until which they may be used.
#[derive(Clone, Debug)]
struct Lent {
    credentials: AwsCredentials,
    /// Seconds since the epoch; `None` where they do not end.
    until: Option<i64>,
}

impl Lent {
    fn forever(credentials: AwsCredentials) -> Lent {
        Lent { credentials, until: None }
    }

    /// How long they may be used without asking again.
    fn fresh_for(&self) -> Duration {
        let Some(until) = self.until else { return REREAD };
        let left = u64::try_from(until - EventTime::now().secs()).unwrap_or(0);
        // What is lent for a short time is asked for at half of it rather than at every request.
        Duration::from_secs(left).saturating_sub(MARGIN).max(Duration::from_secs(left / 2))
    }
}

/// Credentials of one output, fetched when they are needed.
#[derive(Debug)]
pub struct Keychain {
    source: Source,
    /// Region that STS is asked in where the configuration names none.
    region: String,
    held: Mutex<Option<(Instant, AwsCredentials)>>,
}

impl Keychain {
    /// A keychain that has fetched nothing yet.
    pub fn new(source: Source, region: &str) -> Keychain {
        Keychain { source, region: region.to_owned(), held: Mutex::default() }
    }

    /// The credentials in force. `client` asks metadata services and STS.
    ///
    /// Errors: for the operator, with the places that were looked at.
    pub async fn credentials(&self, client: &Client) -> Result<AwsCredentials, String> {
        // Held while fetching: many requests at once ask the service once.
        let mut held = self.held.lock().await;
        if let Some((until, credentials)) = &*held
            && Instant::now() < *until
        {
            return Ok(credentials.clone());
        }
        let lent = self.source.fetch(client, &self.region).await?;
        *held = Some((Instant::now() + lent.fresh_for(), lent.credentials.clone()));
        Ok(lent.credentials)
    }

    /// Forgets what was fetched: the service has refused it.
    pub async fn forget(&self) {
        *self.held.lock().await = None;
    }
}

impl Source {
    async fn fetch(&self, client: &Client, region: &str) -> Result<Lent, String> {
        match self {
            Source::Static(credentials) => Ok(Lent::forever(credentials.clone())),
            Source::Chain => chain(client, region).await,
            Source::Profile { path, name } => {
                profile::credentials(path.as_deref(), name.as_deref(), client, region).await
            }
            Source::Process(command) => process(command).await,
            Source::WebIdentity(parts) => {
                let (sts, role, token) = &**parts;
                sts.web_identity(role, token, client, region).await
            }
            Source::AssumeRole(parts) => {
                let (sts, role, base) = &**parts;
                let base = Box::pin(base.fetch(client, region)).await?;
                sts.assume_role(role, &base.credentials, client, region).await
            }
            Source::Instance(metadata) => metadata.credentials(client).await,
        }
    }
}

/// A variable of the environment that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn environment() -> Option<AwsCredentials> {
    let (access_key, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    let session_token = variable("AWS_SESSION_TOKEN").map(Secret::new);
    Some(AwsCredentials { access_key, secret_key: Secret::new(secret), session_token })
}

async fn chain(client: &Client, region: &str) -> Result<Lent, String> {
    if let Some(credentials) = environment() {
        return Ok(Lent::forever(credentials));
    }
    if let (Some(token), Some(role_arn)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        let session = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "suiro".into());
        let role = Role { arn: role_arn, session, ..Role::default() };
        return Sts::default().web_identity(&role, &PathBuf::from(token), client, region).await;
    }
    let from_files = profile::credentials(None, None, client, region).await;
    let why = match from_files {
        Ok(lent) => return Ok(lent),
        Err(why) => why,
    };
    Metadata::default().credentials(client).await.map_err(|metadata| {
        format!(
            "no AWS credentials. Looked at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_WEB_IDENTITY_TOKEN_FILE, the \
             shared files ({why}) and the instance ({metadata}). Set one of them, or give the keys in the configuration"
        )
    })
}

/// What a command prints, and what metadata services answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: Secret,
    #[serde(alias = "Token")]
    session_token: Option<Secret>,
    expiration: Option<String>,
}

impl Printed {
    fn read(text: &[u8]) -> Result<Lent, String> {
        let printed: Printed =
            serde_json::from_slice(text).map_err(|e| format!("no credentials in the answer: {e}"))?;
        let until = printed.expiration.as_deref().map(seconds).transpose()?;
        let Printed { access_key_id, secret_access_key, session_token, .. } = printed;
        let session_token = session_token.filter(|token| !token.is_empty());
        let credentials = AwsCredentials { access_key: access_key_id, secret_key: secret_access_key, session_token };
        Ok(Lent { credentials, until })
    }
}

/// `2026-05-06T07:08:09Z` as seconds since the epoch.
fn seconds(text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|e| format!("the credentials end at {text:?}, which is no time: {e}"))?;
    Ok(time.as_second())
}

async fn process(command: &str) -> Result<Lent, String> {
    let mut run = Command::new("/bin/sh");
    run.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PROCESS_TIMEOUT, run.output()).await;
    let output = output.map_err(|_| format!("the command for credentials did not end within {PROCESS_TIMEOUT:?}"))?;
    let output = output.map_err(|e| format!("can't run the command for credentials: {e}"))?;
    if !output.status.success() {
        return Err(format!("the command for credentials ended with {}", output.status));
    }
    // The output holds the secret and is not shown.
    Printed::read(&output.stdout)
}
