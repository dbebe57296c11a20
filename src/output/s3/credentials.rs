//! Who signs, by the parameters; in fluent-plugin-s3's order.

use std::time::Duration;

use url::Url;

use super::params::{CredentialParams, InstanceParams, StsParams};
use crate::config::Diagnostic;
use crate::net::aws::{Metadata, Role, Source, Sts};
use crate::net::http::{AwsCredentials, Proxy};
use crate::output::object::Connection;
use crate::plugin::BuildContext;

/// How long a metadata service is waited for, where nothing is said.
const METADATA_WAIT: f64 = 1.0;

/// What is wrong with the parameters, found before anything is opened.
pub fn check(params: &CredentialParams, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
    match (&params.aws_key_id, &params.aws_sec_key) {
        (Some(_), None) => return Err(cx.fault("aws_key_id", "aws_key_id without aws_sec_key; give both or none")),
        (None, Some(_)) => return Err(cx.fault("aws_sec_key", "aws_sec_key without aws_key_id; give both or none")),
        _ => {}
    }
    if params.aws_iam_retries.is_some() {
        cx.warn("aws_iam_retries", "aws_iam_retries is deprecated; use <instance_profile_credentials> with retries");
    }
    let role = params.assume_role_credentials.as_ref().map(|r| ("assume_role_credentials", &r.sts));
    let web = params.web_identity_credentials.as_ref().map(|r| ("web_identity_credentials", &r.sts));
    for (section, sts) in role.into_iter().chain(web) {
        endpoint(sts).and_then(|_| proxy(sts)).map_err(|why| cx.fault(section, why))?;
    }
    if let Some(instance) = &params.instance_profile_credentials {
        metadata(instance).map_err(|why| cx.fault("instance_profile_credentials", why))?;
    }
    let ways = [
        ("assume_role_credentials", params.assume_role_credentials.is_some()),
        ("aws_key_id", params.aws_key_id.is_some()),
        ("aws_profile", params.aws_profile.is_some()),
        ("aws_credential_process", params.aws_credential_process.is_some()),
        ("web_identity_credentials", params.web_identity_credentials.is_some()),
        ("instance_profile_credentials", params.instance_profile_credentials.is_some()),
        ("shared_credentials", params.shared_credentials.is_some()),
    ];
    let mut given = ways.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    let Some(first) = given.next() else { return Ok(()) };
    // The keys may be those that take the role.
    for other in given.filter(|other| (first, *other) != ("assume_role_credentials", "aws_key_id")) {
        cx.warn(other, format!("{other} has no effect here: {first} goes first; take one of them out"));
    }
    Ok(())
}

/// The source of credentials.
///
/// Errors: what keeps a client of its own for the token service from being made.
pub fn source(params: &CredentialParams, connection: &Connection) -> Result<Source, String> {
    let keys = params.aws_key_id.as_ref().zip(params.aws_sec_key.as_ref()).map(|(id, secret)| {
        let access_key = id.expose().to_owned();
        Source::Static(AwsCredentials { access_key, secret_key: secret.clone(), session_token: None })
    });
    if let Some(role) = &params.assume_role_credentials {
        let taken = Role {
            arn: role.role_arn.expose().to_owned(),
            session: role.role_session_name.clone(),
            external_id: role.external_id.clone(),
            policy: role.sts.policy.clone(),
            duration: role.sts.duration_seconds,
        };
        return Ok(Source::AssumeRole(Box::new((sts(&role.sts, connection)?, taken, keys.unwrap_or(Source::Chain)))));
    }
    if let Some(keys) = keys {
        return Ok(keys);
    }
    if let Some(name) = &params.aws_profile {
        return Ok(Source::Profile { path: None, name: Some(name.clone()) });
    }
    if let Some(command) = &params.aws_credential_process {
        return Ok(Source::Process(command.clone()));
    }
    if let Some(web) = &params.web_identity_credentials {
        let taken = Role {
            arn: web.role_arn.clone(),
            session: web.role_session_name.clone(),
            external_id: None,
            policy: web.sts.policy.clone(),
            duration: web.sts.duration_seconds,
        };
        let parts = (sts(&web.sts, connection)?, taken, web.web_identity_token_file.clone());
        return Ok(Source::WebIdentity(Box::new(parts)));
    }
    if let Some(instance) = &params.instance_profile_credentials {
        return metadata(instance).map(Source::Instance);
    }
    if let Some(shared) = &params.shared_credentials {
        return Ok(Source::Profile { path: shared.path.clone(), name: shared.profile_name.clone() });
    }
    Ok(match params.aws_iam_retries {
        Some(retries) => Source::Instance(Metadata { retries, ..Metadata::default() }),
        None => Source::Chain,
    })
}

fn endpoint(params: &StsParams) -> Result<Option<Url>, String> {
    let Some(text) = &params.sts_endpoint_url else { return Ok(None) };
    let url = Url::parse(text).map_err(|e| format!("sts_endpoint_url {text:?} is no address: {e}"))?;
    match url.scheme() {
        "http" | "https" => Ok(Some(url)),
        _ => Err(format!("sts_endpoint_url {text:?} must begin with http:// or https://")),
    }
}

fn proxy(params: &StsParams) -> Result<Option<Proxy>, String> {
    let proxy = params.sts_http_proxy.as_ref().map(|proxy| Proxy::parse(proxy.expose())).transpose();
    proxy.map_err(|e| format!("sts_http_proxy: {e}"))
}

fn sts(params: &StsParams, connection: &Connection) -> Result<Sts, String> {
    let client = match proxy(params)? {
        None => None,
        proxy => Some(Connection { proxy, ..connection.clone() }.open().map_err(|e| e.to_string())?),
    };
    Ok(Sts { endpoint: endpoint(params)?, region: params.sts_region.clone(), client })
}

fn metadata(params: &InstanceParams) -> Result<Metadata, String> {
    let endpoint = match (&params.ip_address, params.port) {
        (None, None) => None,
        (host, port) => {
            let host = host.as_deref().unwrap_or("169.254.169.254");
            let text = format!("http://{host}:{}", port.unwrap_or(80));
            Some(Url::parse(&text).map_err(|e| format!("ip_address {host:?}: {e}"))?)
        }
    };
    let wait = |seconds: Option<f64>| seconds.unwrap_or(METADATA_WAIT).clamp(0.1, 60.0);
    let wait = wait(params.http_open_timeout) + wait(params.http_read_timeout);
    Ok(Metadata { endpoint, retries: params.retries.unwrap_or(1), wait: Duration::from_secs_f64(wait) })
}
