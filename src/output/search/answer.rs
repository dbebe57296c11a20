//! Answers to bulk requests, read as they arrive: `{"took":1,"errors":true,"items":[{"create":{"status":201}},...]}`.
//!
//! Each item is cut out and read by itself, so memory is bounded whatever an answer holds, and what came of an answer that
//! was cut off still counts.

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;

/// Largest item that is read whole, in bytes; of a larger one its beginning.
const MAX_ITEM: usize = 64 * 1024;
/// How much is kept of an error, in bytes.
const MAX_ERROR: usize = 1024;
/// How much is kept of an answer that is not one of items, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// Longest name at the top that is looked at, in bytes.
const MAX_NAME: usize = 16;

/// Why a document was not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemError {
    /// Type of the error.
    pub kind: String,
    /// What it says.
    pub reason: String,
    /// The whole error as it came, or its beginning.
    pub text: String,
}

/// What the target says about one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its status; 0 where it has none.
    pub status: u16,
    /// Why it was not taken.
    pub error: Option<Box<ItemError>>,
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(alias = "create", alias = "index", alias = "update", alias = "delete")]
    done: Done,
}

#[derive(Deserialize)]
struct Done {
    status: u16,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

/// Where in the answer the reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// Before, beside or behind the items.
    #[default]
    Outside,
    /// Between items.
    Items,
    /// In an item.
    Item,
}

/// An answer while it is read.
#[derive(Debug, Default)]
pub struct Answers {
    status: StatusCode,
    place: Place,
    depth: usize,
    is_string: bool,
    is_escaped: bool,
    /// The last string at the top.
    name: Vec<u8>,
    item: Vec<u8>,
    ended: bool,
    /// Items so far.
    pub items: Vec<Item>,
    text: Vec<u8>,
}

impl Answers {
    /// Of a request with so many documents.
    pub fn of(count: usize) -> Answers {
        Answers { items: Vec::with_capacity(count), ..Answers::default() }
    }

    /// The next bytes of an answer with this status.
    pub fn take(&mut self, status: StatusCode, piece: &Bytes) {
        self.status = status;
        let room = MAX_TEXT.saturating_sub(self.text.len()).min(piece.len());
        if !status.is_success() || self.items.is_empty() {
            self.text.extend_from_slice(&piece[..room]);
        }
        if status.is_success() {
            piece.iter().for_each(|byte| self.byte(*byte));
        }
    }

    /// The beginning of the answer.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// Whether the items came to their end.
    pub fn is_whole(&self) -> bool {
        self.ended
    }

    fn byte(&mut self, byte: u8) {
        if self.place == Place::Item && self.item.len() < MAX_ITEM {
            self.item.push(byte);
        }
        if self.is_string {
            return self.string(byte);
        }
        match byte {
            b'"' => {
                self.is_string = true;
                if self.depth == 1 {
                    self.name.clear();
                }
            }
            b'{' | b'[' => self.open(byte),
            b'}' | b']' => self.close(),
            _ => {}
        }
    }

    fn string(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.is_string = false,
            _ if self.depth == 1 && self.name.len() < MAX_NAME => self.name.push(byte),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        self.depth += 1;
        match self.place {
            Place::Outside if byte == b'[' && self.depth == 2 && self.name == b"items" => self.place = Place::Items,
            Place::Items if byte == b'{' && self.depth == 3 => {
                self.place = Place::Item;
                self.item.clear();
                self.item.push(byte);
            }
            _ => {}
        }
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        match (self.place, self.depth) {
            (Place::Item, 2) => {
                self.place = Place::Items;
                let item = item(&self.item);
                self.items.push(item);
            }
            (Place::Items, 1) => (self.place, self.ended) = (Place::Outside, true),
            _ => {}
        }
    }
}

