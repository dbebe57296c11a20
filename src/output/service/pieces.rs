//! A chunk piece by piece.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::buffer::{Block, Chunk, ChunkId};
use crate::event::{Entries, Entry};
use crate::plugin::{MAX_REFUSED, RefusedEvent, WriteError};

/// Chunks whose progress is remembered between two attempts; when there are more, all is forgotten and pieces are sent again.
const MAX_PROGRESS: usize = 10_000;
/// Requests that look for events which are refused, for one chunk. What is still undecided then is refused together.
const MAX_SEARCHES: usize = 256;
/// Longest answer that is kept of an event, in bytes.
const MAX_ANSWER: usize = 1024;

/// An event on its way.
#[derive(Clone, Debug)]
pub struct Row<T> {
    /// Its place in the chunk.
    pub place: u64,
    /// What becomes of it.
    pub body: T,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// The service has all of it.
    Taken,
    /// The service never takes one of its events: which one, where that is said. What became of the others is not known.
    Bad(Option<usize>, String),
    /// It is larger than the service takes.
    TooLarge(String),
    /// The service never takes any of it, and has said so of each event.
    Refused(String),
}

/// A service.
pub trait Sender: Sync {
    /// What an event becomes.
    type Body: Send + Sync;

    /// An event as the service takes it, and its bytes; `None` where there is nothing to send.
    ///
    /// Errors: it has no form that the service could take.
    fn row(&self, block: &Block, entry: &Entry<'_>) -> Result<Option<(Self::Body, usize)>, String>;

    /// Sends some rows in one request.
    ///
    /// Errors: the whole must be sent later.
    fn send(&self, rows: &[Row<Self::Body>]) -> impl Future<Output = Result<Fate, WriteError>> + Send;
}

/// How far a chunk has come.
#[derive(Debug, Default)]
struct Progress {
    /// Events in front of this place are settled.
    upto: u64,
    /// Those of them that were refused.
    refused: Vec<RefusedEvent>,
}

/// Sends chunks in pieces, and remembers how far each has come.
pub struct Pieces {
    most_rows: usize,
    most_bytes: usize,
    remembers: bool,
    progress: Mutex<HashMap<ChunkId, Progress>>,
}

impl Pieces {
    /// Requests take so many rows and bytes at the most, unless one row alone has more.
    pub fn new(most_rows: usize, most_bytes: usize) -> Pieces {
        Pieces { most_rows, most_bytes, remembers: true, progress: Mutex::default() }
    }

    /// For services whose answers settle nothing: a chunk that comes again is sent from its beginning.
    pub fn forgetful(self) -> Pieces {
        Pieces { remembers: false, ..self }
    }

    /// Sends a chunk. What an attempt before has settled is passed over.
    ///
    /// Errors: as [`Output::write`](crate::plugin::Output::write).
    pub async fn deliver<S: Sender>(&self, sender: &S, chunk: &Chunk) -> Result<(), WriteError> {
        let mut work = Work { sender, progress: self.resume(chunk.id()), searches: 0 };
        if let Err(e) = self.all(&mut work, chunk).await {
            if self.remembers && matches!(e, WriteError::Retry(_)) {
                self.keep(chunk.id(), work.progress);
            }
            return Err(e);
        }
        let refused = work.progress.refused;
        match refused.len() {
            0 => Ok(()),
            all if all as u64 == u64::from(chunk.count()) => Err(too_many(&refused, chunk)),
            _ => Err(WriteError::Partial(refused)),
        }
    }

    fn resume(&self, id: ChunkId) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default()
    }

    fn keep(&self, id: ChunkId, mut progress: Progress) {
        // Those behind are come to again.
        progress.refused.retain(|event| event.place < progress.upto);
        // Every change under the lock is whole by itself.
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_PROGRESS {
            all.clear();
        }
        all.insert(id, progress);
    }

