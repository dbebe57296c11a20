//! Following a queue: its messages say which objects are new. A message is deleted once all of its objects are in custody, and
//! hidden from other readers until then.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Object;
use super::notice::{self, Named};
use super::params::SqsParams;
use super::place::{Bucket, Found, Place};
use super::queue::{Message, Queue, Reached};
use crate::plugin::{Emitter, Stop};

/// Pause after a look that SQS did not wait for and that found nothing.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);
/// How long a stop waits for a message to be deleted.
const PARTING: Duration = Duration::from_secs(2);
/// What is shown of a message that can't be read, in characters.
const SHOWN: usize = 256;
/// Messages are hidden again at this part of the time that they are hidden for.
const RENEWALS: u32 = 3;

/// What becomes of a message: with several objects, the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// There is nothing left to do about it.
    Done,
    /// It is not for us: it is left to its reader, or to the queue's redrive policy.
    Foreign,
    /// It is tried again once the queue shows it again.
    Again,
}

/// What became of looking for an object.
enum Sought {
    /// It is there.
    Found(Found),
    /// The parameters leave it out.
    Unwanted,
    /// It is there no more.
    Gone,
}

/// The messages at hand: their handles, for as long as they are to be hidden.
struct Held(Mutex<Vec<String>>);

impl Held {
    fn all(&self) -> MutexGuard<'_, Vec<String>> {
        // Every change under the lock is whole by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hides them again and again.
    async fn renew(&self, queue: &Reached<'_>) -> Infallible {
        let mut is_said = false;
        loop {
            tokio::time::sleep(queue.hidden / RENEWALS).await;
            let handles = self.all().clone();
            let Err(why) = queue.hide(&handles, queue.hidden).await else { continue };
            if !is_said {
                let time = queue.hidden;
                tracing::warn!(
                    "{why}. Messages whose objects take longer than {time:?} come again, and are passed over"
                );
                is_said = true;
            }
        }
    }
}

/// What following needs.
pub(super) struct Following<'f> {
    /// Who reads objects.
    pub object: &'f Object,
    /// What `<sqs>` says.
    pub params: &'f SqsParams,
    /// The bucket that messages must be about.
    pub bucket: Arc<Bucket>,
    /// Where events go.
    pub emit: Emitter,
}

