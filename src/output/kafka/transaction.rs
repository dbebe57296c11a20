//! Chunks in transactions: a chunk's messages and its id become visible together, or not at all.
//!
//! The id goes into the offsets of a consumer group of our own, as the note of a partition that the chunk is about: the
//! coordinator takes them into the transaction. One `transactional.id` has one transaction at a time, so whoever begins anew
//! (`init_transactions`) ends the one before, its own of an earlier run too, and what the notes then say is final. A commit
//! whose answer was lost is looked up like that before anything else is sent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Mutex;

use super::flight::{Sender, failure};
use crate::buffer::ChunkId;
use crate::net::kafka::{KafkaFault, Lines, Settings};
use crate::plugin::WriteError;

/// Longest call of librdkafka, which blocks a thread.
const CALL: Duration = Duration::from_secs(10);
/// How long a commit is asked for before its outcome counts as unknown.
const COMMIT: Duration = Duration::from_secs(30);
/// Chunks that a note remembers: brokers keep notes of 4 KiB.
const NOTED: usize = 128;
/// Begins a note.
const HEAD: &str = "suiro1:";
/// Digits of an id in a note.
const DIGITS: usize = 22;
/// Chunks whose commit went through although its answer was lost, and which have not come again yet.
const MAX_OWED: usize = 32;
/// Messages of one batch where librdkafka is to find out which one is too large.
pub const ONE: u32 = 1;

/// Ids of chunks, the newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Note {
    /// Number of commits.
    turn: i64,
    ids: VecDeque<ChunkId>,
}

impl Note {
    fn parse(turn: i64, text: &str) -> Note {
        let digits = text.strip_prefix(HEAD).unwrap_or_default().as_bytes();
        let id = |digits: &[u8]| Some(ChunkId(URL_SAFE_NO_PAD.decode(digits).ok()?.try_into().ok()?));
        Note { turn: turn.max(0), ids: digits.chunks(DIGITS).filter_map(id).collect() }
    }

    fn text(&self) -> String {
        let ids: String = self.ids.iter().map(|id| URL_SAFE_NO_PAD.encode(id.0)).collect();
        format!("{HEAD}{ids}")
    }

    /// The note with one chunk more; the oldest goes that nobody may still ask for.
    fn with(&self, id: ChunkId, owed: &[ChunkId]) -> Note {
        let mut ids = self.ids.clone();
        ids.push_back(id);
        while ids.len() > NOTED {
            let at = ids.iter().position(|id| !owed.contains(id)).unwrap_or(0);
            ids.remove(at);
        }
        Note { turn: self.turn + 1, ids }
    }
}

/// A producer whose earlier transactions have ended, and what was noted then.
pub struct Session {
    /// The producer.
    pub sender: Sender,
    /// Whether each message is a batch of its own.
    pub is_single: bool,
    consumer: Option<Arc<BaseConsumer<Lines>>>,
    notes: HashMap<Arc<str>, Note>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let consumer = self.consumer.take();
        std::thread::spawn(move || drop(consumer));
    }
}

/// What one chunk after the other needs to know.
#[derive(Default)]
pub struct State {
    /// The session, unless someone works with it, or its last work did not end well.
    session: Option<Session>,
    /// The chunk whose commit was asked for without an answer, and where its note is.
    unsure: Option<(ChunkId, Arc<str>)>,
    owed: Vec<ChunkId>,
}

/// Why a commit failed.
pub enum Ending {
    /// Nothing of the transaction is there.
    Aborted(WriteError),
    /// It may be there.
    Unknown(WriteError),
}

/// The transactions of one output.
pub struct Transactions {
    settings: Settings,
    single: Settings,
    notes: Settings,
    place: String,
    /// One chunk at a time.
    pub state: Mutex<State>,
}

impl Transactions {
    /// Errors: a property that does not go with transactions.
    pub fn new(settings: &Settings, mut notes: Settings, id: &str) -> Result<Transactions, KafkaFault> {
        let mut single = settings.clone();
        single.override_with("batch.num.messages", ONE);
        notes.override_with("group.id", format!("suiro-{id}"));
        notes.override_with("enable.auto.commit", false);
        notes.override_with("isolation.level", "read_committed");
        notes.mute();
        let place = settings.place.clone();
        Ok(Transactions { settings: settings.clone(), single, notes, place, state: Mutex::default() })
    }

    fn fault(&self, what: &str, e: &KafkaError) -> WriteError {
        WriteError::Retry(failure(&self.place, what, e))
    }

    /// The session, for this caller alone until it is given back.
    ///
    /// Errors: the cluster does not answer, or someone else uses the same id.
    pub async fn take(&self, state: &mut State, is_single: bool) -> Result<Session, WriteError> {
        let kept = state.session.take().filter(|session| session.is_single == is_single);
        if let Some(session) = kept {
            return Ok(session);
        }
        let mut session = self.begin(is_single).await?;
        if let Some((id, topic)) = state.unsure.clone() {
            if self.has(&mut session, &topic, id).await? {
                tracing::info!("chunk {id} is in {topic} already: its transaction went through, the answer was lost");
                if state.owed.len() >= MAX_OWED {
                    state.owed.remove(0);
                }
                state.owed.push(id);
            }
            state.unsure = None;
        }
        Ok(session)
    }

    async fn begin(&self, is_single: bool) -> Result<Session, WriteError> {
        let settings = if is_single { &self.single } else { &self.settings };
        let sender = Sender::new(settings).map_err(|e| self.fault("no producer", &e))?;
        let consumer = self.notes.client().create_with_context::<_, BaseConsumer<Lines>>(Lines { speaks: false });
        let consumer = consumer.map_err(|e| self.fault("no consumer of notes", &e))?;
        let session = Session { sender, is_single, consumer: Some(Arc::new(consumer)), notes: HashMap::new() };
        let begun = session.sender.blocking(|producer| producer.init_transactions(CALL)).await;
        begun.map_err(|e| self.fault("transactions can't begin", &e))?;
        Ok(session)
    }