    async fn all<S: Sender>(&self, work: &mut Work<'_, S>, chunk: &Chunk) -> Result<(), WriteError> {
        let (mut rows, mut bytes, mut place) = (Vec::new(), 0, 0);
        for block in chunk.blocks() {
            let mut made = Vec::new();
            let block = block?;
            for entry in Entries::new(&block.entries).map_while(Result::ok) {
                if place >= work.progress.upto {
                    made.push((place, work.sender.row(&block, &entry)));
                }
                place += 1;
            }
            for (place, row) in made {
                match row {
                    Ok(None) => {}
                    Ok(Some((body, size))) => {
                        let full = rows.len() >= self.most_rows || bytes + size > self.most_bytes;
                        if full && !rows.is_empty() {
                            work.piece(std::mem::take(&mut rows), place).await?;
                            bytes = 0;
                        }
                        bytes += size;
                        rows.push(Row { place, body });
                    }
                    Err(answer) => work.progress.refused.push(event(place, &answer)),
                }
                if work.progress.refused.len() > MAX_REFUSED {
                    return Err(too_many(&work.progress.refused, chunk));
                }
            }
        }
        if !rows.is_empty() {
            work.piece(rows, place).await?;
        }
        match work.progress.refused.len() > MAX_REFUSED {
            true => Err(too_many(&work.progress.refused, chunk)),
            false => Ok(()),
        }
    }
}

/// The chunk as a whole is refused: all of its events are, or more than may be refused one by one.
fn too_many(refused: &[RefusedEvent], chunk: &Chunk) -> WriteError {
    let response = refused.first().map(|event| event.answer.clone()).unwrap_or_default();
    let why = format!("{} of {} events were refused: {response}", refused.len(), chunk.count());
    WriteError::Refused { why, response }
}

/// A chunk on its way.
struct Work<'s, S: Sender> {
    sender: &'s S,
    progress: Progress,
    searches: usize,
}

impl<S: Sender> Work<'_, S> {
    /// Sends rows until each is taken or refused; then everything in front of `upto` is settled.
    async fn piece(&mut self, rows: Vec<Row<S::Body>>, upto: u64) -> Result<(), WriteError> {
        let mut refused = Vec::new();
        let mut waiting = vec![rows];
        while let Some(mut rows) = waiting.pop() {
            let (which, said, splits) = match self.sender.send(&rows).await? {
                Fate::Taken => continue,
                Fate::Bad(which, said) => (which.filter(|at| *at < rows.len()), said, false),
                Fate::TooLarge(said) => (None, said, true),
                Fate::Refused(said) => {
                    refused.extend(rows.iter().map(|row| event(row.place, &said)));
                    continue;
                }
            };
            self.searches += usize::from(!splits);
            if rows.len() == 1 || self.searches > MAX_SEARCHES {
                refused.extend(rows.iter().map(|row| event(row.place, &said)));
            } else if let Some(at) = which {
                refused.push(event(rows.remove(at).place, &said));
                waiting.push(rows);
            } else {
                let behind = rows.split_off(rows.len() / 2);
                waiting.push(behind);
                waiting.push(rows);
            }
        }
        self.progress.refused.append(&mut refused);
        self.progress.refused.sort_by_key(|event| event.place);
        self.progress.upto = upto;
        Ok(())
    }
}

