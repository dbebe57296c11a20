//! What an answer means: for one document of a bulk request, and for a request as a whole. Pure functions; `docs/targets.md`
//! shows what comes of them as a table.
//!
//! Statuses and error types are those of Elasticsearch 7 to 9 and OpenSearch 1 to 3.

use hyper::StatusCode;
use serde::Deserialize;

/// What is done with each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Written, in place of a document of the same id.
    Index,
    /// Written where the id is free.
    Create,
    /// Fields of a document that is there.
    Update,
    /// As `update`; a document that is not there is made.
    Upsert,
}

impl Operation {
    /// The action's name in a bulk request.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Index => "index",
            Operation::Create => "create",
            Operation::Update | Operation::Upsert => "update",
        }
    }
}

/// What becomes of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Taken,
    /// A document of its id was there already: it was sent before, and the answer was lost.
    Known,
    /// It may be taken later; what helps where somebody has to do something.
    Later(Option<&'static str>),
    /// It never will be.
    Refused,
}

/// What the operator says about types of errors.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Types after which a document is refused, where it would be sent again.
    pub unrecoverable: Vec<String>,
}

/// Errors that go away when somebody acts, and what helps.
const SETUP: &[(&str, &str)] = &[
    ("index_not_found_exception", "create the index, or allow it in action.auto_create_index"),
    ("cluster_block_exception", "free disk space or lift the index's block (index.blocks.*)"),
    ("security_exception", "give this user the privileges create_index and write on the index"),
    ("index_closed_exception", "open the index"),
];

/// What a target says where it may open no more shards: status 400, and yet no fault of the document.
const FULL_OF_SHARDS: &str = "maximum";
/// What helps there.
const MORE_SHARDS: &str = "delete old indices, or raise cluster.max_shards_per_node";

impl Rules {
    /// What becomes of a document with this status and error.
    pub fn item(&self, operation: Operation, status: u16, kind: &str, reason: &str) -> Fate {
        let listed = self.unrecoverable.iter().any(|unrecoverable| unrecoverable == kind);
        let help = SETUP.iter().find(|(known, _)| *known == kind).map(|(_, help)| *help);
        match status {
            200..=299 => Fate::Taken,
            409 if operation == Operation::Create => Fate::Known,
            _ if listed => Fate::Refused,
            400 if kind == "validation_exception" && is_full(reason) => Fate::Later(Some(MORE_SHARDS)),
            404 if help.is_none() => Fate::Refused,
            401 | 403 | 404 => Fate::Later(help),
            400..=499 if help.is_some() => Fate::Later(help),
            408 | 409 | 429 => Fate::Later(None),
            400..=499 => Fate::Refused,
            _ => Fate::Later(help),
        }
    }
}

fn is_full(reason: &str) -> bool {
    reason.contains(FULL_OF_SHARDS) && reason.contains("shards")
}

/// What an answer means for its request as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// Each document has an answer of its own.
    Items,
    /// The request is too large: its halves are sent.
    TooLarge,
    /// One of the documents spoils it for all: its halves are sent, until that one is alone.
    Spoiled,
    /// The target has too much to do: later, and less at once.
    Busy,
    /// This host can't; another may.
    Elsewhere,
    /// Somebody has to change something; what.
    Setup(&'static str),
}

/// What a status means for a bulk request.
pub fn whole(status: StatusCode) -> Whole {
    match status.as_u16() {
        200..=299 => Whole::Items,
        413 => Whole::TooLarge,
        400 | 422 => Whole::Spoiled,
        429 => Whole::Busy,
        401 => Whole::Setup("look at user and password, or api_key"),
        403 => Whole::Setup("give this user the cluster privilege to write in bulk, or look at <endpoint>"),
        404 | 405 => Whole::Setup("look at host, port and path: no bulk interface is there"),
        300..=399 => Whole::Setup("look at scheme, host and path: the target sends elsewhere"),
        406 | 415 => Whole::Setup("the target does not take newline-delimited JSON; look at path and custom_headers"),
        503 => Whole::Busy,
        _ => Whole::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_judged_by_its_own_answer() {
        let rules = Rules { unrecoverable: vec!["out_of_memory_error".into()] };
        let of = |operation, status, kind: &str| rules.item(operation, status, kind, "");
        assert_eq!(of(Operation::Create, 201, ""), Fate::Taken);
        assert_eq!(of(Operation::Create, 409, "version_conflict_engine_exception"), Fate::Known);
        assert_eq!(of(Operation::Update, 409, "version_conflict_engine_exception"), Fate::Later(None));
        assert_eq!(of(Operation::Create, 400, "mapper_parsing_exception"), Fate::Refused);
        assert_eq!(of(Operation::Update, 404, "document_missing_exception"), Fate::Refused);
        assert!(matches!(of(Operation::Create, 404, "index_not_found_exception"), Fate::Later(Some(_))));
        assert!(matches!(of(Operation::Create, 403, "cluster_block_exception"), Fate::Later(Some(_))));
        assert_eq!(of(Operation::Create, 429, "es_rejected_execution_exception"), Fate::Later(None));
        assert_eq!(of(Operation::Create, 500, "out_of_memory_error"), Fate::Refused);
        assert_eq!(of(Operation::Create, 500, "other"), Fate::Later(None));
    }

    #[test]
    fn no_room_for_shards_is_no_fault_of_a_document() {
        let full = "Validation Failed: 1: this action would add [2] total shards, but this cluster currently has \
                    [1000]/[1000] maximum shards open;";
        let fate = Rules::default().item(Operation::Create, 400, "validation_exception", full);
        assert_eq!(fate, Fate::Later(Some(MORE_SHARDS)));
        assert_eq!(Rules::default().item(Operation::Create, 400, "validation_exception", "other"), Fate::Refused);
    }
}