fn item(text: &[u8]) -> Item {
    if let Ok(Wrapped { done: Done { status, error } }) = serde_json::from_slice(text) {
        return Item { status, error: error.map(|error| Box::new(read(&error))) };
    }
    // Too long, or of a form that is not known.
    let text = String::from_utf8_lossy(text);
    let status = text.split_once("\"status\":").map_or("", |(_, rest)| rest).trim_start();
    let digits: String = status.chars().take_while(char::is_ascii_digit).collect();
    let error = ItemError { text: beginning(&text), ..ItemError::default() };
    Item { status: digits.parse().unwrap_or(0), error: Some(Box::new(error)) }
}

/// Errors are objects; of some proxies and old versions they are text.
fn read(error: &serde_json::Value) -> ItemError {
    let of = |name: &str| error[name].as_str().unwrap_or_default();
    let cause = error["caused_by"]["reason"].as_str().map(|cause| format!(": {cause}")).unwrap_or_default();
    let reason = error.as_str().map_or_else(|| format!("{}{cause}", of("reason")), str::to_owned);
    ItemError { kind: of("type").to_owned(), reason: beginning(&reason), text: beginning(&error.to_string()) }
}

fn beginning(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_ERROR)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in(text: &str, size: usize) -> Answers {
        let mut answers = Answers::of(0);
        for piece in text.as_bytes().chunks(size) {
            answers.take(StatusCode::OK, &Bytes::copy_from_slice(piece));
        }
        answers
    }

    const ANSWER: &str = r#"{"took":3,"errors":true,"ingest":{"items":[{"x":1}]},"items":[
        {"create":{"_index":"a]}\"","status":201,"_shards":{"total":2}}},
        {"create":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"failed [n]","caused_by":{"reason":"For input string: \"x\""}}}},
        {"index":{"status":429,"error":"busy"}} ] ,"more":[{"a":1}]}"#;

    #[test]
    fn items_are_read_wherever_the_pieces_end() {
        for size in [1, 2, 7, 1000] {
            let answers = read_in(ANSWER, size);
            let statuses: Vec<u16> = answers.items.iter().map(|item| item.status).collect();
            assert_eq!(statuses, [201, 400, 429], "{size}");
            assert!(answers.is_whole());
            let error = answers.items[1].error.as_ref().map(|e| (e.kind.as_str(), e.reason.as_str()));
            assert_eq!(error, Some(("mapper_parsing_exception", "failed [n]: For input string: \"x\"")));
            assert_eq!(answers.items[2].error.as_ref().map(|e| e.reason.as_str()), Some("busy"));
        }
    }

    #[test]
    fn what_came_of_a_cut_answer_counts() {
        let cut = &ANSWER[..ANSWER.find("{\"index\"").unwrap_or_default() + 12];
        let answers = read_in(cut, 5);
        assert_eq!(answers.items.len(), 2);
        assert!(!answers.is_whole());
    }

    #[test]
    fn an_item_without_an_end_takes_no_memory() {
        let long = format!("{{\"items\":[{{\"create\":{{\"status\":400,\"error\":\"{}", "x".repeat(1 << 20));
        let answers = read_in(&long, 4096);
        assert!(answers.item.len() <= MAX_ITEM && answers.text.len() <= MAX_TEXT);
        let ended = read_in(&format!("{long}\"}}}}]}}"), 4096);
        assert_eq!(ended.items[0].status, 400);
        assert!(ended.items[0].error.as_ref().is_some_and(|e| e.text.len() <= MAX_ERROR));
    }

    #[test]
    fn other_texts_give_no_items() {
        for text in ["", "<html>", "[1]", "{\"items\":{}}", "{\"items\":7}", "}}}]]]", "\"", "{\"items\":[[{}]]}"] {
            assert!(read_in(text, 3).items.is_empty(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_pieces_give_the_same_items(
            text in "[\\[\\]{}\"\\\\,:a-z0-9 ]{0,200}",
            head in "(\\{\"items\":\\[(\\{\"create\":\\{\"status\":20[01]\\}\\},?){0,4})?",
            size in 1usize..20,
        ) {
            let text = format!("{head}{text}");
            let (whole, pieces) = (read_in(&text, text.len().max(1)), read_in(&text, size));
            proptest::prop_assert_eq!(whole.items, pieces.items);
            proptest::prop_assert_eq!(whole.ended, pieces.ended);
        }
    }
}
