//! `object` and `s3`: objects of a bucket, or files of a directory, as events.
//!
//! What there is is listed every `interval`, or messages of a queue name it (`follow`); an object that is new, or changed, is
//! read from its beginning. Each batch is stamped with the object (place, name, etag) and its position in the unpacked text, so
//! buffers pass over what they have.
//! An object is noted in `position_file` once all of it is in custody.

mod done;
mod follow;
mod notice;
mod params;
mod place;
mod queue;
mod read;

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use url::Url;

pub use self::params::ObjectParams;

use self::done::DoneList;
use self::follow::Following;
use self::params::{SqsParams, Target};
use self::place::{Bucket, Found, Place};
use self::queue::Queue;
use self::read::{Piece, Reading};
use crate::buffer::{Origin, Receipt};
use crate::config::{Diagnostic, Secret};
use crate::event::{EventTime, Tag};
use crate::net::aws::{Keychain, Source};
use crate::net::http::{AwsCredentials, AwsScope, Client, ClientOptions, MAX_ANSWER_BYTES};
use crate::net::tls::{ClientSettings, ClientTls};
use crate::plugin::{BuildContext, Configure, EmitError, Emitter, Input, InputError, Parser, Stop};

/// Pieces that are read ahead of those that are stored.
const AHEAD: usize = 2;
/// Waits between attempts while a buffer has no room: the first and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Width of the bar that shows how far it is, in characters.
const BAR: u64 = 30;

/// The input.
pub struct Object {
    params: ObjectParams,
    target: Target,
    parser: Arc<dyn Parser>,
    from: Option<i64>,
    to: Option<i64>,
    endpoint: Option<Url>,
    done: Arc<Mutex<DoneList>>,
}

impl Configure for Object {
    type Config = ObjectParams;

    fn new(params: ObjectParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        params.check(cx)?;
        let endpoint = params.endpoint.as_deref().map(Url::parse).transpose();
        Ok(Object {
            target: params.target(cx)?,
            from: params.moment("from", &params.from, cx)?,
            to: params.moment("to", &params.to, cx)?,
            endpoint: endpoint.map_err(|e| cx.fault("endpoint", format!("it is no address: {e}")))?,
            parser: cx.parser(Some("json"))?,
            done: Arc::default(),
            params,
        })
    }
}

/// How a pass over all objects ended.
#[derive(Default)]
struct Pass {
    taken: u64,
    failed: u64,
}

impl Input for Object {
    async fn open(&mut self) -> Result<(), InputError> {
        if let Some(path) = &self.params.position_file {
            let list =
                DoneList::open(path).map_err(|e| InputError(format!("position_file {}: {e}", path.display())))?;
            self.done = Arc::new(Mutex::new(list));
        }
        if self.params.sqs.is_some() {
            self.done().forget_oldest();
        }
        Ok(())
    }

    async fn run(self, emit: Emitter, mut stop: Stop) -> Result<(), InputError> {
        let place = self.place()?;
        if let (Some(params), Place::S3(bucket)) = (&self.params.sqs, &place) {
            let queue = self.queue(params)?;
            Following { object: &self, params, bucket: bucket.clone(), emit }.run(&queue, &mut stop).await;
            return Ok(());
        }
        loop {
            match self.pass(&place, &emit, &mut stop).await {
                Ok(pass) if pass.failed > 0 && self.params.once => {
                    return Err(InputError(format!("{} objects could not be read to their end", pass.failed)));
                }
                Ok(pass) => tracing::debug!("{}: {} objects were taken", place.shown(), pass.taken),
                Err(why) if self.params.once => return Err(InputError(why)),
                Err(why) => tracing::error!("{why}; tried again in {:?}", self.params.interval.duration()),
            }
            if self.params.once || stop.or(tokio::time::sleep(self.params.interval.duration())).await.is_none() {
                return Ok(());
            }
        }
    }
}

