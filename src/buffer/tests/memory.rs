//! A memory buffer, through its public face.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::buffer::config::{AHEAD_PATIENCE, MAX_AHEAD_BYTES};
use crate::buffer::testing::{config, events};
use crate::buffer::{
    Buffer, BufferConfig, BufferError, Cause, Chunk, Env, Fate, FlushMode, Letter, Origin, Overflow, Refusal,
};
use crate::event::{Batch, BatchBuilder, Entries};

fn open(config: BufferConfig) -> Buffer {
    Buffer::open(config, Env::real()).unwrap().0
}

fn refusal() -> Refusal {
    Refusal { response: Some("400".into()), ..Refusal::new(Cause::Rejected, "the target says no") }
}

fn texts(chunk: &Chunk) -> Vec<Vec<u8>> {
    let blocks: Vec<_> = chunk.blocks().map(Result::unwrap).collect();
    blocks.iter().flat_map(|b| Entries::new(&b.entries).map(|e| e.unwrap().raw.to_vec()).collect::<Vec<_>>()).collect()
}

fn raw(batch: &Batch) -> Vec<Vec<u8>> {
    batch.entries().map(|e| e.unwrap().raw.to_vec()).collect()
}

#[tokio::test]
async fn what_goes_in_comes_out_and_is_gone_after_commit() {
    let buffer = open(config());
    let batch = events("t", &[(1, "a"), (2, "b")]);
    let receipt = buffer.append(&batch, &Origin::None).await.unwrap();
    assert!(!receipt.is_durable());
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    assert_eq!(texts(&chunk), raw(&batch));
    assert_eq!(chunk.count(), 2);
    buffer.commit(chunk.id()).unwrap();
    assert!(receipt.delivered().await);
    assert_eq!(buffer.stats().total_bytes, 0);
    assert!(matches!(buffer.commit(chunk.id()), Err(BufferError::UnknownChunk(_))));
}

#[tokio::test]
async fn a_poisonous_chunk_does_not_block_the_next() {
    let buffer = open(BufferConfig { flush_mode: FlushMode::Immediate, ..config() });
    for text in ["poison", "good"] {
        let _ = buffer.append(&events("t", &[(1, text)]), &Origin::None).await.unwrap();
    }
    let poison = buffer.take().await.unwrap();
    buffer.give_back(poison.id(), Instant::now() + Duration::from_millis(20));
    let good = buffer.take().await.unwrap();
    assert_ne!(good.id(), poison.id());
    buffer.commit(good.id()).unwrap();
    assert_eq!(buffer.take().await.unwrap().id(), poison.id());
}

#[tokio::test]
async fn chunks_are_queued_when_they_are_old_enough() {
    let interval = Duration::from_millis(10);
    let buffer = open(BufferConfig { flush_interval: interval, ..config() });
    let taker = tokio::spawn({
        let buffer = buffer.clone();
        async move { buffer.take().await.unwrap() }
    });
    let _ = buffer.append(&events("t", &[(1, "a")]), &Origin::None).await.unwrap();
    assert_eq!(taker.await.unwrap().count(), 1);
}

#[tokio::test]
async fn a_full_buffer_refuses() {
    let buffer = open(BufferConfig { total_limit_size: 10, ..config() });
    let batch = events("t", &[(1, "a")]);
    let _ = buffer.append(&batch, &Origin::None).await.unwrap();
    assert!(matches!(buffer.append(&batch, &Origin::None).await, Err(BufferError::Full { limit: 10, .. })));
    assert_eq!(buffer.stats().refused_appends, 1);
}

