//! Parameters of the input, and what is wrong with them.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::read::StoreAs;
use crate::config::{Diagnostic, Regexp, Secret, TimeSpan};
use crate::plugin::BuildContext;

/// Time between two looks at what there is, in seconds.
const INTERVAL: f64 = 60.0;
/// How long SQS waits for a message, in seconds: fluent-plugin-s3's default, and the most that SQS takes.
const WAIT: u32 = 20;
/// Time until SQS is asked again after an error, in seconds.
const RETRY: f64 = 300.0;
/// One of the keys alone is a fault.
const HALF_A_PAIR: &str = "aws_key_id and aws_sec_key belong together; give both or none";

/// Parameters of `object`, and of `s3` with fluent-plugin-s3's names.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ObjectParams {
    /// `s3://bucket/prefix` or `file:///directory`.
    pub url: Option<String>,
    /// The bucket, in place of `url`.
    pub s3_bucket: Option<String>,
    /// Its region.
    #[serde(alias = "s3_region")]
    pub region: Option<String>,
    /// Address of a store that is compatible with S3.
    #[serde(alias = "s3_endpoint")]
    pub endpoint: Option<String>,
    /// Beginning of the names, with `s3_bucket`.
    pub prefix: String,
    /// Access key; without one the usual places are looked at.
    pub aws_key_id: Option<Secret>,
    /// Its secret.
    pub aws_sec_key: Option<Secret>,
    /// Tag of the events.
    pub tag: String,
    /// How objects are packed; else their first bytes tell.
    pub store_as: Option<StoreAs>,
    /// Only objects whose name this matches.
    pub match_regexp: Option<Regexp>,
    /// Adds the bucket and the name to each record.
    pub add_object_metadata: bool,
    /// Where it is kept which objects were taken.
    pub position_file: Option<PathBuf>,
    /// Time between two looks at what there is.
    pub interval: TimeSpan,
    /// Only objects that were written at this time or later, as RFC 3339.
    pub from: Option<String>,
    /// Only objects that were written before.
    pub to: Option<String>,
    /// Whether to end after one look.
    pub once: bool,
    /// Whether to show on standard error how far it is.
    pub progress: bool,
    /// The queue that says which objects are new, in place of listing them.
    pub sqs: Option<SqsParams>,
}

/// `<sqs>`
#[derive(Debug, Deserialize)]
pub struct SqsParams {
    /// The queue.
    pub queue_name: String,
    /// The account that it belongs to.
    pub queue_owner_aws_account_id: Option<String>,
    /// Access key; without one that of the bucket.
    pub aws_key_id: Option<Secret>,
    /// Its secret.
    pub aws_sec_key: Option<Secret>,
    /// Its region; by default that of the bucket.
    pub region: Option<String>,
    /// Address of a service that is compatible with SQS.
    pub endpoint: Option<String>,
    /// Whether messages stay in the queue.
    #[serde(default)]
    pub skip_delete: bool,
    /// How long SQS waits for a message, in seconds.
    #[serde(default = "wait")]
    pub wait_time_seconds: u32,
    /// Time until SQS is asked again after an error.
    #[serde(default = "retry")]
    pub retry_error_interval: TimeSpan,
    /// Which of two forms messages have; it is seen.
    event_bridge_mode: Option<bool>,
}

fn wait() -> u32 {
    WAIT
}

fn retry() -> TimeSpan {
    TimeSpan::secs(RETRY)
}

impl SqsParams {
    /// What contradicts itself.
    fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        let section = cx.section.child("sqs").unwrap_or(cx.section);
        let fault = |name: &str, why: String| Err(Diagnostic::error(why, section.span_of(name)));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.queue_name.is_empty() || !self.queue_name.chars().all(plain) {
            let why = format!("{:?} is no name of a queue; write the name alone, without its address", self.queue_name);
            return fault("queue_name", why);
        }
        if self.aws_key_id.is_some() != self.aws_sec_key.is_some() {
            return fault("aws_key_id", HALF_A_PAIR.into());
        }
        if self.wait_time_seconds > WAIT {
            return fault(
                "wait_time_seconds",
                format!("wait_time_seconds must be {WAIT} or less, SQS waits no longer"),
            );
        }
        if self.retry_error_interval.duration().is_zero() {
            return fault("retry_error_interval", "retry_error_interval must be more than 0".into());
        }
        if let Some(Err(e)) = self.endpoint.as_deref().map(Url::parse) {
            return fault("endpoint", format!("it is no address: {e}"));
        }
        if self.event_bridge_mode.is_some() {
            cx.warn(
                "sqs",
                "event_bridge_mode of <sqs> has no effect here: it is seen which form a message has; take it out",
            );
        }
        Ok(())
    }
}

