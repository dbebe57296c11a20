//! Storing one delivery, and whether its sender may be answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::intake::Delivery;
use super::shared::Shared;
use crate::buffer::Origin;
use crate::event::Batch;
use crate::plugin::EmitError;

/// First pause before a batch is offered again that found no room.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Stores a delivery. Gives the chunk id to acknowledge, and only once the events are stored: after this line a sender may
/// be answered.
///
/// Where there is no room it goes on trying until the daemon stops, while the connection is not read: the sender waits.
pub(super) async fn deliver(shared: Arc<Shared>, delivery: Delivery) -> Option<Bytes> {
    let Delivery { batch, ack, once, hold: _hold } = delivery;
    let _turn = match &once {
        Some(key) => Some(shared.turns.take(key).await),
        None => None,
    };
    if once.as_ref().is_some_and(|key| shared.emit.seen(key)) {
        return ack;
    }
    let origin = once.map_or(Origin::None, |key| Origin::Once(key.into()));
    let stored = store(&shared, batch, origin, ack.is_some()).await;
    ack.filter(|_| stored)
}

async fn store(shared: &Shared, batch: Batch, origin: Origin, will_come_again: bool) -> bool {
    let mut stop = shared.stop.clone();
    let mut pause = FIRST_PAUSE;
    loop {
        match shared.emit.emit_from(batch.clone(), origin.clone()).await {
            Ok(_) => return true,
            Err(EmitError::Full(why)) => {
                shared
                    .complaints
                    .warn(|| format!("no room for events, the sender waits: tag={:?} error={why:?}", &*batch.tag));
            }
            Err(EmitError::Refused(why)) => {
                shared.complaints.warn(|| format!("events refused: tag={:?} error={why:?}", &*batch.tag));
                if !will_come_again {
                    shared.emit.fail(batch, &why).await;
                }
                return false;
            }
            Err(EmitError::Closed) => break,
        }
        if stop.or(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if !will_come_again {
        let events = batch.len();
        tracing::error!("stopped before there was room: {events} events are lost, tag={:?}", &*batch.tag);
    }
    false
}
