//! A piece of a chunk on its way: requests until each of its documents is taken, refused, or left for later.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;

use super::answer::{Answers, Item, ItemError};
use super::hosts::{Ask, Cluster, Fault, Head, NDJSON, shown};
use super::judge::{Fate, Operation, Rules, Whole, whole};
use super::pace::{Pace, pause};
use super::piece::Piece;
use crate::plugin::RefusedEvent;

/// Rounds for what the target could not take, before the engine's schedule takes over.
const ROUNDS: u32 = 4;
/// Documents that are refused one by one, while not one is taken, after which the fault is none of theirs.
const SUSPICIOUS: usize = 20;
/// What of an answer is asked for.
const FILTER: &str = "filter_path=errors,error,status,items.*.status,items.*.error";

/// What was done, for the monitor.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bulk requests.
    pub requests: AtomicU64,
    /// Documents that were there already.
    pub known: AtomicU64,
    /// Documents that were sent once more.
    pub again: AtomicU64,
    /// Documents that were refused.
    pub refused: AtomicU64,
    /// Requests that were too large.
    pub divided: AtomicU64,
}

/// How documents are sent.
pub struct Sender {
    /// Where to.
    pub cluster: Cluster,
    /// How much at once.
    pub pace: Pace,
    /// What is refused.
    pub rules: Rules,
    /// What is done with each.
    pub operation: Operation,
    /// How hard bodies are packed; none for not at all.
    pub packing: Option<Compression>,
    /// Whether the log names each document that is refused.
    pub logs_refusals: bool,
    /// Whether documents that the target put off are sent again here; else they are given to somebody else.
    pub rounds: bool,
    /// Figures.
    pub counts: Counts,
}

/// What became of a piece.
#[derive(Debug, Default)]
pub struct Sent {
    /// Events that were refused, with the target's answers.
    pub refused: Vec<RefusedEvent>,
    /// Places of events that the target may take later.
    pub later: Vec<u64>,
    /// Why there are some, for the operator.
    pub why: Option<String>,
    /// Whether the target itself put each of them off, one by one.
    pub one_by_one: bool,
}

/// What one request came to.
enum Reply {
    /// The items, as far as they came, and what is wrong where they did not come whole.
    Items(Vec<Item>, Option<String>),
    /// An answer to the whole, with its text.
    Whole(Whole, Head, String),
    /// No host was reached, or none can be.
    Lost(String),
}

/// The work on a piece.
struct Work<'a> {
    sender: &'a Sender,
    operation: Operation,
    waiting: Vec<Piece>,
    round: u32,
    taken: usize,
    /// Documents that were refused alone by an answer to a whole request.
    spoilers: Vec<u64>,
    sent: Sent,
}

impl Sender {
    /// Sends a piece until each document is settled, or has to wait for the engine's schedule.
    pub async fn settle(&self, piece: Piece) -> Sent {
        self.settle_as(piece, self.operation).await
    }

    /// As [`settle`](Self::settle), of documents that are not the output's usual ones.
    pub async fn settle_as(&self, piece: Piece, operation: Operation) -> Sent {
        let mut work = Work {
            sender: self,
            operation,
            waiting: vec![piece],
            round: 0,
            taken: 0,
            spoilers: Vec::new(),
            sent: Sent { one_by_one: true, ..Sent::default() },
        };
        while let Some(piece) = work.waiting.pop() {
            if piece.len() > 0 && !work.one(piece).await {
                break;
            }
        }
        work.end()
    }

    /// One request.
    async fn request(&self, piece: &Piece) -> Reply {
        let index = piece.index.as_deref().map(|index| format!("/{}", encoded(index))).unwrap_or_default();
        let path = format!("{index}/_bulk?{FILTER}");
        let body = match self.packing.map(|level| packed(&piece.text, level)).transpose() {
            Ok(body) => body.unwrap_or_else(|| piece.text.clone()),
            Err(e) => return Reply::Lost(e.to_string()),
        };
        let ask = Ask { method: Method::POST, path: &path, body, kind: NDJSON, is_packed: self.packing.is_some() };
        let mut answers = Answers::of(piece.len());
        let mut each = |status, text: Bytes| {
            answers.take(status, &text);
            Ok(())
        };
        self.counts.requests.fetch_add(1, Relaxed);
        let outcome = self.cluster.ask(&ask, &mut each).await;
        match outcome {
            Ok(head) => match whole(head.status) {
                Whole::Items if answers.is_whole() && answers.items.len() == piece.len() => {
                    Reply::Items(answers.items, None)
                }
                Whole::Items => {
                    let why = format!(
                        "{} documents were sent and {} were answered: {}",
                        piece.len(),
                        answers.items.len(),
                        shown(&answers.text())
                    );
                    // Whose items they are is known only as long as there are not too many.
                    let items = if answers.items.len() > piece.len() { Vec::new() } else { answers.items };
                    Reply::Items(items, Some(why))
                }
                other => Reply::Whole(other, head, answers.text()),
            },
            Err(Fault::Broken(why)) if answers.items.len() <= piece.len() => Reply::Items(answers.items, Some(why)),
            Err(fault) => Reply::Lost(fault.to_string()),
        }
    }
}

