//! Stopping as a type: every task holds a [`Stop`], its owner holds the [`Stopper`].

use tokio::sync::watch;

/// Tells tasks to stop. Dropping it tells them too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Told to stop, once and for good. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stopper {
    /// A stopper with nobody listening yet.
    pub fn new() -> Stopper {
        Stopper(watch::channel(false).0)
    }

    /// A listener.
    pub fn listener(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Tells every listener, now and later.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Stopper::new()
    }
}

impl Stop {
    /// Waits until told to stop.
    pub async fn wait(&mut self) {
        // An error means that the stopper is gone, which is a stop as well.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    /// Whether told to stop.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Runs `work` until it ends, or gives `None` once told to stop.
    pub async fn or<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.wait() => None,
            done = work => Some(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_made_before_and_after_are_told() {
        let stopper = Stopper::new();
        let mut early = stopper.listener();
        assert!(!early.is_stopped());
        stopper.stop();
        early.wait().await;
        assert!(stopper.listener().is_stopped());
        assert_eq!(early.or(std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn a_lost_owner_is_a_stop() {
        let mut stop = Stopper::new().listener();
        stop.wait().await;
        assert!(stop.is_stopped());
    }
}