impl Object {
    fn place(&self) -> Result<Place, InputError> {
        let (bucket, prefix) = match &self.target {
            Target::Files(dir) => return Ok(Place::Files(dir.clone())),
            Target::S3 { bucket, prefix } => (bucket, prefix),
        };
        let region = self.region();
        let url = match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}/", endpoint.as_str().trim_end_matches('/')),
            None => format!("https://s3.{region}.amazonaws.com/{bucket}/"),
        };
        Ok(Place::S3(Arc::new(Bucket {
            url: Url::parse(&url).map_err(|e| InputError(format!("{url:?}: {e}")))?,
            name: bucket.clone(),
            prefix: prefix.clone(),
            client: client(MAX_ANSWER_BYTES),
            keychain: Keychain::new(source(self.params.aws_key_id.as_ref(), self.params.aws_sec_key.as_ref()), &region),
            scope: AwsScope { service: "s3".into(), region },
        })))
    }

    fn region(&self) -> String {
        let region = self.params.region.clone().or_else(|| std::env::var("AWS_REGION").ok());
        region.filter(|r| !r.is_empty()).unwrap_or_else(|| "us-east-1".into())
    }

    fn queue(&self, sqs: &SqsParams) -> Result<Queue, InputError> {
        let region = sqs.region.clone().unwrap_or_else(|| self.region());
        let ending = if region.starts_with("cn-") { ".cn" } else { "" };
        let url = sqs.endpoint.clone().unwrap_or_else(|| format!("https://sqs.{region}.amazonaws.com{ending}/"));
        let (id, secret) = match &sqs.aws_key_id {
            Some(_) => (&sqs.aws_key_id, &sqs.aws_sec_key),
            None => (&self.params.aws_key_id, &self.params.aws_sec_key),
        };
        Ok(Queue {
            name: sqs.queue_name.clone(),
            owner: sqs.queue_owner_aws_account_id.clone(),
            url: Url::parse(&url).map_err(|e| InputError(format!("{url:?}: {e}")))?,
            wait: sqs.wait_time_seconds,
            client: client(queue::LARGEST_ANSWER),
            keychain: Keychain::new(source(id.as_ref(), secret.as_ref()), &region),
            scope: AwsScope { service: "sqs".into(), region },
        })
    }

    fn wants_name(&self, name: &str) -> bool {
        !name.ends_with('/') && self.params.match_regexp.as_ref().is_none_or(|r| r.is_match(name.as_bytes()))
    }

    fn wants(&self, found: &Found) -> bool {
        let written =
            self.from.is_none_or(|from| found.modified >= from) && self.to.is_none_or(|to| found.modified < to);
        written && found.size > 0 && self.wants_name(&found.name)
    }

    fn done(&self) -> std::sync::MutexGuard<'_, DoneList> {
        // Every change under the lock is whole by itself.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Objects and their bytes that a pass will meet.
    async fn total(&self, place: &Place) -> Result<(u64, u64), String> {
        let (mut sum, mut from) = ((0, 0), None);
        loop {
            let page = place.list(from.as_deref()).await?;
            let wanted = page.objects.iter().filter(|found| self.wants(found));
            wanted.for_each(|found| sum = (sum.0 + 1, sum.1 + found.size));
            from = page.next;
            if from.is_none() {
                return Ok(sum);
            }
        }
    }

    /// Reads what is new, page by page.
    async fn pass(&self, place: &Place, emit: &Emitter, stop: &mut Stop) -> Result<Pass, String> {
        let total = if self.params.progress { Some(self.total(place).await?) } else { None };
        let (mut pass, mut bytes, mut seen, mut from) = (Pass::default(), 0, 0, None);
        loop {
            let page = place.list(from.as_deref()).await?;
            for found in page.objects.iter().filter(|found| self.wants(found)) {
                if stop.is_stopped() {
                    return Ok(pass);
                }
                if !self.done().has(found) {
                    match self.take(place, found, emit, stop).await {
                        Ok(()) => pass.taken += 1,
                        Err(_) if stop.is_stopped() => return Ok(pass),
                        Err(why) => {
                            pass.failed += 1;
                            tracing::error!(
                                "{}/{}: {why}; it is tried again with the next look",
                                place.shown(),
                                found.name
                            );
                        }
                    }
                }
                (bytes, seen) = (bytes + found.size, seen + 1);
                show(total, seen, bytes);
            }
            from = page.next;
            if from.is_none() {
                return Ok(pass);
            }
        }
    }

    /// Reads one object into custody.
    async fn take(&self, place: &Place, found: &Found, emit: &Emitter, stop: &mut Stop) -> Result<(), String> {
        let stream: Arc<str> = format!("object:{}/{}#{}", place.shown(), found.name, found.etag).into();
        let more = match self.params.add_object_metadata {
            true => vec![("s3_bucket".to_owned(), place.shown()), ("s3_key".to_owned(), found.name.clone())],
            false => Vec::new(),
        };
        let reading = Reading {
            parser: self.parser.clone(),
            tag: Tag::from(self.params.tag.as_str()),
            time: EventTime::from_secs(found.modified),
            store_as: self.params.store_as,
            more,
            cuts: emit.held(&stream),
        };
        let (send, mut pieces) = mpsc::channel::<Piece>(AHEAD);
        let (place, object, runtime) = (place.clone(), found.clone(), Handle::current());
        let reader = tokio::task::spawn_blocking(move || {
            let stored = place.open(&object, &runtime)?;
            reading.run(stored, |piece| send.blocking_send(piece).is_ok())
        });
        let mut receipts: Option<Receipt> = None;
        let mut outcome = Ok(());
        while let Some(piece) = pieces.recv().await {
            match self.store(piece, &stream, emit, stop).await {
                Ok(receipt) => {
                    receipts = Some(match receipts {
                        Some(all) => all.merge(receipt),
                        None => receipt,
                    });
                }
                Err(why) => {
                    outcome = Err(why);
                    break;
                }
            }
        }
        // The reader ends once nobody takes its pieces.
        drop(pieces);
        let read = reader.await.map_err(|e| e.to_string())?;
        outcome?;
        read.map_err(|e| e.to_string())?;
        self.finish(found, receipts, emit, stop).await
    }

    async fn store(&self, piece: Piece, stream: &Arc<str>, emit: &Emitter, stop: &mut Stop) -> Result<Receipt, String> {
        if let Some((lines, why)) = piece.unread {
            emit.fail(lines, &why).await;
        }
        let origin = Origin::Stream { stream: stream.clone(), upto: piece.upto };
        let mut wait = FIRST_WAIT;
        loop {
            match emit.emit_from(piece.events.clone(), origin.clone()).await {
                Ok(receipt) => return Ok(receipt),
                Err(EmitError::Full(why)) if !stop.is_stopped() => {
                    tracing::debug!(%why, "no room, waiting");
                    let _ = stop.or(tokio::time::sleep(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(e) => return Err(e.to_string()),
            }
        }
    }

    /// Notes an object whose events are all in custody.
    async fn finish(
        &self,
        found: &Found,
        receipts: Option<Receipt>,
        emit: &Emitter,
        stop: &mut Stop,
    ) -> Result<(), String> {
        let Some(receipt) = receipts.filter(|receipt| !receipt.is_durable()) else {
            return self.done().add(found).map_err(|e| e.to_string());
        };
        // Memory holds it until its output has it.
        match stop.or(receipt.delivered()).await {
            Some(true) => self.done().add(found).map_err(|e| e.to_string()),
            Some(false) => Err("its events were not delivered".into()),
            None => {
                let (done, found) = (self.done.clone(), found.clone());
                emit.linger(async move {
                    if receipt.delivered().await
                        && let Err(e) = done.lock().unwrap_or_else(PoisonError::into_inner).add(&found)
                    {
                        tracing::error!("{}: {e}", found.name);
                    }
                });
                Ok(())
            }
        }
    }
}

/// Who signs: the keys, or what the usual places have.
fn source(id: Option<&Secret>, secret: Option<&Secret>) -> Source {
    id.zip(secret).map_or(Source::Chain, |(id, secret)| {
        let access_key = id.expose().to_owned();
        Source::Static(AwsCredentials { access_key, secret_key: secret.clone(), session_token: None })
    })
}

fn client(largest_answer: usize) -> Client {
    let tls = ClientTls::open(&ClientSettings { system_roots: true, ..ClientSettings::default() });
    Client::new(ClientOptions { tls: tls.ok(), largest_answer, ..ClientOptions::default() })
}

/// A bar on standard error; nothing where no total is known.
fn show(total: Option<(u64, u64)>, seen: u64, bytes: u64) {
    let Some((objects, all)) = total else { return };
    let share = (bytes * BAR).checked_div(all).unwrap_or(BAR).min(BAR);
    let bar = format!("{}{}", "#".repeat(share as usize), ".".repeat((BAR - share) as usize));
    let end = if seen == objects { "\n" } else { "" };
    // Nobody may be there to look.
    let _ = write!(std::io::stderr(), "\r[{bar}] {seen}/{objects} objects, {bytes}/{all} bytes{end}");
}
