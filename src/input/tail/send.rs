//! Hands batches on to the engine: per file one after the other, so that a buffer sees each stream in order.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tracing::{error, warn};

use super::Shared;
use super::follow::{Followed, Prepared, Rewind};
use super::positions::Stored;
use crate::buffer::{Origin, Receipt};
use crate::plugin::EmitError;

/// First pause after a buffer had no room; it doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Attempts before the batch's memory is given back: the file is read again then, and others can go on.
const ATTEMPTS_IN_MEMORY: u32 = 4;

/// What became of a batch.
enum Outcome {
    Stored(Receipt),
    /// No room for long: read it again after a pause.
    NoRoom(Duration),
    /// Too large as it is; one event at a time may do.
    TooLarge,
    Stopped,
}

/// Sends `first` and what readers prepare meanwhile.
pub(super) async fn run(shared: Arc<Shared>, file: Arc<Followed>, first: Prepared) {
    let mut next = Some(first);
    while let Some(prepared) = next {
        let rewind = match deliver(&shared, &file, &prepared).await {
            Outcome::Stored(receipt) => {
                file.flags.refusals.store(0, SeqCst);
                stored(&shared, &file, &prepared, receipt);
                drop(prepared);
                next = file.next_batch();
                shared.queue.wake(&file);
                shared.release_next(&file);
                continue;
            }
            Outcome::Stopped => None,
            Outcome::NoRoom(pause) => Some((0, pause)),
            Outcome::TooLarge => Some((prepared.upto.position, Duration::ZERO)),
        };
        let (single_until, pause) = rewind.unwrap_or((0, LONGEST_PAUSE));
        drop(file.give_back(Rewind { to: prepared.from, refused: prepared.upto.position, single_until }));
        drop(prepared);
        if rewind.is_some() {
            shared.wake_after(file, pause);
        }
        return;
    }
}

/// The position moves: now, or with the receipts.
fn stored(shared: &Arc<Shared>, file: &Arc<Followed>, prepared: &Prepared, receipt: Receipt) {
    if shared.positions.stored(&file.row, prepared.upto, receipt) == Stored::Wait {
        let (positions, row) = (shared.positions.clone(), file.row.clone());
        shared.receipts.spawn(async move { positions.delivered(&row).await });
    }
}

async fn deliver(shared: &Shared, file: &Followed, prepared: &Prepared) -> Outcome {
    let mut stop = shared.stop.clone();
    // From now on the buffer may know this stream, so a restart has to know it too.
    if !prepared.batch.is_empty() {
        shared.positions.saved(&file.row).await;
    }
    let origin = Origin::Stream { stream: file.row.stream.clone(), upto: prepared.upto.position };
    loop {
        match shared.emit.emit_from(prepared.batch.clone(), origin.clone()).await {
            Ok(receipt) => return Outcome::Stored(receipt),
            Err(EmitError::Refused(why)) if prepared.batch.len() > 1 => {
                warn!("a batch of {} was refused ({why}); its events are sent one by one", file.path.display());
                return Outcome::TooLarge;
            }
            Err(EmitError::Refused(why)) => {
                error!("an event of {} was refused and is left out: {why}", file.path.display());
                shared.emit.fail(prepared.batch.clone(), &why).await;
                return Outcome::Stored(Receipt::durable());
            }
            Err(EmitError::Closed) if stop.is_stopped() => return Outcome::Stopped,
            Err(EmitError::Full(_) | EmitError::Closed) => {}
        }
        let refusals = file.flags.refusals.fetch_add(1, SeqCst);
        let pause = FIRST_PAUSE.saturating_mul(1 << refusals.min(16)).min(LONGEST_PAUSE);
        if refusals + 1 >= ATTEMPTS_IN_MEMORY && can_read_again(shared, file) {
            return Outcome::NoRoom(pause);
        }
        if stop.or(tokio::time::sleep(pause)).await.is_none() {
            return Outcome::Stopped;
        }
    }
}

/// Whether the batch's lines can be read again: not where the file is gone once it is closed, or was cut.
fn can_read_again(shared: &Shared, file: &Followed) -> bool {
    !shared.settings.open_on_every_update && !file.flags.truncated.load(SeqCst)
}
