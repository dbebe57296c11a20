//! A queue of SQS, by its JSON protocol (version 1.0 of "AWS JSON", "Making API requests using AWS JSON protocol" in the Amazon SQS
//! Developer Guide). What is transient is asked once more here; the rest is up to the caller.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::event::EventTime;
use crate::net::aws::Keychain;
use crate::net::http::{Answer, AwsScope, Client};

/// Messages that are received at once: the most that SQS gives.
const MESSAGES: usize = 10;
/// Largest answer of SQS, in bytes: so many messages of 1 MiB, whose text JSON makes twice or three times as long.
pub const LARGEST_ANSWER: usize = 32 << 20;
/// Attempts for one request, and the pause before the second, which doubles.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(500);
/// How long a queue hides a received message where it does not say so: SQS's own default.
const HIDDEN: Duration = Duration::from_secs(30);
/// Longest time that a message can be hidden for: SQS's limit.
const LONGEST_HIDDEN: Duration = Duration::from_secs(12 * 3600);

/// Where a queue is, and who asks.
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The account that it belongs to, where that is another one.
    pub owner: Option<String>,
    /// Address of the service.
    pub url: Url,
    /// How long SQS waits for a message, in seconds.
    pub wait: u32,
    /// Sends requests; takes answers of [`LARGEST_ANSWER`].
    pub client: Client,
    /// Who signs them.
    pub keychain: Keychain,
    /// What the signature is for.
    pub scope: AwsScope,
}

/// A queue that has answered.
pub struct Reached<'q> {
    queue: &'q Queue,
    /// What SQS knows it by.
    url: String,
    /// How long a received message is hidden from everyone else.
    pub hidden: Duration,
}

/// A message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Its name in logs.
    #[serde(rename = "MessageId", default)]
    pub id: String,
    /// What this reception of it is known by.
    pub receipt_handle: String,
    /// What it says.
    #[serde(default)]
    pub body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Address {
    queue_url: String,
}

#[derive(Deserialize)]
struct Received {
    #[serde(rename = "Messages", default)]
    messages: Vec<Message>,
}

/// What SQS says of a request that it does not obey.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    #[serde(rename = "__type")]
    kind: String,
    message: String,
}

impl Refusal {
    fn of(answer: &Answer) -> Refusal {
        let mut refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
        refusal.kind = match refusal.kind.rsplit('#').next() {
            Some("") | None => answer.status.to_string(),
            Some(code) => code.to_owned(),
        };
        refusal
    }

    fn help(&self, status: u16) -> &'static str {
        match self.kind.as_str() {
            "QueueDoesNotExist" => ". What helps: look at queue_name, region and queue_owner_aws_account_id",
            kind if status == 403 || kind.contains("AccessDenied") => {
                ". What helps: look at the credentials; they need sqs:GetQueueUrl, sqs:GetQueueAttributes, sqs:ReceiveMessage, \
                 sqs:DeleteMessage and sqs:ChangeMessageVisibility"
            }
            _ => "",
        }
    }
}

/// Whether the same request may well be answered in a moment.
fn is_passing(answer: &Answer) -> bool {
    let status = answer.status;
    status.is_server_error() || status.as_u16() == 429 || Refusal::of(answer).kind.contains("Throttl")
}

