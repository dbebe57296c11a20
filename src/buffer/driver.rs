//! Who runs the writer: a thread of its own for a file buffer, so that no caller ever waits for the disk while it holds
//! up others; the caller itself for a memory buffer, where there is nothing to wait for.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chunk::Chunk;
use super::config::{LONGEST_GATHERING, MAX_GROUP_APPENDS, MAX_GROUP_BYTES};
use super::ledger::{Apart, Fate};
use super::letter::Refusal;
use super::writer::{Append, Staged, Writer};

/// What a writer is asked to do.
pub(super) enum Request {
    Append(Append),
    /// Forget a chunk.
    Remove {
        chunk: Arc<Chunk>,
        fate: Fate,
        /// Some of its events end otherwise.
        apart: Option<Apart>,
    },
    SetAside {
        chunk: Arc<Chunk>,
        refusal: Refusal,
        answer: AsideAnswer,
    },
    SealDue,
    FlushAll,
    Close,
    Stop(oneshot::Sender<Staged>),
}

/// Called with the outcome of a setting aside.
pub(super) type AsideAnswer = Box<dyn FnOnce(&mut Writer, Arc<Chunk>, io::Result<()>) + Send>;

/// Runs a writer.
pub(super) enum Driver {
    Inline(Box<Mutex<Writer>>),
    Thread { requests: Sender<Request>, thread: Mutex<Option<JoinHandle<()>>> },
}

impl Driver {
    /// A thread for the writer, named after the buffer.
    pub(super) fn spawn(writer: Writer, id: &str) -> io::Result<Driver> {
        let (requests, incoming) = mpsc::channel();
        // Fifteen bytes are all that the system keeps of a thread's name.
        let name: String = format!("buf {id}").chars().take(15).collect();
        // What the thread says belongs to the plugin whose buffer it is.
        let span = tracing::Span::current();
        let thread = std::thread::Builder::new().name(name).spawn(move || span.in_scope(|| run(writer, &incoming)))?;
        Ok(Driver::Thread { requests, thread: Mutex::new(Some(thread)) })
    }

    /// Hands a request over. One that can't be served any more is dropped, and with it its answer.
    pub(super) fn submit(&self, request: Request) {
        match self {
            Driver::Inline(writer) => {
                // A panic in there has left the writer in an unknown state, but nothing that was acknowledged.
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                handle(&mut writer, vec![request]);
            }
            Driver::Thread { requests, .. } => {
                let _ = requests.send(request);
            }
        }
    }

