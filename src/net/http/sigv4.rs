//! AWS Signature Version 4 for requests with their whole body at hand ("Create a signed AWS API request" in the IAM User
//! Guide).

use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};
use url::Url;

use super::client::authority;
use crate::config::Secret;
use crate::event::timefmt::Civil;
use crate::event::{EventTime, hex};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is not encoded: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`ENCODED`], for paths.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Who signs.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// The public name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// Goes with keys that are lent for a time.
    pub session_token: Option<Secret>,
}

/// What a signature is for.
#[derive(Clone, Debug)]
pub struct AwsScope {
    /// The service's name in ARNs, as `es` or `s3`.
    pub service: String,
    /// As `eu-west-1`.
    pub region: String,
}

impl AwsScope {
    /// Adds the date, the body's digest, the token and the signature to `headers`, and signs them with the host and the
    /// content type.
    ///
    /// Errors: a host or credential that can't stand in a header.
    pub fn sign(
        &self,
        credentials: &AwsCredentials,
        method: &str,
        url: &Url,
        headers: &mut HeaderMap,
        body: &[u8],
        now: EventTime,
    ) -> Result<(), InvalidHeaderValue> {
        let time = amz_time(now);
        let digest = hex(&Sha256::digest(body));
        headers.insert(HOST, HeaderValue::try_from(authority(url))?);
        headers.insert(HeaderName::from_static("x-amz-date"), HeaderValue::try_from(&time)?);
        headers.insert(HeaderName::from_static("x-amz-content-sha256"), HeaderValue::try_from(&digest)?);
        if let Some(token) = &credentials.session_token {
            let mut token = HeaderValue::try_from(token.expose())?;
            token.set_sensitive(true);
            headers.insert(HeaderName::from_static("x-amz-security-token"), token);
        }
        let (names, canonical) = self.canonical(method, url, headers, &digest);
        let scope = format!("{}/{}/{}/aws4_request", &time[..8], self.region, self.service);
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let signature = hex(&mac(&self.key(credentials, &time[..8]), text.as_bytes()));
        let access_key = &credentials.access_key;
        let value =
            format!("{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}");
        headers.insert(AUTHORIZATION, HeaderValue::try_from(value)?);
        Ok(())
    }

    /// The names of the signed headers, and the text that stands for the request.
    fn canonical(&self, method: &str, url: &Url, headers: &HeaderMap, digest: &str) -> (String, String) {
        let signed = |name: &str| name.starts_with("x-amz-") || name == HOST.as_str() || name == CONTENT_TYPE.as_str();
        let mut lines: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| signed(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default().trim()))
            .collect();
        lines.sort_unstable();
        let names: Vec<&str> = lines.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        // Every service but S3 wants the path encoded twice.
        let path = match self.service.as_str() {
            "s3" => url.path().to_owned(),
            _ => utf8_percent_encode(url.path(), ENCODED_IN_PATH).to_string(),
        };
        let canonical = format!("{method}\n{path}\n{}\n{lines}\n{names}\n{digest}", query(url));
        (names, canonical)
    }

    fn key(&self, credentials: &AwsCredentials, date: &str) -> Vec<u8> {
        let first = format!("AWS4{}", credentials.secret_key.expose());
        let parts = [date, &self.region, &self.service, "aws4_request"];
        parts.iter().fold(first.into_bytes(), |key, part| mac(&key, part.as_bytes()))
    }
}

fn query(url: &Url) -> String {
    let encode = |text: &str| {
        let plain: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&plain, ENCODED).to_string()
    };
    let pairs = url.query().unwrap_or_default().split('&').filter(|p| !p.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length; where it did not, the signature would be refused.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// `20150830T123600Z`
fn amz_time(now: EventTime) -> String {
    let t = Civil::from_secs(now.secs());
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", t.year, t.month, t.day, t.hour, t.minute, t.second)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn credentials() -> AwsCredentials {
        AwsCredentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        }
    }

    /// Amazon's test suite (aws-sig-v4-test-suite): its requests have no digest header, so only the signing is compared.
    #[test]
    fn the_signature_of_amazons_example_comes_out() {
        let scope = AwsScope { service: "service".into(), region: "us-east-1".into() };
        let empty = hex(&Sha256::digest(b""));
        let url = Url::parse("https://example.amazonaws.com/?Param2=value2&Param1=value1").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("example.amazonaws.com"));
        headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        let (names, canonical) = scope.canonical("GET", &url, &headers, &empty);
        assert_eq!(names, "host;x-amz-date");
        assert_eq!(
            hex(&Sha256::digest(&canonical)),
            "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0"
        );
        let text = format!(
            "{ALGORITHM}\n20150830T123600Z\n20150830/us-east-1/service/aws4_request\n{}",
            hex(&Sha256::digest(canonical))
        );
        let signature = hex(&mac(&scope.key(&credentials(), "20150830"), text.as_bytes()));
        assert_eq!(signature, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    }

    #[test]
    fn requests_get_all_that_is_signed() {
        let scope = AwsScope { service: "es".into(), region: "eu-west-1".into() };
        let url = Url::parse("https://x.example:9200/a%20b/_bulk").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let lent = AwsCredentials { session_token: Some(Secret::new("t")), ..credentials() };
        scope.sign(&lent, "POST", &url, &mut headers, b"{}", EventTime::from_secs(1_440_938_160)).unwrap();
        let value = headers.get(AUTHORIZATION).unwrap().to_str().unwrap();
        let names = "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token";
        let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/eu-west-1/es/aws4_request, SignedHeaders=";
        assert!(value.starts_with(&format!("{start}{names}, Signature=")), "{value}");
        assert_eq!(headers.get(HOST).unwrap(), "x.example:9200");
        let (_, canonical) = scope.canonical("POST", &url, &headers, "d");
        assert!(canonical.starts_with("POST\n/a%2520b/_bulk\n\n"));
    }
}