#[tokio::test]
async fn a_blocking_buffer_serves_first_come_first() {
    let buffer = open(BufferConfig {
        total_limit_size: 10,
        overflow: Overflow::Block,
        flush_mode: FlushMode::Immediate,
        ..config()
    });
    let _ = buffer.append(&events("t", &[(0, "first")]), &Origin::None).await.unwrap();
    let mut waiting = Vec::new();
    for n in 1..=3 {
        let (buffer, batch) = (buffer.clone(), events("t", &[(n, "x")]));
        waiting.push(tokio::spawn(async move { buffer.append(&batch, &Origin::None).await.map(drop) }));
        tokio::task::yield_now().await;
    }
    for n in 0..=3 {
        let chunk = buffer.take().await.unwrap();
        let block = chunk.blocks().next().unwrap().unwrap();
        assert_eq!(Entries::new(&block.entries).next().unwrap().unwrap().time.secs(), n);
        buffer.commit(chunk.id()).unwrap();
    }
    for task in waiting {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn room_is_waited_for_no_longer_than_is_said() {
    let buffer = open(BufferConfig {
        total_limit_size: 10,
        overflow: Overflow::Block,
        flush_mode: FlushMode::Immediate,
        ..config()
    });
    let (batch, input) = (events("t", &[(0, "first")]), Arc::from("in"));
    let append = |until| buffer.append_from(&batch, &Origin::None, &input, until);
    let _ = append(Some(Instant::now())).await.unwrap();
    for _ in 0..3 {
        let soon = Instant::now() + Duration::from_millis(20);
        assert!(matches!(append(Some(soon)).await, Err(BufferError::Full { limit: 10, .. })));
    }
    assert_eq!(buffer.stats().refused_appends, 3);
    let chunk = buffer.take().await.unwrap();
    buffer.commit(chunk.id()).unwrap();
    assert_eq!(buffer.stats().total_bytes, 0);
    // Nobody is in line before it.
    let _ = append(Some(Instant::now() + Duration::from_secs(20))).await.unwrap();
}

#[tokio::test]
async fn an_append_that_is_given_up_while_it_waits_takes_no_room() {
    let buffer = open(BufferConfig {
        total_limit_size: 10,
        overflow: Overflow::Block,
        flush_mode: FlushMode::Immediate,
        ..config()
    });
    let batch = events("t", &[(1, "a")]);
    let _ = buffer.append(&batch, &Origin::None).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(1), buffer.append(&batch, &Origin::None)).await;
    assert!(given_up.is_err());
    let chunk = buffer.take().await.unwrap();
    buffer.commit(chunk.id()).unwrap();
    assert_eq!(buffer.stats().total_bytes, 0);
    let _ = buffer.append(&batch, &Origin::None).await.unwrap();
}

#[tokio::test]
async fn the_oldest_chunk_makes_room_and_is_counted() {
    let buffer = open(BufferConfig {
        total_limit_size: 10,
        overflow: Overflow::DropOldestChunk,
        flush_mode: FlushMode::Immediate,
        ..config()
    });
    let first = buffer.append(&events("t", &[(1, "old")]), &Origin::None).await.unwrap();
    let _ = buffer.append(&events("t", &[(2, "new")]), &Origin::None).await.unwrap();
    assert!(first.delivered().await);
    let stats = buffer.stats();
    assert_eq!((stats.dropped_chunks, stats.dropped_events, stats.queue_length), (1, 1, 1));
}

#[tokio::test]
async fn nothing_to_drop_is_a_refusal() {
    let buffer = open(BufferConfig { total_limit_size: 10, overflow: Overflow::DropOldestChunk, ..config() });
    let batch = events("t", &[(1, "staged")]);
    let _ = buffer.append(&batch, &Origin::None).await.unwrap();
    assert!(matches!(buffer.append(&batch, &Origin::None).await, Err(BufferError::Full { .. })));
}

#[tokio::test]
async fn full_chunks_are_queued_and_batches_stay_together() {
    let batch = events("t", &[(1, "aaaaaaaaaa"), (2, "bbbbbbbbbb")]);
    let size = batch.bytes().len() as u64;
    let buffer = open(BufferConfig { chunk_limit_size: size * 3 / 2, ..config() });
    for _ in 0..3 {
        let _ = buffer.append(&batch, &Origin::None).await.unwrap();
    }
    let stats = buffer.stats();
    assert_eq!((stats.queue_length, stats.stage_length), (2, 1));
    assert_eq!(buffer.take().await.unwrap().count(), 2);
}

#[tokio::test]
async fn a_batch_larger_than_a_chunk_fills_several() {
    let rows: Vec<(i64, &str)> = (0..100).map(|n| (n, "some text")).collect();
    let batch = events("t", &rows);
    let buffer = open(BufferConfig { chunk_limit_size: 300, ..config() });
    let _ = buffer.append(&batch, &Origin::None).await.unwrap();
    buffer.close();
    let mut all = Vec::new();
    while let Some(chunk) = buffer.take().await {
        assert!(chunk.bytes() <= 300);
        all.extend(texts(&chunk));
        buffer.commit(chunk.id()).unwrap();
    }
    assert_eq!(all, raw(&batch));
    assert!(buffer.finish().await.is_empty());
}

#[tokio::test]
async fn closing_queues_everything_and_names_what_is_lost() {
    let buffer = open(config());
    let batch = events("t", &[(1, "a")]);
    let receipt = buffer.append(&batch, &Origin::None).await.unwrap();
    buffer.close();
    assert!(matches!(buffer.append(&batch, &Origin::None).await, Err(BufferError::Closed)));
    let chunk = buffer.take().await.unwrap();
    buffer.give_back(chunk.id(), Instant::now());
    assert!(buffer.take().await.is_none(), "each chunk is tried once more only");
    let lost = buffer.finish().await;
    assert!(lost[0].starts_with("1 events in 1 chunks"), "{lost:?}");
    drop((buffer, chunk));
    assert!(!receipt.delivered().await);
}

#[tokio::test]
async fn what_is_written_takes_no_room_and_counts_once_it_is_committed() {
    let buffer = open(config());
    let receipt = buffer.append(&events("t", &[(1, "a")]), &Origin::None).await.unwrap();
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    buffer.written(chunk.id());
    assert_eq!((buffer.stats().total_bytes, buffer.stats().queue_bytes, buffer.stats().in_flight), (0, 0, 1));
    assert!(!receipt.is_delivered());
    assert!(chunk.blocks().next().unwrap().is_err(), "its bytes are given up");
    buffer.commit(chunk.id()).unwrap();
    assert!(receipt.delivered().await);
    assert_eq!((buffer.stats().total_bytes, buffer.stats().queue_bytes, buffer.stats().in_flight), (0, 0, 0));
}

#[tokio::test]
async fn what_is_lost_after_it_was_written_is_in_the_ledger_and_its_source_is_not_told_that_it_was_delivered() {
    let buffer = open(config());
    let receipt = buffer.append(&events("t", &[(1, "a"), (2, "b")]), &Origin::None).await.unwrap();
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    buffer.written(chunk.id());
    buffer.lose(chunk.id());
    drop(chunk);
    assert!(!receipt.delivered().await);
    let account = *buffer.accounts().values().next().unwrap();
    assert_eq!((account.taken_in, account.count(Fate::Lost), account.missing()), (2, 2, 0));
    assert_eq!(buffer.stats().total_bytes, 0);
}

#[tokio::test]
async fn a_chunk_set_aside_is_a_file_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(BufferConfig { backup_dir: dir.path().join("aside"), ..config() });
    let receipt = buffer.append(&events("t", &[(1, "refused")]), &Origin::None).await.unwrap();
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    buffer.set_aside(chunk.id(), refusal());
    assert!(receipt.delivered().await);
    let file = std::fs::read(dir.path().join(format!("aside/{}.chunk", chunk.id()))).unwrap();
    assert!(file.windows(7).any(|w| w == b"refused"));
    let letter = std::fs::read(dir.path().join(format!("aside/{}.chunk.reason.json", chunk.id()))).unwrap();
    let letter = Letter::read(&letter).unwrap();
    assert_eq!((letter.cause, letter.response.as_deref()), (Cause::Rejected, Some("400")));
    assert_eq!((letter.reason.as_str(), letter.output.as_str()), ("the target says no", "test"));
    assert_eq!((letter.events, letter.bytes), (Some(1), file.len() as u64));
    assert_eq!(buffer.stats().set_aside_events, 1);
    assert!(buffer.finish().await.is_empty());
}