impl Queue {
    /// Asks for the queue, and for how long it hides messages.
    ///
    /// Errors: for the operator.
    pub async fn reach(&self) -> Result<Reached<'_>, String> {
        let mut what = json!({ "QueueName": self.name });
        if let Some(owner) = &self.owner {
            what["QueueOwnerAWSAccountId"] = json!(owner);
        }
        let answer = self.ask("GetQueueUrl", &what).await?;
        let address: Address = self.read(&answer)?;
        let mut reached = Reached { queue: self, url: address.queue_url, hidden: HIDDEN };
        match reached.ask_hidden().await {
            Ok(hidden) => reached.hidden = hidden,
            // That right is the only one that is not needed.
            Err(why) => tracing::debug!("{why}; messages are taken to be hidden for {HIDDEN:?}"),
        }
        Ok(reached)
    }

    fn read<'a, T: Deserialize<'a>>(&self, answer: &'a [u8]) -> Result<T, String> {
        serde_json::from_slice(answer).map_err(|e| format!("queue {}: an answer that is none of SQS ({e})", self.name))
    }

    async fn ask(&self, action: &'static str, what: &Value) -> Result<Bytes, String> {
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE * (1 << (attempt - 1))).await;
            }
            match self.ask_once(action, what).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer.body),
                Ok(answer) if !is_passing(&answer) => {
                    // Keys that were lent may have been taken back.
                    self.keychain.forget().await;
                    return Err(self.refusal(action, &answer));
                }
                Ok(answer) => why = self.refusal(action, &answer),
                Err(e) => why = format!("queue {}: {action}: {e}", self.name),
            }
        }
        Err(why)
    }

    async fn ask_once(&self, action: &'static str, what: &Value) -> Result<Answer, String> {
        let credentials = self.keychain.credentials(&self.client).await?;
        let body = Bytes::from(what.to_string());
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.0"));
        let target = HeaderValue::try_from(format!("AmazonSQS.{action}")).map_err(|e| e.to_string())?;
        headers.insert(HeaderName::from_static("x-amz-target"), target);
        let signed = self.scope.sign(&credentials, "POST", &self.url, &mut headers, &body, EventTime::now());
        signed.map_err(|e| e.to_string())?;
        self.client.send(Method::POST, &self.url, headers, body).await.map_err(|e| e.to_string())
    }

    fn refusal(&self, action: &str, answer: &Answer) -> String {
        let refusal = Refusal::of(answer);
        let help = refusal.help(answer.status.as_u16());
        format!("queue {}: {action}: {} {}{help}", self.name, refusal.kind, refusal.message)
    }
}

impl Reached<'_> {
    async fn ask_hidden(&self) -> Result<Duration, String> {
        let what = json!({ "QueueUrl": self.url, "AttributeNames": ["VisibilityTimeout"] });
        let answer = self.queue.ask("GetQueueAttributes", &what).await?;
        let said: Value = self.queue.read(&answer)?;
        let seconds = said["Attributes"]["VisibilityTimeout"].as_str().and_then(|text| text.parse().ok());
        let hidden = seconds.map_or(HIDDEN, Duration::from_secs);
        Ok(if hidden.is_zero() { HIDDEN } else { hidden })
    }

    /// Waits for messages; gives none where none came in time.
    ///
    /// Errors: for the operator.
    pub async fn receive(&self) -> Result<Vec<Message>, String> {
        let what = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": MESSAGES, "WaitTimeSeconds": self.queue.wait });
        let answer = self.queue.ask("ReceiveMessage", &what).await?;
        let received: Received = self.queue.read(&answer)?;
        Ok(received.messages)
    }

    /// Deletes a message, for good.
    ///
    /// Errors: for the operator; the message comes again.
    pub async fn delete(&self, handle: &str) -> Result<(), String> {
        let what = json!({ "QueueUrl": self.url, "ReceiptHandle": handle });
        self.queue.ask("DeleteMessage", &what).await.map(drop)
    }

    /// Hides messages, at most so many as are received at once, for a time from now.
    ///
    /// Errors: for the operator. A single message that can't be hidden, because it is gone, is no error.
    pub async fn hide(&self, handles: &[String], time: Duration) -> Result<(), String> {
        let seconds = time.min(LONGEST_HIDDEN).as_secs().max(1);
        let entry = |(n, handle): (usize, &String)| json!({ "Id": n.to_string(), "ReceiptHandle": handle, "VisibilityTimeout": seconds });
        let entries: Vec<Value> = handles.iter().enumerate().map(entry).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let what = json!({ "QueueUrl": self.url, "Entries": entries });
        let answer = self.queue.ask("ChangeMessageVisibilityBatch", &what).await?;
        let said: Value = self.queue.read(&answer)?;
        if let Some(failed) = said["Failed"].as_array().filter(|failed| !failed.is_empty()) {
            tracing::debug!("queue {}: not hidden: {failed:?}", self.queue.name);
        }
        Ok(())
    }
}
