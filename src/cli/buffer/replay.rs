//! `suiro buffer replay`: chunks, wherever they are kept, once more to a target.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::exported::{Exported, Parcel};
use super::message::{self, Message, Sink};
use super::place::{self, Place};
use super::send::Link;
use super::{Destination, Failure, Selection};
use crate::buffer::inspect::{self, State, Stored, Unreadable};
use crate::buffer::{Chunk, ChunkId, ChunkKey};
use crate::cli::Flags;
use crate::event::Batch;
use crate::plugin::{DynOutput, InputError, Registry, Stopper};

/// Something to send.
pub enum Source {
    /// A file of a buffer.
    Stored(Box<Stored>),
    /// A file that `export` wrote.
    Exported(PathBuf),
}

/// Sends everything; gives whether all of it was good and taken.
pub fn run(
    selection: &Selection,
    destination: &Destination,
    flags: &Flags,
    registry: &'static Registry,
) -> Result<bool, Failure> {
    let sources = sources(selection, flags, registry)?;
    let mut receiver = Receiver::open(destination, flags, registry)?;
    let (mut events, mut whole) = (0, true);
    let sent = sources.iter().try_for_each(|source| {
        let (count, good) = receiver.take(source)?;
        events += count;
        whole &= good;
        Ok(())
    });
    receiver.close();
    println!("{events} events were taken");
    sent.map(|()| whole)
}

fn sources(selection: &Selection, flags: &Flags, registry: &'static Registry) -> Result<Vec<Source>, Failure> {
    let is_exported = |path: &PathBuf| path.is_file() && inspect::file(path).is_ok_and(|file| file.is_none());
    let (exported, others): (Vec<PathBuf>, Vec<PathBuf>) = selection.paths.iter().cloned().partition(is_exported);
    let mut sources: Vec<Source> = exported.into_iter().map(Source::Exported).collect();
    if !others.is_empty() || sources.is_empty() {
        let rest = Selection { paths: others, ..selection.clone() };
        for place in place::find(&rest, flags, registry)? {
            sources.extend(stored(&place)?);
        }
    }
    Ok(sources)
}

fn stored(place: &Place) -> Result<Vec<Source>, Failure> {
    let contents = place.look()?;
    let mut sources = Vec::new();
    for file in contents.files.into_iter().filter(|file| place.means(file)) {
        if file.state == State::Staged && contents.owner.is_some() {
            eprintln!("suiro: {} still takes events and is left out; flush it first (SIGUSR1)", file.path.display());
        } else {
            sources.push(Source::Stored(Box::new(file)));
        }
    }
    Ok(sources)
}

/// Who takes the events.
pub enum Receiver {
    /// A server.
    Server(Link),
    /// An output of a configuration.
    Output(Via),
}

/// An output that was started for this alone.
pub struct Via {
    runtime: tokio::runtime::Runtime,
    output: Arc<dyn DynOutput>,
    stopper: Stopper,
}

impl Receiver {
    /// Connects, or starts the output.
    pub fn open(destination: &Destination, flags: &Flags, registry: &'static Registry) -> Result<Receiver, Failure> {
        if let Some(address) = &destination.to {
            return Link::connect(address, Duration::from_secs(destination.ack_timeout)).map(Receiver::Server);
        }
        let id = destination.via.as_deref().unwrap_or_default();
        let outputs = place::configured(flags, registry)?;
        let Some(found) = outputs.iter().find(|output| output.id == id) else {
            return Err(place::unknown(id, &outputs));
        };
        if found.output.emits() {
            return Err(format!("output {id:?} gives events to the router, which does not run here"));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
        let (output, stopper) = (found.output.clone(), Stopper::new());
        let started = runtime.block_on(output.start(stopper.listener()));
        started.map_err(|InputError(e)| format!("output {id:?} can't start: {e}"))?;
        Ok(Receiver::Output(Via { runtime, output, stopper }))
    }

    /// Sends one source. Gives the events that were taken, and whether all of it was good.
    pub fn take(&mut self, source: &Source) -> Result<(u64, bool), Failure> {
        match source {
            Source::Stored(file) => self.take_stored(file),
            Source::Exported(path) => {
                let told = |why| format!("{}: {why}", path.display());
                let (mut file, mut events) = (Exported::open(path)?, 0);
                while let Some(parcel) = file.next().map_err(told)? {
                    self.take_parcel(&parcel)?;
                    events += u64::from(parcel.count);
                }
                Ok((events, true))
            }
        }
    }

    fn take_stored(&mut self, file: &Stored) -> Result<(u64, bool), Failure> {
        let chunk = match file.open() {
            Ok(chunk) => chunk,
            Err(Unreadable::Gone | Unreadable::Empty) => return Ok((0, true)),
            Err(e) => {
                eprintln!("suiro: {}: {e}", file.path.display());
                return Ok((0, false));
            }
        };
        match self {
            Receiver::Server(link) => {
                let (events, flaws) = message::give(&chunk, link)?;
                message::complain(&chunk, &flaws);
                Ok((events, flaws.is_empty()))
            }
            Receiver::Output(via) => {
                let whole = chunk.to_chunk().map_err(|e| format!("can't read {}: {e}", file.path.display()))?;
                via.write(&whole)?;
                Ok((u64::from(whole.count()), whole.damaged() == 0))
            }
        }
    }

    fn take_parcel(&mut self, parcel: &Parcel) -> Result<(), Failure> {
        match self {
            Receiver::Server(link) => {
                let (len, count) = (parcel.entries.len() as u64, u64::from(parcel.count));
                let message = Message { tag: parcel.tag.clone(), id: parcel.id.clone(), len, count };
                link.message(&message, &mut |out| out.write_all(&parcel.entries))
            }
            Receiver::Output(via) => {
                let key = ChunkKey { tag: Some(parcel.tag.clone()), ..ChunkKey::default() };
                let batch = Batch::new(parcel.tag.clone(), parcel.entries.clone(), parcel.count);
                let chunk = Chunk::of(key, &batch);
                let id = STANDARD.decode(&parcel.id).ok().and_then(|id| Some(ChunkId(id.try_into().ok()?)));
                via.write(&match id {
                    Some(id) => chunk.with_id(id),
                    None => chunk,
                })
            }
        }
    }

    /// Ends in order.
    pub fn close(self) {
        if let Receiver::Output(via) = self {
            via.stopper.stop();
            via.runtime.block_on(via.output.close());
        }
    }
}

impl Via {
    fn write(&self, chunk: &Chunk) -> Result<(), Failure> {
        let written = self.runtime.block_on(self.output.write(chunk));
        written.map_err(|e| format!("chunk {} was not taken: {e}", chunk.id()))
    }
}
