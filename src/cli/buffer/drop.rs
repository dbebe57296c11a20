//! `suiro buffer drop`: takes chunks out of a buffer that no daemon owns.

use super::Failure;
use super::place::Place;
use crate::buffer::ChunkId;
use crate::buffer::inspect::State;
use crate::buffer::maintain;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Every chunk.
    pub all: bool,
    /// Confirmed.
    pub yes: bool,
    /// A copy is kept.
    pub keep: bool,
}

/// Drops; gives whether something was dropped.
pub fn run(places: &[Place], how: How) -> Result<bool, Failure> {
    if !how.all && places.iter().all(|place| place.chunks.is_empty()) {
        return Err("name the chunks with --chunk ID (suiro buffer ls lists them), or say --all".into());
    }
    let mut dropped = 0;
    for place in places.iter().filter(|place| maintain::is_buffer(&place.path)) {
        dropped += drop_in(place, how)?;
    }
    if dropped == 0 {
        return Err("no such chunk in the buffer".into());
    }
    if !how.yes {
        println!("nothing was dropped; say --yes to do it");
    }
    Ok(how.yes)
}

fn drop_in(place: &Place, how: How) -> Result<usize, Failure> {
    let contents = place.look()?;
    let chunks = contents.files.iter().filter(|file| matches!(file.state, State::Staged | State::Sealed));
    let ids: Vec<ChunkId> = chunks.filter_map(|file| file.id).collect();
    if let Some(owner) = contents.owner {
        let dir = place.path.display();
        return Err(format!("buffer directory {dir} belongs to a running process ({owner}); stop it first"));
    }
    if ids.is_empty() || !how.yes {
        ids.iter().for_each(|id| println!("{id} would be dropped"));
        return Ok(ids.len());
    }
    let dropped = maintain::drop_chunks(&place.path, &place.output, &ids, how.keep).map_err(|e| e.to_string())?;
    for chunk in &dropped {
        let copy = chunk.kept.as_ref().map(|path| format!("; a copy is {}", path.display()));
        println!("{} with {} events was dropped{}", chunk.id, chunk.events, copy.unwrap_or_default());
    }
    Ok(dropped.len())
}
