//! `suiro dlq`: dead letters, which are what was set aside, with their reasons.

use std::fs;
use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use super::Flags;
use super::buffer::place::{self, Place};
use super::buffer::print::{Out, Read, quoted};
use super::buffer::{self, Destination, Failure, Form, Receiver, Selection, Source, print_events};
use crate::buffer::Letter;
use crate::buffer::inspect::{State, Stored};
use crate::plugin::Registry;

/// Characters of a reason in a listing.
const SHOWN_CHARS: usize = 120;

/// Subcommands of `suiro dlq`.
#[derive(Clone, Debug, Subcommand)]
pub enum DlqCommand {
    /// List what was set aside: cause, events, bytes, time, output, reason.
    Ls {
        #[command(flatten)]
        selection: Selection,
        /// How rows are printed.
        #[arg(long, value_enum, default_value_t)]
        format: Form,
    },
    /// Print events as JSON lines with their cause; status 1 when something could not be read.
    Cat {
        #[command(flatten)]
        selection: Selection,
        /// Stop after so many events.
        #[arg(long, value_name = "EVENTS")]
        limit: Option<u64>,
    },
    /// Send what was set aside once more, under the ids that it has.
    Replay {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        destination: Destination,
        /// Remove what was taken.
        #[arg(long)]
        remove: bool,
    },
}

/// A row of the listing as JSON.
#[derive(Serialize)]
struct Row<'a> {
    file: String,
    #[serde(flatten)]
    letter: Option<&'a Letter>,
}

/// Does what was asked; gives the exit status.
pub fn run(command: &DlqCommand, flags: &Flags, registry: &'static Registry) -> u8 {
    let find = |selection: &Selection| place::find(selection, flags, registry);
    let done = match command {
        DlqCommand::Ls { selection, format } => find(selection).and_then(|places| ls(&places, *format)),
        DlqCommand::Cat { selection, limit } => find(selection).and_then(|places| cat(&places, *limit)),
        DlqCommand::Replay { selection, destination, remove } => {
            let receiver = || Receiver::open(destination, flags, registry);
            find(selection).and_then(|places| replay(&places, receiver()?, *remove))
        }
    };
    buffer::finish(done)
}

fn letters(place: &Place) -> Result<Vec<Stored>, Failure> {
    let files = place.look()?.files;
    Ok(files.into_iter().filter(|file| matches!(file.state, State::SetAside | State::Piece)).collect())
}

fn ls(places: &[Place], form: Form) -> Result<bool, Failure> {
    let mut out = Out::new();
    if form == Form::Text {
        let _ = out.line(&line("CAUSE", "EVENTS", "BYTES", "TIME", "OUTPUT", "FILE", "REASON"))?;
    }
    for place in places {
        for file in letters(place)? {
            let text = match form {
                Form::Text => row(&file),
                Form::Json => {
                    let row = Row { file: file.path.display().to_string(), letter: file.letter.as_ref() };
                    serde_json::to_string(&row).map_err(|e| e.to_string())?
                }
            };
            if out.line(&text)? == Read::Over {
                return Ok(true);
            }
        }
    }
    let _ = out.flush()?;
    Ok(true)
}

fn row(file: &Stored) -> String {
    let path = file.path.display().to_string();
    let Some(letter) = &file.letter else {
        return line("-", "-", "-", "-", "-", &path, "there is no reason beside it");
    };
    let events = letter.events.map_or("-".to_owned(), |n| n.to_string());
    let reason: String = letter.reason.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    let time = letter.time.get(..19).unwrap_or(&letter.time);
    line(letter.cause.word(), &events, &letter.bytes.to_string(), time, &letter.output, &path, &reason)
}

fn line(cause: &str, events: &str, bytes: &str, time: &str, output: &str, file: &str, reason: &str) -> String {
    format!("{cause:<11} {events:>8} {bytes:>11} {time:<19} {output:<12} {file}  {reason}")
}

fn cat(places: &[Place], limit: Option<u64>) -> Result<bool, Failure> {
    let (mut left, mut whole, mut out) = (limit.unwrap_or(u64::MAX), true, Out::new());
    for place in places {
        for file in letters(place)? {
            let cause = file.letter.as_ref().map_or("unknown", |letter| letter.cause.word());
            let head = format!("\"cause\":{},", quoted(cause));
            match print_events(&file, &head, &mut left, &mut out)? {
                Some(good) => whole &= good,
                None => return Ok(whole),
            }
        }
    }
    let _ = out.flush()?;
    Ok(whole)
}

/// Only whole chunks are sent: a piece may have been sent again by its source long ago.
fn replay(places: &[Place], mut receiver: Receiver, remove: bool) -> Result<bool, Failure> {
    let (mut events, mut whole) = (0, true);
    let mut sent = Ok(());
    for file in places.iter().map(letters).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
        if file.state == State::Piece {
            eprintln!("suiro: {} is a piece of a chunk and is left out", file.path.display());
            continue;
        }
        match receiver.take(&Source::Stored(Box::new(file.clone()))) {
            Ok((count, good)) => {
                (events, whole) = (events + count, whole && good);
                if remove && good {
                    sent = forget(&file.path).map_err(|e| format!("can't remove {}: {e}", file.path.display()));
                }
            }
            Err(why) => sent = Err(why),
        }
        if sent.is_err() {
            break;
        }
    }
    receiver.close();
    println!("{events} events were taken");
    sent.map(|()| whole)
}

/// First the bytes, then the reason: what is there has its reason.
pub(super) fn forget(path: &Path) -> std::io::Result<()> {
    fs::remove_file(path)?;
    let mut reason = path.as_os_str().to_owned();
    reason.push(crate::buffer::REASON);
    match fs::remove_file(reason) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