impl Work<'_> {
    /// Deals with one piece; false where the target is of no use now.
    async fn one(&mut self, piece: Piece) -> bool {
        match self.sender.request(&piece).await {
            Reply::Items(items, fault) => self.items(&piece, &items, fault).await,
            Reply::Whole(Whole::TooLarge, _, text) => {
                self.sender.pace.too_large(piece.text.len());
                self.sender.counts.divided.fetch_add(1, Relaxed);
                self.divide(piece, &format!("413 {}", shown(&text)));
                true
            }
            Reply::Whole(Whole::Spoiled, head, text) => self.spoiled(piece, &head, &text),
            Reply::Whole(Whole::Busy, head, text) => {
                self.sender.pace.busy();
                let why = format!("{} {}", head.status, shown(&text));
                self.again(piece, why, head.retry_after, false).await
            }
            Reply::Whole(Whole::Setup(help), head, text) => {
                self.give_up(piece, format!("{} {}. What helps: {help}", head.status, shown(&text)));
                false
            }
            Reply::Whole(Whole::Elsewhere | Whole::Items, head, text) => {
                let why = format!("{} {}", head.status, shown(&text));
                self.again(piece, why, head.retry_after, false).await
            }
            Reply::Lost(why) => {
                self.give_up(piece, why);
                false
            }
        }
    }

    /// Each document by its own answer; those without one are sent again.
    async fn items(&mut self, piece: &Piece, items: &[Item], fault: Option<String>) -> bool {
        let (mut again, mut why, mut is_busy) = (Vec::new(), None, false);
        let no_error = ItemError::default();
        for row in 0..piece.len() {
            let Some(item) = items.get(row) else {
                again.push(row);
                continue;
            };
            let (status, error) = (item.status, item.error.as_deref().unwrap_or(&no_error));
            match self.sender.rules.item(self.operation, status, &error.kind, &error.reason) {
                Fate::Taken => self.taken += 1,
                Fate::Known => {
                    self.taken += 1;
                    self.sender.counts.known.fetch_add(1, Relaxed);
                }
                Fate::Later(help) => {
                    is_busy |= matches!(status, 429 | 503);
                    let help = help.map(|help| format!(". What helps: {help}")).unwrap_or_default();
                    why.get_or_insert_with(|| format!("{status} {}: {}{help}", error.kind, shown(&error.reason)));
                    again.push(row);
                }
                Fate::Refused => self.refuse(piece.place(row), format!("{status} {}", error.text)),
            }
        }
        if is_busy {
            self.sender.pace.busy();
        }
        if again.is_empty() {
            self.sender.pace.good();
            return true;
        }
        let one_by_one = fault.is_none();
        self.sender.counts.again.fetch_add(again.len() as u64, Relaxed);
        let why = fault.or(why).unwrap_or_default();
        self.again(piece.select(&again), why, None, one_by_one).await
    }

    fn refuse(&mut self, place: u64, answer: String) {
        if self.sender.logs_refusals {
            tracing::warn!("a document was refused: place={place} {}", shown(&answer));
        }
        self.sender.counts.refused.fetch_add(1, Relaxed);
        self.sent.refused.push(RefusedEvent { place, answer });
    }

    /// The halves of a piece; a document that is alone is refused.
    fn divide(&mut self, piece: Piece, answer: &str) {
        if piece.len() == 1 {
            return self.refuse(piece.place(0), answer.to_owned());
        }
        let (first, second) = piece.halves();
        self.waiting.push(second);
        self.waiting.push(first);
    }

    /// One document spoils the request. When one after the other does, and none is taken, it is not the documents.
    fn spoiled(&mut self, piece: Piece, head: &Head, text: &str) -> bool {
        let answer = format!("{} {}", head.status, shown(text));
        if piece.len() == 1 {
            self.spoilers.push(piece.place(0));
            if self.taken == 0 && self.spoilers.len() >= SUSPICIOUS {
                let spoilers = std::mem::take(&mut self.spoilers);
                self.sent.refused.retain(|event| !spoilers.contains(&event.place));
                self.sent.later.extend(spoilers);
                self.sent.one_by_one = false;
                let help = "every document is refused in the same way: look at index, pipeline and write_operation";
                self.sent.why = Some(format!("{answer}. What helps: {help}"));
                return false;
            }
        }
        self.divide(piece, &answer);
        true
    }

    /// Sends a piece again after a wait, or leaves it. `one_by_one`: each of its documents was put off by itself.
    async fn again(&mut self, piece: Piece, why: String, asked: Option<Duration>, one_by_one: bool) -> bool {
        if self.round >= ROUNDS || !self.sender.rounds && one_by_one {
            self.sent.later.extend(piece.places());
            self.sent.one_by_one &= one_by_one;
            self.sent.why.get_or_insert(why);
            return true;
        }
        // Without randomness the waits are merely in step; that is no reason to fail.
        let random = getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX));
        tokio::time::sleep(pause(self.round, asked, random)).await;
        self.round += 1;
        self.waiting.push(piece);
        true
    }

    /// The target is of no use now.
    fn give_up(&mut self, piece: Piece, why: String) {
        self.sent.one_by_one = false;
        self.sent.why = Some(why);
        self.waiting.push(piece);
    }

    fn end(mut self) -> Sent {
        for piece in &self.waiting {
            self.sent.later.extend(piece.places());
        }
        self.sent.one_by_one &= self.waiting.is_empty();
        self.sent
    }
}

/// A name as a part of a path.
pub fn encoded(name: &str) -> String {
    const PLAIN: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b'~');
    percent_encoding::utf8_percent_encode(name, PLAIN).to_string()
}

fn packed(text: &[u8], level: Compression) -> std::io::Result<Bytes> {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), level);
    encoder.write_all(text)?;
    Ok(encoder.finish()?.into())
}
