//! A look from outside, at good files and at damage in every kind of place.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::buffer::testing::{events, file_buffer};
use crate::buffer::{Buffer, Cause, Env, Origin, Refusal};

/// A buffer with one sealed chunk of three frames, closed in order.
async fn three_frames(dir: &Path) -> PathBuf {
    let (buffer, _) = Buffer::open(file_buffer(dir), Env::real()).unwrap();
    for text in ["one", "two", "three"] {
        let _ = buffer.append(&events("t", &[(1, text)]), &Origin::None).await.unwrap();
    }
    buffer.flush_all();
    buffer.finish().await;
    only(dir).path
}

fn only(dir: &Path) -> Stored {
    let mut files = survey(dir).unwrap().files;
    assert_eq!(files.len(), 1);
    files.remove(0)
}

/// Number of good events, and what is wrong.
fn look(stored: &Stored) -> (u32, Vec<Flaw>) {
    let chunk = stored.open().unwrap();
    let (mut good, mut flaws) = (0, Vec::new());
    for piece in chunk.pieces() {
        match piece.unwrap() {
            Piece::Block { block, .. } => good += block.count,
            Piece::Flaw(flaw) => flaws.push(flaw),
        }
    }
    (good, flaws)
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut data = fs::read(path).unwrap();
    change(&mut data);
    fs::write(path, data).unwrap();
}

fn find(data: &[u8], text: &[u8]) -> usize {
    data.windows(text.len()).position(|w| w == text).unwrap()
}

const FRAME: &[u8] = &[0xf5, b'S', b'F', 1];

#[tokio::test]
async fn a_good_file_has_no_flaw() {
    let dir = tempfile::tempdir().unwrap();
    three_frames(dir.path()).await;
    let stored = only(dir.path());
    assert_eq!(stored.state, State::Sealed);
    assert_eq!(look(&stored), (3, vec![]));
    let chunk = stored.open().unwrap();
    assert_eq!((chunk.count().unwrap().0, Some(chunk.id())), (3, stored.id));
    assert_eq!(chunk.to_chunk().unwrap().blocks().map(|b| b.unwrap().count).sum::<u32>(), 3);
}

#[tokio::test]
async fn damage_in_every_kind_of_place_is_told_with_its_place() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, u32, Change); 9] = [
        ("first copy of the header", 3, |data| data[41] ^= 1),
        ("second copy of the header", 3, |data| {
            let second = find(&data[8..], b"SUIROCHK") + 8;
            data[second + 41] ^= 1;
        }),
        ("the copy in the footer is good", 3, |data| {
            let frames = find(data, FRAME);
            data[..frames].fill(0);
        }),
        ("head of a frame", 2, |data| {
            let at = find(data, FRAME);
            data[at + 20] ^= 1;
        }),
        ("entries do not match", 2, |data| {
            let at = find(data, b"two");
            data[at] ^= 1;
        }),
        ("footer does not match", 3, |data| {
            let at = data.len() - 20;
            data[at] ^= 1;
        }),
        ("footer does not match", 3, |data| data.truncate(data.len() - 1)),
        ("not the end of the file", 3, |data| data.resize(data.len() + 100, 0)),
        ("no whole frame", 2, |data| {
            let at = find(data, b"three");
            data.truncate(at);
        }),
    ];
    for (why, good, change) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = three_frames(dir.path()).await;
        edit(&path, change);
        let size = fs::metadata(&path).unwrap().len();
        let (found, flaws) = look(&only(dir.path()));
        assert_eq!(found, good, "{why}: {flaws:?}");
        assert!(flaws.iter().any(|flaw| flaw.reason.contains(why)), "{why}: {flaws:?}");
        assert!(flaws.iter().all(|flaw| flaw.len > 0 && flaw.at + flaw.len <= size), "{why}: {flaws:?}");
    }
}

#[tokio::test]
async fn any_changed_byte_is_found_and_costs_one_frame_at_most() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_frames(dir.path()).await;
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        fs::write(&path, bad).unwrap();
        let (good, flaws) = look(&only(dir.path()));
        assert!(good >= 2 && !flaws.is_empty(), "{at}: {good} {flaws:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_chunk_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_frames(dir.path()).await;
    for (content, why) in [(vec![0; 500], "zeros"), (b"garbage".to_vec(), "no chunk"), (Vec::new(), "empty")] {
        fs::write(&path, content).unwrap();
        let told = only(dir.path()).open().unwrap_err().to_string();
        assert!(told.contains(why), "{told}");
    }
    let stored = only(dir.path());
    fs::remove_file(&path).unwrap();
    assert!(matches!(stored.open(), Err(Unreadable::Gone)));
}

#[tokio::test]
async fn the_end_of_a_living_staged_file_is_no_flaw_and_of_a_dead_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let (buffer, _) = Buffer::open(file_buffer(dir.path()), Env::real()).unwrap();
    let _ = buffer.append(&events("t", &[(1, "one")]), &Origin::None).await.unwrap();
    let stored = only(dir.path());
    edit(&stored.path, |data| data.extend_from_slice(b"half a frame"));
    assert!(survey(dir.path()).unwrap().owner.unwrap().starts_with("pid "));
    assert_eq!((stored.state, look(&stored)), (State::Staged, (1, vec![])));
    // Sealed meanwhile: it is found under its new name.
    edit(&stored.path, |data| data.truncate(data.len() - 12));
    buffer.flush_all();
    let _ = buffer.take().await.unwrap();
    assert_eq!(look(&stored).0, 1);
    drop(buffer);
    let sealed = only(dir.path());
    edit(&sealed.path, |data| data.extend_from_slice(b"half a frame"));
    assert_eq!(look(&only(dir.path())).1.len(), 1, "the footer is not at the end");
}

#[tokio::test]
async fn what_is_set_aside_is_found_with_its_letter() {
    let dir = tempfile::tempdir().unwrap();
    three_frames(dir.path()).await;
    let mut config = file_buffer(dir.path());
    config.backup_dir = dir.path().join("backup");
    let (buffer, _) = Buffer::open(config, Env::real()).unwrap();
    let chunk = buffer.take().await.unwrap();
    let response = Some("no such index".to_owned());
    buffer.set_aside(chunk.id(), Refusal { response: response.clone(), ..Refusal::new(Cause::Rejected, "400") });
    buffer.finish().await;
    let stored = only(dir.path());
    let letter = stored.letter.clone().unwrap();
    assert_eq!((stored.state, stored.id), (State::SetAside, Some(chunk.id())));
    assert_eq!((letter.cause, letter.response, letter.events), (Cause::Rejected, response, Some(3)));
    assert_eq!(look(&stored), (3, vec![]));
}

#[tokio::test]
async fn a_damaged_journal_is_told() {
    let dir = tempfile::tempdir().unwrap();
    three_frames(dir.path()).await;
    edit(&dir.path().join("origins.log"), |data| data[3] ^= 1);
    let (path, why) = survey(dir.path()).unwrap().journal_flaw.unwrap();
    assert!(path.ends_with("origins.log") && why.contains("no journal"), "{why}");
}