impl Default for ObjectParams {
    fn default() -> ObjectParams {
        ObjectParams {
            url: None,
            s3_bucket: None,
            region: None,
            endpoint: None,
            prefix: String::new(),
            aws_key_id: None,
            aws_sec_key: None,
            tag: "input.s3".into(),
            store_as: None,
            match_regexp: None,
            add_object_metadata: false,
            position_file: None,
            interval: TimeSpan::secs(INTERVAL),
            from: None,
            to: None,
            once: false,
            progress: false,
            sqs: None,
        }
    }
}

/// What the parameters name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory.
    Files(PathBuf),
    /// A bucket and the beginning of names.
    S3 {
        /// The bucket.
        bucket: String,
        /// Beginning of the names.
        prefix: String,
    },
}

impl ObjectParams {
    /// Where the objects are.
    pub fn target(&self, cx: &BuildContext<'_>) -> Result<Target, Diagnostic> {
        match (&self.url, &self.s3_bucket) {
            (Some(_), Some(_)) => Err(cx.fault("url", "url and s3_bucket name the same thing; give one of them")),
            (None, None) => {
                Err(cx.fault("url", "'url' parameter is required: s3://bucket/prefix or file:///directory"))
            }
            (None, Some(bucket)) => Ok(Target::S3 { bucket: bucket.clone(), prefix: self.prefix.clone() }),
            (Some(text), None) => target(text).map_err(|why| cx.fault("url", why)),
        }
    }

    /// A moment, in seconds since the epoch.
    pub fn moment(&self, name: &str, text: &Option<String>, cx: &BuildContext<'_>) -> Result<Option<i64>, Diagnostic> {
        let Some(text) = text else { return Ok(None) };
        let time = text.parse::<jiff::Timestamp>();
        let time = time.map_err(|e| cx.fault(name, format!("{text:?} is no time: {e}; write 2026-05-06T07:00:00Z")))?;
        Ok(Some(time.as_second()))
    }

    /// What contradicts itself.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.aws_key_id.is_some() != self.aws_sec_key.is_some() {
            return Err(cx.fault("aws_key_id", HALF_A_PAIR));
        }
        if let Some(sqs) = &self.sqs {
            sqs.check(cx)?;
            return self.check_followed(cx);
        }
        if self.position_file.is_none() && !self.once {
            let why = "'position_file' parameter is required: without it every start takes everything again";
            return Err(cx.fault("position_file", why));
        }
        if self.interval.duration().is_zero() {
            return Err(cx.fault("interval", "interval must be more than 0"));
        }
        Ok(())
    }

    /// What does not go with a queue.
    fn check_followed(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if !matches!(self.target(cx)?, Target::S3 { .. }) {
            return Err(cx.fault("sqs", "messages of a queue are about a bucket: write s3_bucket, or url s3://bucket"));
        }
        if self.once {
            let why = "once ends after one look at what there is, and a queue has no end; take once or <sqs> out";
            return Err(cx.fault("once", why));
        }
        for name in ["interval", "progress"] {
            cx.without_effect(name, "<sqs> says which objects are new, nothing is listed; take it out");
        }
        Ok(())
    }
}

fn target(text: &str) -> Result<Target, String> {
    let known = "write s3://bucket/prefix or file:///directory";
    let url = Url::parse(text).map_err(|e| format!("{text:?} is no URL ({e}): {known}"))?;
    match (url.scheme(), url.host_str()) {
        ("file", None) => {
            url.to_file_path().map(Target::Files).map_err(|()| format!("{text:?} names no file of this host: {known}"))
        }
        ("s3", Some(bucket)) => {
            let prefix = url.path().trim_start_matches('/').to_owned();
            Ok(Target::S3 { bucket: bucket.to_owned(), prefix })
        }
        _ => Err(format!("objects can't be read from {text:?}: {known}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_place() {
        assert_eq!(target("file:///srv/x"), Ok(Target::Files("/srv/x".into())));
        let s3 = |bucket: &str, prefix: &str| Ok(Target::S3 { bucket: bucket.into(), prefix: prefix.into() });
        assert_eq!(target("s3://logs/a/b"), s3("logs", "a/b"));
        assert_eq!(target("s3://logs"), s3("logs", ""));
        for bad in ["gs://x", "logs", "file://host/x"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