    /// Whether a chunk was committed: its id is noted at the topic.
    ///
    /// Errors: the cluster does not answer.
    pub async fn has(&self, session: &mut Session, topic: &Arc<str>, id: ChunkId) -> Result<bool, WriteError> {
        if let Some(note) = session.notes.get(topic) {
            return Ok(note.ids.contains(&id));
        }
        let Some(consumer) = session.consumer.clone() else { return Ok(false) };
        let name = topic.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let mut list = TopicPartitionList::new();
            list.add_partition(&name, 0);
            let found = consumer.committed_offsets(list, CALL)?;
            let mut note = Note::default();
            for element in found.elements() {
                element.error()?;
                if let Offset::Offset(turn) = element.offset() {
                    note = Note::parse(turn, element.metadata());
                }
            }
            Ok(note)
        });
        let note = asked.await.unwrap_or(Err(KafkaError::Canceled));
        let note = note.map_err(|e| self.fault("committed chunks can't be looked up", &e))?;
        let has = note.ids.contains(&id);
        session.notes.insert(topic.clone(), note);
        Ok(has)
    }

    /// Begins a transaction.
    ///
    /// Errors: the session is of no use any more.
    pub async fn open(&self, session: &Session) -> Result<(), WriteError> {
        let begun = session.sender.blocking(|producer| producer.begin_transaction()).await;
        begun.map_err(|e| self.fault("a transaction can't begin", &e))
    }

    /// Gives up the transaction; the session is given back where it is still of use.
    pub async fn abort(&self, state: &mut State, session: Session) {
        if session.sender.blocking(|producer| producer.abort_transaction(CALL)).await.is_ok() {
            state.session = Some(session);
        }
    }

    /// Gives a session back.
    pub fn give(&self, state: &mut State, session: Session) {
        state.session = Some(session);
    }

    /// A chunk was found to be committed, and whoever asked is told.
    pub fn told(&self, state: &mut State, id: ChunkId) {
        state.owed.retain(|owed| *owed != id);
    }

    /// Notes the chunk and commits.
    ///
    /// Errors: where the outcome is not known, the next session finds it out.
    pub async fn commit(
        &self,
        state: &mut State,
        mut session: Session,
        topic: &Arc<str>,
        id: ChunkId,
    ) -> Result<(), Ending> {
        let note = session.notes.get(topic).cloned().unwrap_or_default().with(id, &state.owed);
        if let Err(e) = self.note(&session, topic, &note).await {
            self.abort(state, session).await;
            return Err(Ending::Aborted(e));
        }
        // From here on a crash, or the end of this future, leaves the question open.
        state.unsure = Some((id, topic.clone()));
        let started = Instant::now();
        let e = loop {
            match session.sender.blocking(|producer| producer.commit_transaction(CALL)).await {
                Ok(()) => {
                    state.unsure = None;
                    session.notes.insert(topic.clone(), note);
                    state.session = Some(session);
                    return Ok(());
                }
                Err(KafkaError::Transaction(e)) if e.is_retriable() && started.elapsed() < COMMIT => {}
                Err(e) => break e,
            }
        };
        let fault = self.fault("a transaction was not committed", &e);
        let needs_abort = matches!(&e, KafkaError::Transaction(e) if e.txn_requires_abort());
        if needs_abort && session.sender.blocking(|producer| producer.abort_transaction(CALL)).await.is_ok() {
            state.unsure = None;
            state.session = Some(session);
            return Err(Ending::Aborted(fault));
        }
        Err(Ending::Unknown(fault))
    }

    async fn note(&self, session: &Session, topic: &Arc<str>, note: &Note) -> Result<(), WriteError> {
        let Some(consumer) = session.consumer.clone() else { return Ok(()) };
        let (topic, turn, text) = (topic.clone(), note.turn, note.text());
        let noted = session.sender.blocking(move |producer| {
            let mut list = TopicPartitionList::new();
            let mut element = list.add_partition(&topic, 0);
            element.set_offset(Offset::Offset(turn))?;
            element.set_metadata(text);
            let group = consumer.group_metadata().ok_or(KafkaError::Canceled)?;
            producer.send_offsets_to_transaction(&list, &group, CALL)
        });
        noted.await.map_err(|e| self.fault("the chunk can't be noted in its transaction", &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ChunkId {
        ChunkId([n; 16])
    }

    #[test]
    fn a_note_comes_back_from_its_text_and_fits_into_what_brokers_keep() {
        let mut note = Note::default();
        for n in 0..=NOTED {
            note = note.with(id(n as u8), &[]);
        }
        let text = note.text();
        assert!(text.len() < 4096, "{}", text.len());
        assert_eq!(Note::parse(note.turn, &text), note);
        assert_eq!((note.ids.len(), note.turn), (NOTED, NOTED as i64 + 1));
        assert!(!note.ids.contains(&id(0)) && note.ids.contains(&id(1)));
        assert_eq!(Note::parse(-1, "whatever else"), Note::default());
    }

    #[test]
    fn a_chunk_that_was_not_told_yet_stays_noted() {
        let mut note = Note::default();
        for n in 0..=NOTED {
            note = note.with(id(n as u8), &[id(0)]);
        }
        assert!(note.ids.contains(&id(0)) && !note.ids.contains(&id(1)));
    }
}
