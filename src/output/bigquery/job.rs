//! A load job as the service has it: its name, what it is told, and what its end means.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::api::TableName;
use super::encode::Segment;
use crate::buffer::ChunkId;
use crate::event::hex;

/// How rows are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Json,
    /// Comma-separated values.
    Csv,
}

impl Format {
    fn word(self) -> &'static str {
        match self {
            Format::Json => "NEWLINE_DELIMITED_JSON",
            Format::Csv => "CSV",
        }
    }
}

/// What decides a job's name, and nothing else does.
#[derive(Clone, Copy, Debug)]
pub struct JobKey<'a> {
    /// The chunk.
    pub chunk: ChunkId,
    /// The table.
    pub table: &'a TableName,
    /// How often the chunk was asked to be loaded anew.
    pub generation: u32,
    /// Which of its events.
    pub segment: Segment,
    /// Attempts before this one, all of which failed.
    pub attempt: u32,
}

impl JobKey<'_> {
    /// The name.
    pub fn id(&self) -> String {
        let Segment { from, to } = self.segment;
        let digest = Sha256::new()
            .chain_update(self.chunk.0)
            .chain_update(self.table.to_string())
            .chain_update(format!("/{}/{from}-{to}/{}", self.generation, self.attempt))
            .finalize();
        format!("suiro_{}", hex(&digest[..20]))
    }
}

/// What a job is told besides its rows.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// How rows are sent.
    pub format: Format,
    /// Whether fields without a column are left out.
    pub ignore_unknown_values: bool,
    /// Bad rows that the service leaves out by itself.
    pub max_bad_records: u32,
    /// Where it runs.
    pub location: Option<String>,
}

impl JobSettings {
    /// The body of `jobs.insert`.
    pub fn body(&self, id: &str, table: &TableName) -> Json {
        let mut reference = json!({ "projectId": table.project, "jobId": id });
        if let Some(location) = &self.location {
            reference["location"] = location.as_str().into();
        }
        json!({
            "jobReference": reference,
            "configuration": { "load": {
                "destinationTable": {
                    "projectId": table.project, "datasetId": table.dataset, "tableId": table.table,
                },
                "sourceFormat": self.format.word(),
                "writeDisposition": "WRITE_APPEND",
                "createDisposition": "CREATE_NEVER",
                "ignoreUnknownValues": self.ignore_unknown_values,
                "maxBadRecords": self.max_bad_records,
            } },
        })
    }
}

/// What the failure of a job means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The same may go through later.
    Passing,
    /// Some of its rows are bad.
    Rows,
    /// It will never go through.
    Fatal,
}

/// What a job's end came to.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// The service's word for the reason; none where it went through.
    pub reason: Option<String>,
    /// Its status, as it came.
    pub answer: String,
    /// Bad rows: where their text begins, where the service says that, and what it says.
    pub errors: Vec<(Option<u64>, String)>,
    /// Bad rows that it left out.
    pub bad_records: u64,
}

impl End {
    /// Reads the end of a job; none while it runs.
    pub fn of(job: &Json) -> Option<End> {
        let status = &job["status"];
        if status["state"].as_str() != Some("DONE") {
            return None;
        }
        let errors = status["errors"].as_array().into_iter().flatten();
        // The first is what the job failed of, without a word on a row.
        let errors = errors.map(|error| (offset(error["message"].as_str().unwrap_or_default()), error.to_string()));
        let reason = status["errorResult"]
            .as_object()
            .map(|error| error.get("reason").and_then(Json::as_str).unwrap_or_default().to_owned());
        let bad = &job["statistics"]["load"]["badRecords"];
        let bad_records = bad.as_u64().or_else(|| bad.as_str()?.parse().ok()).unwrap_or(0);
        Some(End { reason, answer: status.to_string(), errors: errors.collect(), bad_records })
    }
}

/// What a failed job with this reason and this answer calls for.
pub fn failure(reason: &str, answer: &str) -> Failure {
    let answer = answer.to_ascii_lowercase();
    let about_rows = ["reading data", "parsing", "too many errors", "no such field", "row"];
    match reason {
        "invalid" if about_rows.iter().any(|word| answer.contains(word)) => Failure::Rows,
        "invalid" | "invalidQuery" | "notImplemented" | "responseTooLarge" => Failure::Fatal,
        _ => Failure::Passing,
    }
}

/// Where a bad row begins, in bytes of the unpacked text: `... in row starting at position 42 ...`.
fn offset(message: &str) -> Option<u64> {
    let at = ["at position ", "at location ", "at: "].iter().find_map(|words| {
        let at = message.find(words)?;
        Some(at + words.len())
    })?;
    let digits: String = message[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_follows_from_what_is_loaded_and_from_nothing_else() {
        let table = TableName { project: "p".into(), dataset: "d".into(), table: "t".into() };
        let segment = Segment { from: 0, to: 9 };
        let key = JobKey { chunk: ChunkId([7; 16]), table: &table, generation: 0, segment, attempt: 0 };
        assert_eq!(key.id(), JobKey { ..key }.id());
        assert!(key.id().len() == 46 && key.id().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
        let other = TableName { table: "t2".into(), ..table.clone() };
        let others = [
            JobKey { attempt: 1, ..key },
            JobKey { generation: 1, ..key },
            JobKey { segment: Segment { from: 1, to: 9 }, ..key },
            JobKey { chunk: ChunkId([8; 16]), ..key },
            JobKey { table: &other, ..key },
        ];
        for one in others {
            assert_ne!(one.id(), key.id());
        }
    }

    #[test]
    fn the_end_of_a_job_is_read_with_its_rows() {
        let running = json!({"status": {"state": "RUNNING"}});
        assert!(End::of(&running).is_none());
        let message = "Error while reading data, error message: JSON parsing error in row starting at position 42: x";
        let status = json!({"state": "DONE", "errorResult": {"reason": "invalid"}, "errors": [{"message": message}]});
        let failed = End::of(&json!({ "status": status })).unwrap_or_default();
        assert_eq!(failed.errors[0].0, Some(42));
        assert_eq!(failure(failed.reason.as_deref().unwrap_or_default(), &failed.answer), Failure::Rows);
        assert_eq!(failure("invalid", "Provided Schema does not match Table"), Failure::Fatal);
        for passing in ["backendError", "quotaExceeded", "accessDenied", "notFound", "stopped"] {
            assert_eq!(failure(passing, ""), Failure::Passing);
        }
    }
}
