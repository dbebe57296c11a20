//! What a store's refusal means for the chunk, and what the operator can do about it.

use crate::net::aws::element;
use crate::output::causes::chain;
use crate::plugin::WriteError;

/// Longest part of a store's answer in a message, in characters.
const SHOWN_CHARS: usize = 500;

/// What S3, GCS and Azure call a fault, and what helps.
const REMEDIES: &[(&[&str], &str)] = &[
    (
        &["NoSuchBucket", "ContainerNotFound"],
        "create it, set auto_create_bucket (auto_create_container), or correct its name",
    ),
    (
        &["InvalidAccessKeyId", "UnrecognizedClientException"],
        "the access key is not known: correct the key in the configuration, the environment or the profile",
    ),
    (
        &["SignatureDoesNotMatch", "AuthenticationFailed", "InvalidAuthenticationInfo"],
        "the secret key does not belong to the access key, or the clock is wrong",
    ),
    (&["ExpiredToken", "InvalidToken", "TokenRefreshRequired"], "the session's credentials have ended: renew them"),
    (&["RequestTimeTooSkewed", "RequestExpired"], "set the clock of this host"),
    (
        &["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"],
        "the bucket is in another region: set s3_region",
    ),
    (
        &["AccessDenied", "AuthorizationPermissionMismatch", "InsufficientAccountPermissions", "AccountProblem"],
        "allow this key to put and to look at objects of this bucket (s3:PutObject, s3:GetObject), and to use the encryption key",
    ),
    (
        &["SlowDown", "ServiceUnavailable", "TooManyRequests", "ServerBusy"],
        "the store asks to go slower; the chunk is tried again later",
    ),
];

/// Faults that no later attempt mends: what is asked for can't be stored at all.
const FINAL: &[&str] =
    &["KeyTooLongError", "InvalidURI", "EntityTooLarge", "InvalidStorageClass", "MetadataTooLarge", "InvalidTag"];

/// The outcome of a failed request.
pub fn judge(place: &str, e: &object_store::Error) -> WriteError {
    let text = chain(e);
    let code = element(&text, "Code").or_else(|| json_code(&text));
    let response = element(&text, "Message").unwrap_or_default();
    let known = |names: &[&str]| code.as_deref().is_some_and(|code| names.contains(&code));
    let what = match (&code, response.is_empty()) {
        (Some(code), false) => format!("{code}: {response}"),
        (Some(code), true) => code.clone(),
        (None, _) => text.chars().take(SHOWN_CHARS).collect(),
    };
    if known(FINAL) {
        return WriteError::Refused { why: format!("{place}: {what}"), response: text };
    }
    let remedy = REMEDIES.iter().find(|(names, _)| known(names)).map(|(_, remedy)| *remedy).or_else(|| by_kind(e));
    WriteError::Retry(match remedy {
        Some(remedy) => format!("{place}: {what}. What helps: {remedy}"),
        None => format!("{place}: {what}"),
    })
}

/// GCS names its reason in JSON where it is asked by JSON.
fn json_code(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("\"reason\":")?;
    let (_, rest) = rest.split_once('"')?;
    Some(rest.split('"').next()?.to_owned())
}

fn by_kind(e: &object_store::Error) -> Option<&'static str> {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    match e {
        PermissionDenied { .. } => {
            Some("this key may not do that: allow it to put and to look at objects of this bucket")
        }
        Unauthenticated { .. } => Some("the store does not know who is asking: look at the credentials"),
        NotFound { .. } => Some("the bucket (container) is not there: create it or correct its name"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: body.to_owned().into() }
    }

    #[test]
    fn refusals_say_what_helps() {
        let judged =
            judge("s3://b/k", &said("404: <Error><Code>NoSuchBucket</Code><Message>no &amp; no</Message></Error>"));
        let WriteError::Retry(why) = judged else { panic!("{judged:?}") };
        assert!(why.starts_with("s3://b/k: NoSuchBucket: no & no. What helps: create it"), "{why}");
        let WriteError::Retry(why) = judge("p", &said("{\"reason\": \"rateLimitExceeded\"}")) else { panic!() };
        assert_eq!(why, "p: rateLimitExceeded");
        let judged = judge("p", &said("<Code>KeyTooLongError</Code>"));
        assert!(matches!(judged, WriteError::Refused { .. }), "{judged:?}");
    }
}
