//! Events that a target refused, taken out of a chunk that it took else: by tag, with the target's answers.
//!
//! The same events of the same chunk always become the same parts, so what is set aside again after a crash is kept once.

use std::io;

use crate::buffer::{Cause, Chunk, ChunkId, Origin, Refusal};
use crate::event::{Batch, BatchBuilder, Entries, Tag};
use crate::plugin::RefusedEvent;

/// A part takes no more events once it has so many bytes.
const PART_BYTES: usize = 8 << 20;
/// Longest answer that is kept for one event, in bytes; a letter as a whole keeps 64 KiB.
const MAX_ANSWER: usize = 1024;

/// Refused events of one tag.
pub struct Part {
    /// They themselves.
    pub batch: Batch,
    /// Place of the first of them in the chunk.
    first: u64,
    /// A line for each: its place in the batch, and the answer.
    answers: String,
    /// The first answer.
    why: String,
}

impl Part {
    /// What stands for these events wherever they are kept.
    pub fn origin(&self, chunk: ChunkId) -> Origin {
        Origin::Once(format!("refused:{chunk}:{}", self.first).into_bytes().into())
    }

    /// An id for them as a chunk of their own.
    pub fn id(&self, chunk: ChunkId) -> ChunkId {
        let mut id = chunk;
        // The low bytes of an id are random: two parts of a chunk differ by their first event.
        let first = self.first.wrapping_add(1).to_be_bytes();
        id.0[8..].iter_mut().zip(first).for_each(|(byte, more)| *byte ^= more);
        id
    }

    /// The reason that is kept beside them.
    pub fn refusal(&self) -> Refusal {
        let reason = format!(
            "the target refused these {} events and took the rest of their chunk: {}",
            self.batch.len(),
            self.why
        );
        Refusal { cause: Cause::Rejected, reason, response: Some(self.answers.clone()) }
    }
}

struct Growing {
    tag: Tag,
    batch: BatchBuilder,
    first: u64,
    answers: String,
    why: String,
}

impl Growing {
    fn push(&mut self, raw: &[u8], answer: &str) {
        let place = self.batch.count();
        let short = &answer[..answer.floor_char_boundary(MAX_ANSWER)];
        let line = serde_json::json!({ "event": place, "answer": short });
        self.answers.push_str(&format!("{line}\n"));
        self.batch.push_raw(raw);
    }

    fn done(mut self) -> Part {
        Part { batch: self.batch.finish(self.tag), first: self.first, answers: self.answers, why: self.why }
    }
}

/// The refused events of a chunk by tag.
///
/// Errors: the chunk can't be read.
pub fn parts(chunk: &Chunk, refused: &[RefusedEvent]) -> io::Result<Vec<Part>> {
    let mut wanted = refused.iter().peekable();
    let (mut done, mut growing): (Vec<Part>, Vec<Growing>) = Default::default();
    let mut place = 0;
    for block in chunk.blocks() {
        let block = block?;
        for entry in Entries::new(&block.entries).map_while(Result::ok) {
            if let Some(event) = wanted.next_if(|event| event.place == place) {
                if let Some(at) =
                    growing.iter().position(|part| part.batch.bytes() >= PART_BYTES && part.tag == block.tag)
                {
                    done.push(growing.swap_remove(at).done());
                }
                let at = growing.iter().position(|part| part.tag == block.tag).unwrap_or_else(|| {
                    let (tag, why) = (block.tag.clone(), event.answer.clone());
                    growing.push(Growing {
                        tag,
                        batch: BatchBuilder::new(),
                        first: place,
                        answers: String::new(),
                        why,
                    });
                    growing.len() - 1
                });
                growing[at].push(entry.raw, &event.answer);
            }
            place += 1;
        }
    }
    done.extend(growing.into_iter().map(Growing::done));
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::testing::numbered as chunk;

    #[test]
    fn refused_events_come_out_with_their_answers_and_always_under_the_same_name() {
        let chunk = chunk(5);
        let refused = [1, 4].map(|place| RefusedEvent { place, answer: format!("no {place}\n") });
        let parts = parts(&chunk, &refused).unwrap();
        assert_eq!(parts.len(), 1);
        let times: Vec<i64> = parts[0].batch.entries().map(|entry| entry.unwrap().time.secs()).collect();
        assert_eq!(times, [1, 4]);
        let refusal = parts[0].refusal();
        assert!(refusal.reason.contains("these 2 events"), "{}", refusal.reason);
        let answers = "{\"answer\":\"no 1\\n\",\"event\":0}\n{\"answer\":\"no 4\\n\",\"event\":1}\n";
        assert_eq!(refusal.response.as_deref(), Some(answers));
        let again = super::parts(&chunk, &refused).unwrap();
        assert_eq!(again[0].origin(chunk.id()), parts[0].origin(chunk.id()));
        assert_ne!(parts[0].id(chunk.id()), chunk.id());
    }
}
