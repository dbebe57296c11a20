//! Who runs the writer: a thread of its own for a file buffer, so that no caller ever waits for the disk while it holds
//! up others; the caller itself for a memory buffer, where there is nothing to wait for.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::chunk::Chunk;
use super::config::{MAX_GROUP_APPENDS, MAX_GROUP_BYTES};
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
    while let Ok(first) = incoming.recv() {
        let requests = gather(first, incoming);
        let stop = requests.iter().any(|r| matches!(r, Request::Stop(_)));
        handle(&mut writer, requests);
        if stop {
            return;
        }
    }
}

/// Takes what has come in meanwhile, up to the limits of a group: these share their syncs.
fn gather(first: Request, incoming: &Receiver<Request>) -> Vec<Request> {
    let mut bytes = first.bytes();
    let mut requests = vec![first];
    while requests.len() < MAX_GROUP_APPENDS
        && bytes < MAX_GROUP_BYTES
        && !matches!(requests.last(), Some(Request::Stop(_)))
        && let Ok(next) = incoming.try_recv()
    {
        bytes += next.bytes();
        requests.push(next);
    }
    requests
}

impl Request {
    fn bytes(&self) -> u64 {
        match self {
            Request::Append(append) => append.room.bytes,
            _ => 0,
        }
    }
}

/// Serves requests in order; neighbours of a kind are served together.
fn handle(writer: &mut Writer, requests: Vec<Request>) {
    let mut requests = requests.into_iter().peekable();
    while let Some(request) = requests.next() {
        match request {
            Request::Append(first) => {
                let mut group = vec![first];
                while let Some(Request::Append(_)) = requests.peek()
                    && let Some(Request::Append(next)) = requests.next()
                {
                    group.push(next);
                }
                writer.append(group);
            }
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