fn event(place: u64, said: &str) -> RefusedEvent {
    RefusedEvent { place, answer: said[..said.floor_char_boundary(MAX_ANSWER)].to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::testing::numbered as chunk;

    /// Takes numbers but for some; fails at a request of a number; says which one is bad, or does not.
    struct Numbers {
        bad: Vec<i64>,
        names: bool,
        fails_at: usize,
        largest: usize,
        taken: Mutex<Vec<i64>>,
        requests: Mutex<usize>,
    }

    impl Numbers {
        fn new(bad: &[i64], names: bool) -> Numbers {
            let (taken, requests) = Default::default();
            Numbers { bad: bad.to_vec(), names, fails_at: usize::MAX, largest: usize::MAX, taken, requests }
        }
    }

    impl Sender for Numbers {
        type Body = i64;

        fn row(&self, _: &Block, entry: &Entry<'_>) -> Result<Option<(i64, usize)>, String> {
            match entry.time.secs() {
                13 => Ok(None),
                66 => Err("no form".into()),
                n => Ok(Some((n, 10))),
            }
        }

        async fn send(&self, rows: &[Row<i64>]) -> Result<Fate, WriteError> {
            let mut requests = self.requests.lock().unwrap();
            *requests += 1;
            if *requests == self.fails_at {
                return Err(WriteError::Retry("busy".into()));
            }
            if rows.len() > self.largest {
                return Ok(Fate::TooLarge("too large".into()));
            }
            if let Some(at) = rows.iter().position(|row| self.bad.contains(&row.body)) {
                return Ok(Fate::Bad(self.names.then_some(at), format!("bad {}", rows[at].body)));
            }
            self.taken.lock().unwrap().extend(rows.iter().map(|row| row.body));
            Ok(Fate::Taken)
        }
    }

    fn refused(outcome: Result<(), WriteError>) -> Vec<(u64, String)> {
        let Err(WriteError::Partial(events)) = outcome else { panic!("{outcome:?}") };
        events.into_iter().map(|event| (event.place, event.answer)).collect()
    }

    #[tokio::test]
    async fn refused_events_are_found_and_all_others_are_taken_once() {
        for names in [true, false] {
            let sender = Numbers::new(&[0, 41, 42, 99], names);
            let found = refused(Pieces::new(30, 10_000).deliver(&sender, &chunk(100)).await);
            assert_eq!(found.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [0, 41, 42, 66, 99]);
            assert_eq!(found[1].1, "bad 41");
            assert_eq!(found[3].1, "no form");
            let mut taken = sender.taken.lock().unwrap().clone();
            taken.sort_unstable();
            assert!(taken.iter().copied().eq((0..100).filter(|n| ![0, 13, 41, 42, 66, 99].contains(n))));
        }
    }

    #[tokio::test]
    async fn an_attempt_goes_on_where_the_one_before_ended() {
        let mut sender = Numbers::new(&[5], true);
        sender.fails_at = 4;
        let (pieces, chunk) = (Pieces::new(1000, 200), chunk(70));
        assert!(matches!(pieces.deliver(&sender, &chunk).await, Err(WriteError::Retry(_))));
        let found = refused(pieces.deliver(&sender, &chunk).await);
        assert_eq!(found.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [5, 66]);
        let taken = sender.taken.lock().unwrap();
        assert!(taken.iter().copied().eq((0..70).filter(|n| ![5, 13, 66].contains(n))), "{taken:?}");
        assert!(pieces.progress.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn requests_that_are_too_large_are_divided() {
        let mut sender = Numbers::new(&[], false);
        sender.largest = 3;
        Pieces::new(1000, 100_000).deliver(&sender, &chunk(50)).await.unwrap();
        assert_eq!(sender.taken.lock().unwrap().len(), 49);
    }

    #[tokio::test]
    async fn a_search_ends_and_a_chunk_of_bad_events_is_refused_whole() {
        let all: Vec<i64> = (0..5000).collect();
        let sender = Numbers::new(&all, false);
        let outcome = Pieces::new(10_000, 1 << 20).deliver(&sender, &chunk(60)).await;
        assert!(matches!(outcome, Err(WriteError::Partial(events)) if events.len() == 59));
        let outcome = Pieces::new(10_000, 1 << 20).deliver(&sender, &chunk(13)).await;
        assert!(matches!(outcome, Err(WriteError::Refused { response, .. }) if response.starts_with("bad ")));
        *sender.requests.lock().unwrap() = 0;
        assert!(Pieces::new(10_000, 1 << 20).deliver(&sender, &chunk(5000)).await.is_err());
        assert!(*sender.requests.lock().unwrap() <= MAX_SEARCHES + 64);
    }
}