    /// Waits for the thread after a [`Request::Stop`].
    pub(super) fn join(&self) {
        let Driver::Thread { thread, .. } = self else { return };
        let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn run(mut writer: Writer, incoming: &Receiver<Request>) {
    let mut pace = Pace::default();
    while let Ok(first) = incoming.recv() {
        let requests = gather(first, incoming, &pace);
        let stop = requests.iter().any(|r| matches!(r, Request::Stop(_)));
        let (appends, begun) = (requests.iter().filter(|r| r.is_append()).count(), Instant::now());
        handle(&mut writer, requests);
        if appends > 0 {
            pace = Pace { appends, took: begun.elapsed() };
        }
        if stop {
            return;
        }
    }
}

/// How the last group with appends went.
#[derive(Default)]
struct Pace {
    appends: usize,
    took: Duration,
}

impl Pace {
    /// How many appends to wait for, and for how long, where `others` came together with the first: the senders of the last
    /// group have been answered, and most of them are about to send again. A lone sender never waits.
    fn wait_for(&self, others: usize) -> (usize, Duration) {
        (self.appends + others, (self.took / 2).min(LONGEST_GATHERING))
    }
}

/// Takes what has come in meanwhile, up to the limits of a group: these share their syncs.
fn gather(first: Request, incoming: &Receiver<Request>, pace: &Pace) -> Vec<Request> {
    let mut group = Gathered { appends: 0, bytes: 0, requests: Vec::new() };
    group.take(first);
    while group.has_room()
        && let Ok(next) = incoming.try_recv()
    {
        group.take(next);
    }
    let (wanted, longest) = pace.wait_for(group.appends.saturating_sub(1));
    let deadline = Instant::now() + longest;
    while group.has_room()
        && group.appends < wanted
        && let left = deadline.saturating_duration_since(Instant::now())
        && !left.is_zero()
        && let Ok(next) = incoming.recv_timeout(left)
    {
        group.take(next);
    }
    group.requests
}

struct Gathered {
    appends: usize,
    bytes: u64,
    requests: Vec<Request>,
}

impl Gathered {
    fn take(&mut self, request: Request) {
        self.appends += usize::from(request.is_append());
        self.bytes += request.bytes();
        self.requests.push(request);
    }

    fn has_room(&self) -> bool {
        self.requests.len() < MAX_GROUP_APPENDS
            && self.bytes < MAX_GROUP_BYTES
            && !matches!(self.requests.last(), Some(Request::Stop(_)))
    }
}

impl Request {
    /// Whether it tells what came before it from what comes behind.
    fn is_mark(&self) -> bool {
        match self {
            Request::Append(_) | Request::SetAside { .. } => false,
            // What is dropped makes room for what comes.
            Request::Remove { fate, .. } => *fate == Fate::Overflow,
            _ => true,
        }
    }

    fn is_append(&self) -> bool {
        matches!(self, Request::Append(_))
    }

    fn bytes(&self) -> u64 {
        match self {
            Request::Append(append) => append.room.bytes,
            _ => 0,
        }
    }
}

/// Serves requests in order; neighbours of a kind are served together. Chunks that end do not part appends, which go first:
/// neither is anything to the other.
fn handle(writer: &mut Writer, requests: Vec<Request>) {
    if requests.len() == 1 {
        return serve(writer, requests);
    }
    let mut requests = requests.into_iter().peekable();
    while requests.peek().is_some() {
        let mut appends = Vec::new();
        let mut ends = Vec::new();
        while let Some(request) = requests.next_if(|r| !r.is_mark()) {
            match request {
                Request::Append(append) => appends.push(append),
                end => ends.push(end),
            }
        }
        if !appends.is_empty() {
            writer.append(appends);
        }
        serve(writer, ends);
        serve(writer, requests.next().into_iter().collect());
    }
}

fn serve(writer: &mut Writer, requests: Vec<Request>) {
    let mut requests = requests.into_iter().peekable();
    while let Some(request) = requests.next() {
        match request {
            Request::Append(append) => writer.append(vec![append]),
            Request::Remove { chunk, fate, apart: Some(apart) } => writer.remove(vec![chunk], fate, Some(&apart)),
            Request::Remove { chunk, fate, apart: None } => {
                let mut chunks = vec![chunk];
                while let Some(Request::Remove { fate: other, apart: None, .. }) = requests.peek()
                    && *other == fate
                    && let Some(Request::Remove { chunk, .. }) = requests.next()
                {
                    chunks.push(chunk);
                }
                writer.remove(chunks, fate, None);
            }
            Request::SetAside { chunk, refusal, answer } => {
                let result = writer.set_aside(&chunk, &refusal);
                answer(writer, chunk, result);
            }
            Request::SealDue => writer.seal_due(),
            Request::FlushAll => writer.flush_all(),
            Request::Close => writer.close(),
            Request::Stop(answer) => {
                let _ = answer.send(writer.stop());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lone_sender_waits_for_nobody() {
        let alone = Pace { appends: 1, took: ms(3) };
        let (wanted, _) = alone.wait_for(0);
        assert!(wanted <= 1, "the first is there already");
        assert_eq!(Pace::default().wait_for(0), (0, ms(0)));
    }

    #[test]
    fn the_senders_of_the_last_group_are_waited_for_but_not_longer_than_half_of_what_it_took() {
        assert_eq!(Pace { appends: 4, took: ms(3) }.wait_for(11), (15, ms(3) / 2));
        assert_eq!(Pace { appends: 15, took: ms(40) }.wait_for(0), (15, LONGEST_GATHERING));
    }
}
