//! `<auth>`: who is sending.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::config::{Diagnostic, Secret};
use crate::event::EventTime;
use crate::net::http::{AwsCredentials, AwsScope};
use crate::plugin::BuildContext;

#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AuthMethod {
    #[default]
    Basic,
    AwsSigv4,
}

/// `<auth>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthParams {
    /// `basic` or `aws_sigv4`.
    method: AuthMethod,
    /// User of `basic`.
    username: Option<String>,
    /// Password of `basic`.
    password: Option<Secret>,
    /// Service of `aws_sigv4`, as `es`.
    aws_service: Option<String>,
    /// Region of `aws_sigv4`.
    aws_region: Option<String>,
    /// Not supported: a role to assume.
    aws_role_arn: Option<String>,
}

/// Adds to a request what proves its sender.
#[derive(Debug)]
pub(super) enum Auth {
    /// The value of `Authorization`.
    Basic(HeaderValue),
    Aws(AwsScope),
}

impl Auth {
    pub(super) fn new(params: &AuthParams, cx: &BuildContext<'_>) -> Result<Auth, Diagnostic> {
        match params.method {
            AuthMethod::Basic => basic(params).map(Auth::Basic).map_err(|e| cx.fault("auth", e)),
            AuthMethod::AwsSigv4 => aws(params).map(Auth::Aws).map_err(|e| cx.fault("auth", e)),
        }
    }

    /// Whether there is what it takes.
    ///
    /// Errors: no AWS credentials, and where they are looked for.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Auth::Basic(_) => Ok(()),
            Auth::Aws(_) => credentials().map(drop),
        }
    }

    /// Adds its headers. AWS credentials are looked up anew each time: those that are lent for a time change.
    pub(super) fn apply(&self, method: &Method, url: &Url, headers: &mut HeaderMap, body: &Bytes) -> Result<(), String> {
        match self {
            Auth::Basic(value) => {
                headers.insert(AUTHORIZATION, value.clone());
                Ok(())
            }
            Auth::Aws(scope) => {
                let signed = scope.sign(&credentials()?, method.as_str(), url, headers, body, EventTime::now());
                signed.map_err(|e| format!("can't sign the request: {e}"))
            }
        }
    }
}

fn basic(params: &AuthParams) -> Result<HeaderValue, String> {
    let user = params.username.as_deref().ok_or("<auth> with method basic needs a username")?;
    let password = params.password.as_ref().map(Secret::expose).unwrap_or_default();
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    let mut value = HeaderValue::try_from(value).map_err(|e| e.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

fn aws(params: &AuthParams) -> Result<AwsScope, String> {
    if params.aws_role_arn.is_some() {
        return Err("aws_role_arn is not supported: assume the role outside, as with 'aws sts assume-role', and give \
                    its credentials in the environment or in the credentials file"
            .into());
    }
    let service = params.aws_service.clone().ok_or("aws_service is required for aws_sigv4 auth")?;
    let region = params.aws_region.clone().ok_or("aws_region is required for aws_sigv4 auth")?;
    Ok(AwsScope { service, region })
}

/// From the environment, else from the credentials file that Amazon's tools share.
fn credentials() -> Result<AwsCredentials, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    if let (Some(access_key), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        let session_token = variable("AWS_SESSION_TOKEN").map(Secret::new);
        return Ok(AwsCredentials { access_key, secret_key: Secret::new(secret), session_token });
    }
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
    let path = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from).or_else(home);
    let missing = "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials";
    let path = path.ok_or(missing)?;
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{missing} ({}: {e})", path.display()))?;
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".into());
    profile_of(&text, &profile).ok_or_else(|| format!("{} has no whole profile {profile:?}", path.display()))
}

/// A profile of a credentials file.
fn profile_of(text: &str, profile: &str) -> Option<AwsCredentials> {
    let mut inside = false;
    let (mut access_key, mut secret_key, mut session_token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = name.trim() == profile;
        } else if let (true, Some((name, value))) = (inside, line.split_once('=')) {
            let value = value.trim().to_owned();
            match name.trim() {
                "aws_access_key_id" => access_key = Some(value),
                "aws_secret_access_key" => secret_key = Some(Secret::new(value)),
                "aws_session_token" => session_token = Some(Secret::new(value)),
                _ => {}
            }
        }
    }
    Some(AwsCredentials { access_key: access_key?, secret_key: secret_key?, session_token })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn profiles_are_found_in_the_credentials_file() {
        let text = "[default]\naws_access_key_id = a\n[other]\naws_access_key_id=b\n# c\naws_secret_access_key = s=\n";
        let other = profile_of(text, "other").unwrap();
        assert_eq!((other.access_key.as_str(), other.secret_key.expose()), ("b", "s="));
        assert!(profile_of(text, "default").is_none());
        assert!(!format!("{other:?}").contains("s="));
    }

    #[test]
    fn parameters_that_are_missing_are_named() {
        let params = AuthParams { method: AuthMethod::AwsSigv4, ..AuthParams::default() };
        assert!(aws(&params).unwrap_err().contains("aws_service"));
        assert!(basic(&params).unwrap_err().contains("username"));
        let user = AuthParams { username: Some("u".into()), password: Some(Secret::new("p")), ..AuthParams::default() };
        assert_eq!(basic(&user).unwrap(), "Basic dTpw");
        let role = AuthParams { aws_role_arn: Some("arn".into()), ..AuthParams::default() };
        assert!(aws(&role).unwrap_err().contains("aws_role_arn"));
    }
}
