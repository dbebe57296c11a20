//! `suiro buffer cat`: events as JSON lines.

use super::Failure;
use super::place::Place;
use super::print::{self, Out, Read};
use crate::buffer::inspect::{Piece, Stored, Unreadable};

/// Prints events; gives whether everything could be read.
pub fn run(places: &[Place], limit: Option<u64>) -> Result<bool, Failure> {
    let (mut left, mut whole) = (limit.unwrap_or(u64::MAX), true);
    let mut out = Out::new();
    for place in places {
        let files = place.look()?.files;
        for file in files.iter().filter(|file| place.means(file)) {
            match print_events(file, "", &mut left, &mut out)? {
                Some(good) => whole &= good,
                None => return Ok(whole),
            }
        }
    }
    let _ = out.flush()?;
    Ok(whole)
}

/// Prints the events of one file, `left` at most; what is damaged is told on standard error. Gives whether everything could
/// be read; nothing when no more is wanted.
pub fn print_events(file: &Stored, head: &str, left: &mut u64, out: &mut Out) -> Result<Option<bool>, Failure> {
    let path = file.path.display();
    let chunk = match file.open() {
        Ok(chunk) => chunk,
        Err(Unreadable::Gone | Unreadable::Empty) => return Ok(Some(true)),
        Err(e) => {
            eprintln!("suiro: {path}: {e}");
            return Ok(Some(false));
        }
    };
    let mut whole = true;
    for piece in chunk.pieces() {
        if *left == 0 {
            let _ = out.flush()?;
            return Ok(None);
        }
        match piece.map_err(|e| format!("can't read {path}: {e}"))? {
            Piece::Block { block, .. } => {
                let mut lines = Vec::new();
                *left -= print::events(&block, head, *left, &mut lines);
                if out.write(&lines)? == Read::Over {
                    return Ok(None);
                }
            }
            Piece::Flaw(flaw) => {
                whole = false;
                eprintln!("suiro: {path}: offset {}: {} bytes: {}", flaw.at, flaw.len, flaw.reason);
            }
        }
    }
    Ok(Some(whole))
}