#[tokio::test]
async fn events_that_no_chunk_may_hold_are_kept_once_as_a_chunk_file() {
    let dir = tempfile::tempdir().unwrap();
    let buffer = open(BufferConfig { backup_dir: dir.path().join("aside"), ..config() });
    let (batch, origin) = (events("t", &[(1, "large")]), Origin::Once("id".into()));
    let keep = |origin: Origin| {
        let (buffer, batch) = (buffer.clone(), batch.clone());
        async move { buffer.keep_aside(&batch, &origin, Refusal::new(Cause::Oversize, "too large")).await.unwrap() }
    };
    let path = keep(origin.clone()).await;
    assert_eq!(keep(origin).await, path);
    assert_ne!(keep(Origin::None).await, keep(Origin::None).await);
    assert!(std::fs::read(&path).unwrap().windows(5).any(|w| w == b"large"));
    assert_eq!(std::fs::read_dir(dir.path().join("aside")).unwrap().count(), 6);
}

#[tokio::test]
async fn a_chunk_that_cannot_be_set_aside_stays() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("taken"), "a file where the directory should be").unwrap();
    let buffer = open(BufferConfig { backup_dir: dir.path().join("taken/aside"), ..config() });
    let _ = buffer.append(&events("t", &[(1, "refused")]), &Origin::None).await.unwrap();
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    buffer.set_aside(chunk.id(), refusal());
    assert_eq!(buffer.finish().await.len(), 1);
    assert_eq!(buffer.stats().set_aside_chunks, 0);
}

