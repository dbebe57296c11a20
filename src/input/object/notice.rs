//! What a message of a queue says: S3's own event notification, the same in SNS's envelope, or EventBridge's event ("Event message
//! structure" and "EventBridge event message structure" in the Amazon S3 User Guide).

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// An object that a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its bucket.
    pub bucket: String,
    /// What its name may be, the likelier first: not everyone that sends notifications encodes names as S3 does.
    pub names: Vec<String>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
    #[serde(rename = "detail-type", default)]
    detail_type: String,
    detail: Option<About>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName", default)]
    event: String,
    s3: About,
}

#[derive(Deserialize)]
struct About {
    bucket: BucketName,
    object: ObjectName,
}

#[derive(Deserialize)]
struct BucketName {
    name: String,
}

#[derive(Deserialize)]
struct ObjectName {
    key: String,
}

/// The objects that a message names; none where there is nothing to read, as in S3's test of a queue or when objects were removed.
///
/// Errors: why the message is no notification.
pub fn read(text: &str) -> Result<Vec<Named>, String> {
    let body = parsed(text)?;
    let body = match body.message {
        Some(inner) => parsed(&inner)?,
        None => body,
    };
    if let Some(records) = body.records {
        let there = records.into_iter().filter(|record| !is_removal(&record.event));
        return there.map(|record| record.s3.encoded()).collect();
    }
    match body.detail {
        Some(_) if body.detail_type == "Object Deleted" => Ok(Vec::new()),
        Some(about) => about.plain().map(|named| vec![named]),
        None if body.event.as_deref() == Some("s3:TestEvent") => Ok(Vec::new()),
        None => Err("it has neither Records nor detail".into()),
    }
}

fn parsed(text: &str) -> Result<Body, String> {
    serde_json::from_str(text).map_err(|e| e.to_string())
}

/// Whether an object is gone by what happened.
fn is_removal(event: &str) -> bool {
    let event = event.strip_prefix("s3:").unwrap_or(event);
    ["ObjectRemoved:", "LifecycleExpiration:"].iter().any(|kind| event.starts_with(kind))
}

impl About {
    /// S3 encodes names as forms do.
    fn encoded(self) -> Result<Named, String> {
        let key = self.object.key;
        self.bucket.named([decoded(&key), Some(key)])
    }

    /// EventBridge is given names as they are; some senders encode them there too.
    fn plain(self) -> Result<Named, String> {
        let key = self.object.key;
        let other = decoded(&key);
        self.bucket.named([Some(key), other])
    }
}

impl BucketName {
    fn named(self, names: [Option<String>; 2]) -> Result<Named, String> {
        let mut names: Vec<String> = names.into_iter().flatten().filter(|name| !name.is_empty()).collect();
        names.dedup();
        match names.is_empty() {
            true => Err("it names no object".into()),
            false => Ok(Named { bucket: self.name, names }),
        }
    }
}

/// The name that `a+b%2Bc` stands for; none where that is no text.
fn decoded(key: &str) -> Option<String> {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|name| name.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(event: &str, key: &str) -> String {
        format!(
            "{{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\",\"eventName\":\"{event}\",\"s3\":{{\"bucket\":{{\"name\":\"logs\",\
             \"arn\":\"arn:aws:s3:::logs\"}},\"object\":{{\"key\":\"{key}\",\"size\":3,\"eTag\":\"e\",\"sequencer\":\"0A\"}}}}}}"
        )
    }

    fn named(names: &[&str]) -> Named {
        Named { bucket: "logs".into(), names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn a_notification_names_its_objects_and_their_names_are_decoded() {
        let records = [
            record("ObjectCreated:Put", "a/plain.gz"),
            record("ObjectCreated:Copy", "a+b%2Bc%2F%C3%A9"),
            record("ObjectRemoved:Delete", "gone"),
            record("s3:LifecycleExpiration:Delete", "gone"),
        ];
        let text = format!("{{\"Records\":[{}]}}", records.join(","));
        assert_eq!(read(&text).unwrap(), [named(&["a/plain.gz"]), named(&["a b+c/é", "a+b%2Bc%2F%C3%A9"])]);
        // What is not encoded at all has one name.
        let text = format!("{{\"Records\":[{}]}}", record("ObjectCreated:Put", "100%ff"));
        assert_eq!(read(&text).unwrap(), [named(&["100%ff"])]);
    }

    #[test]
    fn an_envelope_is_opened_once() {
        let inner = format!("{{\"Records\":[{}]}}", record("ObjectCreated:Put", "x"));
        let envelope = |inner: &str| serde_json::json!({ "Type": "Notification", "TopicArn": "t", "Message": inner });
        assert_eq!(read(&envelope(&inner).to_string()).unwrap(), [named(&["x"])]);
        let twice = envelope(&envelope(&inner).to_string()).to_string();
        assert!(read(&twice).is_err());
    }

    #[test]
    fn an_event_of_event_bridge_names_one_object_as_it_is() {
        let event = |kind: &str| {
            format!(
                "{{\"version\":\"0\",\"source\":\"aws.s3\",\"detail-type\":\"{kind}\",\"detail\":{{\"version\":\"0\",\
                 \"bucket\":{{\"name\":\"logs\"}},\"object\":{{\"key\":\"a+b\",\"size\":5}},\"reason\":\"PutObject\"}}}}"
            )
        };
        assert_eq!(read(&event("Object Created")).unwrap(), [named(&["a+b", "a b"])]);
        assert_eq!(read(&event("Object Deleted")).unwrap(), []);
    }

    #[test]
    fn a_test_of_the_queue_names_nothing() {
        let text = "{\"Service\":\"Amazon S3\",\"Event\":\"s3:TestEvent\",\"Time\":\"2014-10-13T15:57:02.089Z\",\"Bucket\":\"logs\",\
                    \"RequestId\":\"5582815E1AEA5ADF\",\"HostId\":\"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR\"}";
        assert_eq!(read(text).unwrap(), []);
    }

    #[test]
    fn anything_else_is_no_notification() {
        let unnamed = record("ObjectCreated:Put", "");
        for bad in [
            "",
            "no JSON",
            "[]",
            "null",
            "{}",
            "{\"Records\":{}}",
            "{\"Records\":[{\"ses\":{}}]}",
            "{\"detail\":{\"bucket\":{\"name\":\"b\"}}}",
            "{\"Event\":\"s3:Other\"}",
            "{\"Message\":\"hello\"}",
            &format!("{{\"Records\":[{unnamed}]}}"),
            &"[".repeat(100_000),
        ] {
            assert!(read(bad).is_err(), "{bad:.40}");
        }
    }
}
