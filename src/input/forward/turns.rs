//! One at a time for each chunk id: a chunk that is sent again while its first copy is still being stored waits for that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Key = Arc<[u8]>;

/// The chunk ids under way.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>>);

/// The right to store the chunk of one id; dropping it lets the next one in.
pub(super) struct Turn {
    turns: Turns,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    fn map(&self) -> MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<()>>>> {
        // Every change is one insert or remove: a panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else stores a chunk of this id.
    pub(super) async fn take(&self, key: &[u8]) -> Turn {
        let key: Key = key.into();
        let mut turn = Turn { turns: self.clone(), key: key.clone(), guard: None };
        let lock = self.map().entry(key).or_default().clone();
        turn.guard = Some(lock.lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.guard = None;
        let mut map = self.turns.map();
        // Whoever waits holds a copy, made under the lock of the map.
        if map.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            map.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_of_an_id_waits_for_the_first_and_nothing_stays_behind() {
        let turns = Turns::default();
        let first = turns.take(b"a").await;
        let other = turns.take(b"b").await;
        let waiting = turns.clone();
        let second = tokio::spawn(async move { drop(waiting.take(b"a").await) });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop((first, other));
        assert!(second.await.is_ok());
        assert!(turns.map().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_nothing_behind() {
        let turns = Turns::default();
        let first = turns.take(b"a").await;
        tokio::select! {
            biased;
            _ = turns.take(b"a") => {}
            () = std::future::ready(()) => {}
        }
        drop(first);
        assert!(turns.map().is_empty());
    }
}