#[tokio::test]
async fn origins_are_remembered() {
    let buffer = open(config());
    let batch = events("t", &[(1, "a")]);
    let origin = Origin::Stream { stream: "f".into(), upto: 7 };
    let _ = buffer.append(&batch, &origin).await.unwrap();
    let _ = buffer.append(&batch, &Origin::Once("id".into())).await.unwrap();
    assert_eq!(buffer.newest("f"), Some(7));
    assert!(buffer.has(&Origin::Once("id".into())) && !buffer.has(&Origin::Once("other".into())));
}

#[tokio::test]
async fn an_empty_batch_is_stored_at_once() {
    let buffer = open(config());
    let batch = BatchBuilder::new().finish("t".into());
    assert!(buffer.append(&batch, &Origin::None).await.unwrap().delivered().await);
}

#[tokio::test]
async fn tags_come_with_the_blocks() {
    let buffer = open(config());
    for tag in ["a", "b"] {
        let _ = buffer.append(&events(tag, &[(1, "x")]), &Origin::None).await.unwrap();
    }
    buffer.flush_all();
    let chunk = buffer.take().await.unwrap();
    let tags: Vec<String> = chunk.blocks().map(|b| b.unwrap().tag.to_string()).collect();
    assert_eq!(tags, ["a", "b"]);
}

/// A memory buffer whose queue is as long as a source that can wait lets it get, and that source's next append.
async fn far_ahead() -> (Buffer, Arc<Chunk>, JoinHandle<()>) {
    let buffer = open(BufferConfig { flush_mode: FlushMode::Immediate, ..config() });
    let text = "x".repeat(1 << 20);
    let batch = events("t", &[(1, text.as_str())]);
    let mut upto = 0;
    while buffer.stats().queue_bytes <= MAX_AHEAD_BYTES {
        upto += 1;
        let _ = buffer.append(&batch, &Origin::Stream { stream: "f".into(), upto }).await.unwrap();
    }
    let first = buffer.take().await.unwrap();
    let next = tokio::spawn({
        let buffer = buffer.clone();
        async move {
            let _ = buffer.append(&batch, &Origin::Stream { stream: "f".into(), upto: upto + 1 }).await.unwrap();
        }
    });
    tokio::time::sleep(AHEAD_PATIENCE / 2).await;
    (buffer, first, next)
}

#[tokio::test(start_paused = true)]
async fn a_source_that_can_wait_does_so_until_the_queue_is_shorter() {
    let (buffer, first, next) = far_ahead().await;
    assert!(!next.is_finished());
    let started = tokio::time::Instant::now();
    buffer.commit(first.id()).unwrap();
    next.await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_an_output_that_fails() {
    let (buffer, first, next) = far_ahead().await;
    assert!(!next.is_finished());
    let started = tokio::time::Instant::now();
    buffer.give_back(first.id(), Instant::now() + Duration::from_secs(60));
    next.await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_output_that_takes_nothing_is_waited_for_once() {
    let (buffer, _first, next) = far_ahead().await;
    let started = tokio::time::Instant::now();
    next.await.unwrap();
    assert_eq!(started.elapsed(), AHEAD_PATIENCE / 2);
    let _ =
        buffer.append(&events("t", &[(1, "a")]), &Origin::Stream { stream: "f".into(), upto: 1_000 }).await.unwrap();
    assert_eq!(started.elapsed(), AHEAD_PATIENCE / 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_is_not_kept_waiting_for_the_output() {
    let (buffer, _first, _next) = far_ahead().await;
    let started = tokio::time::Instant::now();
    let _ = buffer.append(&events("t", &[(1, "a")]), &Origin::None).await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}