impl Following<'_> {
    /// Reads what messages name, until told to stop. Errors of the queue only delay it.
    pub async fn run(&self, queue: &Queue, stop: &mut Stop) {
        let pause = self.params.retry_error_interval.duration();
        loop {
            let outcome = match stop.or(queue.reach()).await {
                None => return,
                Some(Ok(reached)) => self.poll(&reached, stop).await,
                Some(Err(why)) => Err(why),
            };
            let Err(why) = outcome else { return };
            tracing::error!("{why}; tried again in {pause:?}");
            if stop.or(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Receives messages, until told to stop.
    async fn poll(&self, queue: &Reached<'_>, stop: &mut Stop) -> Result<(), String> {
        loop {
            let Some(received) = stop.or(queue.receive()).await else { return Ok(()) };
            let messages = received?;
            if messages.is_empty() && self.params.wait_time_seconds == 0 {
                let _ = stop.or(tokio::time::sleep(EMPTY_PAUSE)).await;
            }
            let held = Held(Mutex::new(messages.iter().map(|message| message.receipt_handle.clone()).collect()));
            tokio::select! {
                biased;
                () = self.work(messages, queue, &held, stop) => {}
                never = held.renew(queue) => match never {},
            }
        }
    }

    /// Works off messages, one after the other. Those that a stop leaves come again.
    async fn work(&self, messages: Vec<Message>, queue: &Reached<'_>, held: &Held, stop: &mut Stop) {
        for message in messages {
            if stop.is_stopped() {
                return;
            }
            let fate = self.fate(&message, stop).await;
            held.all().retain(|handle| *handle != message.receipt_handle);
            self.settle(&message, fate, queue, stop).await;
        }
    }

    async fn settle(&self, message: &Message, fate: Fate, queue: &Reached<'_>, stop: &mut Stop) {
        let pause = match fate {
            Fate::Done if self.params.skip_delete => return,
            Fate::Done => {
                let deleted = queue.delete(&message.receipt_handle);
                if let Some(Err(why)) = before_parting(deleted, stop).await {
                    tracing::warn!("{why}; message {} comes again, and its objects are passed over", message.id);
                }
                return;
            }
            // No longer than it is hidden already: the next run is to have it soon.
            Fate::Again if stop.is_stopped() => return,
            Fate::Again => queue.hidden,
            Fate::Foreign => self.params.retry_error_interval.duration(),
        };
        let hidden = queue.hide(std::slice::from_ref(&message.receipt_handle), pause);
        if let Some(Err(why)) = before_parting(hidden, stop).await {
            tracing::debug!("{why}; message {} comes again as soon as the queue shows it", message.id);
        }
    }

    /// Reads the objects of a message.
    async fn fate(&self, message: &Message, stop: &mut Stop) -> Fate {
        let objects = match notice::read(&message.body) {
            Ok(objects) => objects,
            Err(why) => {
                let shown: String = message.body.chars().take(SHOWN).collect();
                let id = &message.id;
                tracing::warn!("message {id} is left in the queue, it is no notification of S3 ({why}): {shown:?}");
                return Fate::Foreign;
            }
        };
        let mut fate = Fate::Done;
        for object in &objects {
            fate = fate.max(self.object(message, object, stop).await);
        }
        fate
    }

    async fn object(&self, message: &Message, named: &Named, stop: &mut Stop) -> Fate {
        let shown = format!("s3://{}/{}", named.bucket, named.names.first().map_or("", String::as_str));
        if named.bucket != self.bucket.name {
            tracing::warn!("message {} is left in the queue, it is about another bucket: {shown}", message.id);
            return Fate::Foreign;
        }
        if stop.is_stopped() {
            return Fate::Again;
        }
        let outcome = match self.find(named).await {
            Ok(Sought::Found(found)) => self.take(&found, stop).await,
            Ok(Sought::Unwanted) => Ok(Fate::Done),
            Ok(Sought::Gone) => {
                tracing::warn!("{shown} is gone, message {} is done with", message.id);
                Ok(Fate::Done)
            }
            Err(why) => Err(why),
        };
        match outcome {
            Ok(fate) => fate,
            Err(_) if stop.is_stopped() => Fate::Again,
            Err(why) => {
                tracing::error!("{shown}: {why}; it is tried again when message {} comes again", message.id);
                Fate::Again
            }
        }
    }

    /// Looks for an object, under each of the names that it may have.
    async fn find(&self, named: &Named) -> Result<Sought, String> {
        let is_wanted = |name: &&String| name.starts_with(&self.bucket.prefix) && self.object.wants_name(name);
        let mut sought = Sought::Unwanted;
        for name in named.names.iter().filter(is_wanted) {
            match self.bucket.about(name).await? {
                Some(found) if self.object.wants(&found) => return Ok(Sought::Found(found)),
                Some(_) => return Ok(Sought::Unwanted),
                None => sought = Sought::Gone,
            }
        }
        Ok(sought)
    }

    /// Takes an object into custody, unless it was before.
    async fn take(&self, found: &Found, stop: &mut Stop) -> Result<Fate, String> {
        if !self.object.done().has(found) {
            self.object.take(&Place::S3(self.bucket.clone()), found, &self.emit, stop).await?;
        }
        // A stop may have come before memory buffers had delivered it.
        Ok(if self.object.done().has(found) { Fate::Done } else { Fate::Again })
    }
}

/// Runs `work` to its end, or gives `None` a moment after a stop.
async fn before_parting<T>(work: impl Future<Output = T>, stop: &mut Stop) -> Option<T> {
    let parting = async {
        stop.wait().await;
        tokio::time::sleep(PARTING).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = parting => None,
    }
}
