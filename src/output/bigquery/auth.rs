//! Who asks: the token of a service account, of the machine, or of what the environment has.
//!
//! Keys are signed with, and tokens renewed before they end, by the library that the object stores use; it asks for the
//! scope of the whole platform, which BigQuery is part of.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use object_store::RetryConfig;
use object_store::gcp::{GcpCredentialProvider, GoogleCloudStorageBuilder};
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::config::Secret;
use crate::net::http::{Client, ClientOptions};
use crate::output::object::{Extras, Service};

/// Largest file of a key, in bytes.
const MAX_KEY_BYTES: u64 = 1 << 20;
/// The machine's own service, where the environment names no other.
const MACHINE: &str = "http://metadata.google.internal";
/// Where it has tokens.
const MACHINE_TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// How long that service may take: where there is none, nobody answers at all.
const MACHINE_WAIT: Duration = Duration::from_secs(5);
/// Tokens of the machine are renewed so long before they end.
const EARLY: Duration = Duration::from_secs(300);
/// The passphrase that Google gives its keys.
const USUAL_PASSPHRASE: &str = "notasecret";

/// A key in a file of its own.
#[derive(Clone, Debug)]
pub struct KeyParams {
    /// Address of the service account.
    pub email: String,
    /// The file.
    pub path: PathBuf,
    /// Its passphrase.
    pub passphrase: Option<Secret>,
}

enum How {
    Nobody,
    PrivateKey(KeyParams),
    JsonKey(Secret),
    Machine,
    Environment,
}

/// See the module's description.
pub struct Auth {
    method: How,
    provider: OnceLock<GcpCredentialProvider>,
    lent: Mutex<Option<(String, Instant)>>,
}

impl Auth {
    fn new(method: How) -> Auth {
        Auth { method, provider: OnceLock::new(), lent: Mutex::default() }
    }

    /// No token is sent.
    pub fn nobody() -> Auth {
        Auth::new(How::Nobody)
    }

    /// By a key in a file of its own.
    pub fn private_key(key: KeyParams) -> Auth {
        Auth::new(How::PrivateKey(key))
    }

    /// By a service account's key: the path of a file, or the JSON itself.
    ///
    /// Errors: JSON that is no such key.
    pub fn json_key(key: Secret) -> Result<Auth, String> {
        if is_inline(key.expose()) {
            check(key.expose())?;
        }
        Ok(Auth::new(How::JsonKey(key)))
    }

    /// By the machine's account.
    pub fn machine() -> Auth {
        Auth::new(How::Machine)
    }

    /// By what the environment has.
    pub fn environment() -> Auth {
        Auth::new(How::Environment)
    }

    /// The parameter that an operator has to look at when the service refuses who asks.
    pub fn parameter(&self) -> &'static str {
        match self.method {
            How::Nobody => "auth_method (no credentials are sent, since endpoint is set and no key is)",
            How::PrivateKey(_) => "email and private_key_path",
            How::JsonKey(_) => "json_key",
            How::Machine => "auth_method compute_engine",
            How::Environment => "auth_method application_default",
        }
    }

    /// Reads keys. `client` fetches tokens.
    ///
    /// Errors: a key that can't be read or used, with the parameter that names it.
    pub fn open(&self, client: &Arc<Client>) -> Result<(), String> {
        // The bucket is never asked for; the library wants a name.
        let builder = match &self.method {
            How::Nobody | How::Machine => return Ok(()),
            How::PrivateKey(key) => GoogleCloudStorageBuilder::new().with_service_account_key(from_pem(key)?),
            How::JsonKey(key) => GoogleCloudStorageBuilder::new().with_service_account_key(read_json_key(key)?),
            How::Environment => GoogleCloudStorageBuilder::from_env(),
        };
        let service = Service::new(client.clone(), Arc::new(Extras::default()), None);
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let store = builder.with_bucket_name("none").with_retry(retry).with_http_connector(service).build();
        let store = store.map_err(|e| format!("{}: the key can't be used: {e}", self.parameter()))?;
        // Opened once; a second one would be the same.
        let _ = self.provider.set(store.credentials().clone());
        Ok(())
    }

    /// The value of `Authorization`; none where nobody asks.
    ///
    /// Errors: no token, with the parameter to look at.
    pub async fn header(&self, client: &Client) -> Result<Option<HeaderValue>, String> {
        let token = match (&self.method, self.provider.get()) {
            (How::Nobody, _) => return Ok(None),
            (How::Machine, _) => self.of_machine(client).await,
            (_, Some(provider)) => match provider.get_credential().await {
                Ok(credential) => Ok(credential.bearer.clone()),
                Err(e) => Err(e.to_string()),
            },
            (_, None) => Err("the output was not started".into()),
        };
        let token = token.map_err(|why| format!("no token for BigQuery by {}: {why}", self.parameter()))?;
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|e| e.to_string())?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// A token was refused: the next request gets a new one, where it was lent.
    pub async fn forget(&self) {
        *self.lent.lock().await = None;
    }

    async fn of_machine(&self, client: &Client) -> Result<String, String> {
        let mut lent = self.lent.lock().await;
        if let Some((token, until)) = &*lent
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let (token, lasts) = ask_machine(client).await?;
        *lent = Some((token.clone(), Instant::now() + lasts.saturating_sub(EARLY)));
        Ok(token)
    }
}

