//! Tasks with an owner that joins them, started from threads that are no tasks themselves.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A set of tasks on the runtime that it was made on. Once the tasks were taken out no more are started.
#[derive(Debug)]
pub(super) struct Tasks {
    handle: Handle,
    running: Mutex<Option<JoinSet<()>>>,
}

impl Tasks {
    /// An empty set. To be called on a runtime.
    pub(super) fn new() -> Tasks {
        Tasks { handle: Handle::current(), running: Mutex::new(Some(JoinSet::new())) }
    }

    fn running(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        // A panic elsewhere can't leave the set half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a task, and lets go of those that have ended.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(running) = &mut *self.running() {
            while running.try_join_next().is_some() {}
            running.spawn_on(task, &self.handle);
        }
    }

    /// Takes all tasks out.
    pub(super) fn take(&self) -> JoinSet<()> {
        self.running().take().unwrap_or_default()
    }

    /// Waits for the tasks to end; ends those that take longer.
    pub(super) async fn join(&self, limit: Duration) {
        let mut tasks = self.take();
        let all = async { while tasks.join_next().await.is_some() {} };
        if timeout(limit, all).await.is_err() {
            tasks.shutdown().await;
        }
    }

    /// Ends the tasks.
    pub(super) async fn abort(&self) {
        self.take().shutdown().await;
    }
}
