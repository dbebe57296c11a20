//! Credentials from files, commands and services that answer as Amazon's do.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use super::*;
use crate::net::http::ClientOptions;

/// What a lent key looks like in JSON.
fn printed(key: &str, ends: &str) -> String {
    format!(
        "{{\"Version\":1,\"AccessKeyId\":\"{key}\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"{ends}\"}}"
    )
}

const STS_ANSWER: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
    <SecretAccessKey>s&amp;</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration>\
    </Credentials></AssumeRoleResult></AssumeRoleResponse>";

/// A server with fixed answers in turn; gives the requests, whole.
async fn service(answers: Vec<String>) -> (Url, Arc<Mutex<Vec<String>>>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = seen.clone();
    let serving = tokio::spawn(async move {
        for answer in answers {
            let mut tcp = listener.accept().await.unwrap().0;
            let mut got = Vec::new();
            while !is_whole(&got) && tcp.read_buf(&mut got).await.unwrap() > 0 {}
            requests.lock().unwrap().push(String::from_utf8(got).unwrap());
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", answer.len());
            tcp.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
        }
    });
    (url, seen, serving)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    request.len() >= head.len() + 4 + length
}

fn client() -> Client {
    Client::new(ClientOptions { reuse: false, ..ClientOptions::default() })
}

fn role() -> Role {
    Role { arn: "arn:aws:iam::1:role/x".into(), session: "s".into(), duration: Some(900), ..Role::default() }
}

#[tokio::test]
async fn a_profile_may_hold_keys_or_a_command() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("credentials");
    let command = format!("credential_process = echo '{}'", printed("FROM", "2100-01-01T00:00:00Z"));
    let text = format!(
        "[default]\naws_access_key_id=A\naws_secret_access_key = b=c\n# x\n[work]\naws_access_key_id = W\n\
         aws_secret_access_key = w\naws_session_token = t\n[ran]\n{command}\n[empty]\n[sign]\nsso_session = x\n"
    );
    std::fs::write(&path, text).unwrap();
    let ask = |name: &'static str| {
        let source = Source::Profile { path: Some(path.clone()), name: Some(name.into()) };
        async move { Keychain::new(source, "us-east-1").credentials(&client()).await }
    };
    let keys = ask("default").await.unwrap();
    assert_eq!((keys.access_key.as_str(), keys.secret_key.expose()), ("A", "b=c"));
    assert_eq!(ask("work").await.unwrap().session_token.unwrap().expose(), "t");
    assert_eq!(ask("ran").await.unwrap().access_key, "FROM");
    assert!(ask("none").await.unwrap_err().contains("no profile \"none\""));
    assert!(ask("empty").await.unwrap_err().contains("aws_access_key_id"));
    assert!(ask("sign").await.unwrap_err().contains("credential_process"));
    let missing = Source::Profile { path: Some("/nowhere/at/all".into()), name: None };
    assert!(Keychain::new(missing, "r").credentials(&client()).await.unwrap_err().contains("/nowhere/at/all"));
}

#[tokio::test]
async fn a_command_that_fails_or_prints_nothing_is_a_fault_without_what_it_printed() {
    for command in ["exit 3", "echo canary", "echo '{\"AccessKeyId\":\"canary\"}'"] {
        let why = Keychain::new(Source::Process(command.into()), "r").credentials(&client()).await.unwrap_err();
        assert!(!why.contains("canary"), "{why}");
    }
}

#[tokio::test]
async fn a_role_is_taken_with_signed_keys_and_kept_until_it_ends() {
    let (url, seen, serving) = service(vec![STS_ANSWER.into()]).await;
    let base = AwsCredentials { access_key: "AKIA".into(), secret_key: Secret::new("s"), session_token: None };
    let sts = Sts { endpoint: Some(url), ..Sts::default() };
    let role = Role { external_id: Some(Secret::new("e x")), ..role() };
    let keychain = Keychain::new(Source::AssumeRole(Box::new((sts, role, Source::Static(base)))), "eu-west-1");
    let client = client();
    let lent = keychain.credentials(&client).await.unwrap();
    assert_eq!((lent.access_key.as_str(), lent.secret_key.expose()), ("ASIA", "s&"));
    // The second time nobody is asked: the service answers once only.
    assert_eq!(keychain.credentials(&client).await.unwrap().access_key, "ASIA");
    serving.await.unwrap();
    let request = seen.lock().unwrap()[0].clone();
    assert!(request.contains("Credential=AKIA/") && request.contains("/eu-west-1/sts/aws4_request"), "{request}");
    let form = "Action=AssumeRole&Version=2011%2D06%2D15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&RoleSessionName=s&\
                DurationSeconds=900&ExternalId=e%20x";
    assert!(request.ends_with(form), "{request}");
}

#[tokio::test]
async fn a_web_identity_needs_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "ey.J\n").unwrap();
    let (url, seen, serving) = service(vec![STS_ANSWER.into()]).await;
    let sts = Sts { endpoint: Some(url), ..Sts::default() };
    let source = Source::WebIdentity(Box::new((sts, role(), token)));
    assert_eq!(Keychain::new(source, "r").credentials(&client()).await.unwrap().access_key, "ASIA");
    serving.await.unwrap();
    let request = seen.lock().unwrap()[0].clone();
    assert!(request.contains("WebIdentityToken=ey%2EJ") && !request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn an_instance_is_asked_with_a_session_and_again_before_the_end() {
    let soon = jiff::Timestamp::from_second(EventTime::now().secs() + 1).unwrap().to_string();
    let once = |ends: &str| vec!["session".to_owned(), "my-role\n".to_owned(), printed("AK", ends)];
    let (url, seen, serving) = service([once(&soon), once("2100-01-01T00:00:00Z")].concat()).await;
    let metadata = Metadata { endpoint: Some(url), retries: 0, ..Metadata::default() };
    let keychain = Keychain::new(Source::Instance(metadata), "r");
    let client = client();
    let lent = keychain.credentials(&client).await.unwrap();
    assert_eq!(lent.session_token.unwrap().expose(), "t");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    keychain.credentials(&client).await.unwrap();
    serving.await.unwrap();
    let seen = seen.lock().unwrap().clone();
    assert!(seen[0].starts_with("PUT /latest/api/token ") && seen[0].contains("ttl-seconds: 21600"), "{}", seen[0]);
    assert!(seen[1].contains("x-aws-ec2-metadata-token: session"), "{}", seen[1]);
    assert!(seen[2].starts_with("GET /latest/meta-data/iam/security-credentials/my-role "), "{}", seen[2]);
    assert_eq!(seen.len(), 6);
}

#[test]
fn sections_of_the_files_are_told_apart() {
    let text = "[profile a]\nregion = x\nnested =\n  region = y\n[a]\nk=v\n";
    let values = profile::section(text, "profile a").unwrap();
    assert_eq!(values.get("region").map(String::as_str), Some("x"));
    assert_eq!(profile::section(text, "a").unwrap().len(), 1);
    assert!(profile::section(text, "b").is_none());
    assert!(sts::credentials_of("<x/>").unwrap_err().contains("AccessKeyId"));
}