async fn ask_machine(client: &Client) -> Result<(String, Duration), String> {
    let host = std::env::var("GCE_METADATA_HOST").map(|host| format!("http://{host}"));
    let base = host.unwrap_or_else(|_| MACHINE.into());
    let url = Url::parse(&format!("{base}{MACHINE_TOKEN}")).map_err(|e| e.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
    // This service is on this machine: a proxy would ask its own.
    let direct = Client::new(ClientOptions { reuse: false, ..ClientOptions::default() });
    let client = if url.scheme() == "https" { client } else { &direct };
    let answer = tokio::time::timeout(MACHINE_WAIT, client.send(Method::GET, &url, headers, Bytes::new())).await;
    let answer = answer.map_err(|_| format!("{url} does not answer"))?.map_err(|e| format!("{url}: {e}"))?;
    if answer.status != StatusCode::OK {
        return Err(format!("{url} answers {}", answer.status));
    }
    let json: Json = serde_json::from_slice(&answer.body).map_err(|e| format!("{url}: {e}"))?;
    let token = json["access_token"].as_str().ok_or_else(|| format!("{url} gives no access_token"))?;
    Ok((token.to_owned(), Duration::from_secs(json["expires_in"].as_u64().unwrap_or(0))))
}

fn is_inline(key: &str) -> bool {
    key.trim_start().starts_with('{')
}

/// What the library needs of a key. Keys of users and of other providers have other members.
fn check(text: &str) -> Result<(), String> {
    let key: Json = serde_json::from_str(text).map_err(|e| format!("the key is no JSON: {e}"))?;
    let lacking = ["client_email", "private_key"].into_iter().find(|name| !key[name].is_string());
    match lacking {
        Some(name) => Err(format!("the key has no {name}: is it the key of a service account?")),
        None => Ok(()),
    }
}

fn read_json_key(key: &Secret) -> Result<String, String> {
    let text = match is_inline(key.expose()) {
        true => key.expose().to_owned(),
        false => read(Path::new(key.expose().trim()), "json_key")?,
    };
    check(&text).map_err(|why| format!("json_key: {why}"))?;
    let mut json: Json = serde_json::from_str(&text).map_err(|e| format!("json_key: {e}"))?;
    // The library can't do without it; the service can.
    if json["private_key_id"].is_null() {
        json["private_key_id"] = "".into();
    }
    Ok(json.to_string())
}

fn read(path: &Path, parameter: &str) -> Result<String, String> {
    let failed = |why: String| format!("{parameter}: {}: {why}", path.display());
    let size = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.len();
    if size > MAX_KEY_BYTES {
        return Err(failed(format!("larger than {MAX_KEY_BYTES} bytes, so no key")));
    }
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| {
        failed(
            "no text: PKCS#12 keys are not read. Convert it: \
             openssl pkcs12 -in KEY.p12 -passin pass:notasecret -nocerts -nodes -out KEY.pem"
                .into(),
        )
    })
}

/// The same as a key in JSON has it.
fn from_pem(key: &KeyParams) -> Result<String, String> {
    let text = read(&key.path, "private_key_path")?;
    let failed = |why: String| format!("private_key_path: {}: {why}", key.path.display());
    let Some(start) = text.find("-----BEGIN ") else {
        return Err(failed("no PEM, which begins with -----BEGIN PRIVATE KEY-----".into()));
    };
    let mut pem = text[start..].to_owned();
    if pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        let usual = Secret::new(USUAL_PASSPHRASE);
        let passphrase = key.passphrase.as_ref().unwrap_or(&usual);
        pem = decrypted(pem.trim(), passphrase)
            .map_err(|e| failed(format!("it can't be decrypted ({e}): is private_key_passphrase the right one?")))?;
    }
    Ok(json!({ "client_email": key.email, "private_key": pem, "private_key_id": "" }).to_string())
}

fn decrypted(pem: &str, passphrase: &Secret) -> Result<String, String> {
    let (_, document) = SecretDocument::from_pem(pem).map_err(|e| e.to_string())?;
    let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| e.to_string())?;
    let plain = info.decrypt(passphrase.expose()).map_err(|e| e.to_string())?;
    let text = plain.to_pem("PRIVATE KEY", LineEnding::LF).map_err(|e| e.to_string())?;
    Ok(text.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_that_is_none_is_named_with_its_parameter() {
        for (text, why) in [("{", "no JSON"), ("{}", "client_email"), ("{\"client_email\":\"a\"}", "private_key")] {
            let fault = Auth::json_key(Secret::new(text)).err().unwrap();
            assert!(fault.contains(why), "{fault}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let open = |auth: Auth| auth.open(&Arc::new(Client::new(ClientOptions::default()))).unwrap_err();
        let json = || Auth::json_key(Secret::new(path.display().to_string())).unwrap();
        assert!(open(json()).starts_with("json_key: "), "a file that is not there");
        std::fs::write(&path, "{\"client_email\":\"a\",\"private_key\":\"no\"}").unwrap();
        assert!(open(json()).starts_with("json_key: the key can't be used"), "a key that is no PEM");
        let pem = || Auth::private_key(KeyParams { email: "a".into(), path: path.clone(), passphrase: None });
        assert!(open(pem()).starts_with("private_key_path: "));
        std::fs::write(&path, [0x30, 0x82, 0xff, 0xfe]).unwrap();
        assert!(open(pem()).contains("openssl pkcs12"));
    }
}
