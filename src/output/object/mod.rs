//! From a sealed chunk to an object: what `s3`, `gcs`, `azurestorage` and `object` have in common.
//!
//! The rule that keeps a lost answer from doubling anything: a name is a pure function of the chunk and a number, and an
//! object is created only where its name is free. Where it is taken, the object's metadata say which chunk it was made
//! from. The same: an earlier attempt went through, done. Another: the next number. Nobody is asked ahead of time, but for
//! objects of several parts, and for numbers behind one that was found taken.

mod address;
mod aws;
mod azure;
mod connect;
mod directory;
mod encode;
mod extras;
mod fault;
mod gcp;
mod name;
mod params;
mod service;
mod signer;
mod slice;
mod store;

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use self::address::{Address, Target};
pub use self::aws::{Bucket, BucketError, DEFAULT_REGION, Library, LifecycleRule, Place};
pub use self::azure::Container;
pub use self::connect::{Connection, certificates};
pub use self::directory::Directory;
pub use self::encode::StoreAs;
pub use self::extras::{Checksum, Extras};
pub use self::fault::judge;
pub use self::gcp::GcsBucket;
pub use self::name::{HexDigits, KeyParams};
use self::params::render;
pub use self::params::{Compressed, store_as};
pub use self::service::Service;
pub use self::signer::Signer;
pub use self::store::Store;

use self::encode::{PART_BYTES, Parts};
use self::name::{Key, KeyFormat};
use self::store::{Found, Object, Put};
use crate::buffer::Chunk;
use crate::config::{Diagnostic, Pairs};
use crate::plugin::{BufferDefaults, BuildContext, Render, Template, WriteError};

/// Numbers tried for one name before the store is taken to be in disorder.
const MAX_INDEX: u32 = 100_000;

/// Names that are remembered as taken. They save questions, no more; when there are more, all are forgotten.
const MAX_TAKEN: usize = 16_384;

/// Length of time slices where nothing is said.
const TIMEKEY: Duration = Duration::from_secs(slice::DAY);

/// How long one chunk may take: several parts, each within the client's time-outs.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// The part of an output that all stores share.
pub struct Objects {
    names: KeyFormat,
    render: Render,
    store_as: StoreAs,
    metadata: Vec<(String, Template)>,
    overwrite: bool,
    warn_for_delay: Option<Duration>,
    part: usize,
    store: OnceLock<Store>,
    /// Names and the ids of the chunks they belong to.
    taken: Mutex<HashMap<String, String>>,
}

/// What an output says about its objects.
pub struct ObjectParams<'a> {
    /// Their names.
    pub key: KeyParams<'a>,
    /// How they are packed.
    pub store_as: StoreAs,
    /// More about that.
    pub compress: Option<&'a Compressed>,
    /// The events' form, where `<format>` does not decide about it.
    pub render: Option<Render>,
    /// Whether an object of the same name is replaced.
    pub overwrite: bool,
    /// Metadata, with the parameter's name.
    pub metadata: Option<(&'static str, &'a Pairs)>,
    /// Older slices are warned of.
    pub warn_for_delay: Option<Duration>,
}

/// Says how the output is buffered: by time, a day to a slice, in files where it is known where those may be.
pub fn buffer_defaults(cx: &mut BuildContext<'_>) {
    let at_root = cx.process.root_dir.is_some() && cx.section.id().is_some();
    let file = at_root || cx.section.child("buffer").is_some_and(|buffer| buffer.has("path"));
    cx.buffer_defaults(BufferDefaults {
        buffered: true,
        file,
        keys: &["time"],
        timekey: Some(TIMEKEY),
        ..BufferDefaults::default()
    });
    let kind = cx.section.child("buffer").and_then(|buffer| buffer.plugin_type());
    if !file && kind.is_none() {
        let remedy = "events wait for their object in memory alone, up to a day. Give <buffer> a path, or set root_dir in \
                      <system> and an @id here; '@type memory' in <buffer> says that it is meant";
        cx.warn("@type", remedy);
    }
}

impl Objects {
    /// Reads what all stores share.
    pub fn new(params: ObjectParams<'_>, cx: &mut BuildContext<'_>) -> Result<Objects, Diagnostic> {
        let names = KeyFormat::new(&params.key, cx)?;
        let mut metadata = Vec::new();
        if let Some((parameter, pairs)) = params.metadata {
            for pair in pairs {
                check_metadata(&pair.name, pair.text()).map_err(|why| cx.fault(parameter, why))?;
                metadata.push((pair.name.clone(), Template::new(pair.text(), parameter, cx)?));
            }
        }
        if params.overwrite && names.has_index() {
            let remedy = "overwrite has no effect here: the key format has %{index}, and a taken number is passed over";
            cx.warn("overwrite", remedy);
        }
        Ok(Objects {
            overwrite: params.overwrite && !names.has_index(),
            names,
            render: match params.render {
                Some(render) => render,
                None => render(params.store_as, params.compress, cx)?,
            },
            store_as: params.store_as,
            metadata,
            warn_for_delay: params.warn_for_delay,
            part: PART_BYTES,
            store: OnceLock::new(),
            taken: Mutex::default(),
        })
    }

    /// The store that objects go to from now on. Called once.
    pub fn open(&self, store: Store) {
        // Started once; a second store would only replace an unused one.
        let _ = self.store.set(store);
    }

    /// Stores a chunk as one object.
    pub async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.store(chunk).await.map(drop)
    }

    /// As [`write`](Self::write); gives the object's name.
    pub async fn store(&self, chunk: &Chunk) -> Result<String, WriteError> {
        let key = self.names.key(chunk).map_err(WriteError::Reject)?;
        let name = self.deliver(self.opened()?, chunk, &key).await?;
        self.report(chunk, &name);
        Ok(name)
    }

    /// Stores bytes that follow from a chunk beside its object. The same bytes may be there already.
    pub async fn put_beside(&self, name: &str, body: Vec<u8>) -> Result<(), WriteError> {
        self.opened()?.put_bytes(name, body).await
    }

    /// Bytes of an object.
    pub async fn size(&self, name: &str) -> Result<u64, WriteError> {
        self.opened()?.size(name).await
    }

    fn opened(&self) -> Result<&Store, WriteError> {
        self.store.get().ok_or_else(|| WriteError::Retry("the output was not started".into()))
    }

    fn parts<'a>(&'a self, chunk: &'a Chunk) -> Result<Parts<'a>, WriteError> {
        Ok(Parts::new(chunk, &self.render, self.store_as, self.part)?)
    }

    /// Finds the chunk's name, or gives it one. Gives the name.
    async fn deliver(&self, store: &Store, chunk: &Chunk, key: &Key) -> Result<String, WriteError> {
        let id = chunk.id().to_string();
        let mut crowded = chunk.bytes() > self.part as u64;
        for index in 0..MAX_INDEX {
            let name = key.with(index);
            match self.owner(&name) {
                Some(owner) if owner == id => return Ok(self.recognised(store, name, &id).await),
                Some(_) if !self.overwrite => continue,
                _ => {}
            }
            if self.overwrite || !crowded || !self.is_taken(store, &name, &id, Asking::Ahead).await? {
                match self.put(store, chunk, &name, &id, index).await? {
                    Put::Done => return Ok(self.note(name, id)),
                    Put::Exists => {
                        if !self.is_taken(store, &name, &id, Asking::Behind).await? {
                            return Err(conflict(&name));
                        }
                    }
                }
            }
            if self.owner(&name).is_some_and(|owner| owner == id) {
                return Ok(self.recognised(store, name, &id).await);
            }
            crowded = true;
        }
        Err(WriteError::Retry(format!("{}: {MAX_INDEX} objects of this name are there already", key.stem())))
    }

    /// The chunk is stored under this name already.
    async fn recognised(&self, store: &Store, name: String, id: &str) -> String {
        tracing::info!("{name} is there already: an earlier attempt went through, its answer was lost");
        if let Store::Cloud(cloud) = store {
            cloud.clear_up(&name, id).await;
        }
        name
    }

    /// Asks whose name it is, and remembers the answer.
    async fn is_taken(&self, store: &Store, name: &str, id: &str, asking: Asking) -> Result<bool, WriteError> {
        match (store.find(name).await?, asking) {
            (Found::Nothing, _) => Ok(false),
            // The put will tell.
            (Found::Hidden, Asking::Ahead) => Ok(false),
            (Found::Hidden, Asking::Behind) => Err(hidden(name)),
            (Found::Owner(owner), _) => {
                let owner = owner.unwrap_or_else(|| "somebody else".into());
                tracing::debug!("{name} belongs to chunk {owner}, this is {id}");
                self.note(name.to_owned(), owner);
                Ok(true)
            }
        }
    }

    async fn put(&self, store: &Store, chunk: &Chunk, name: &str, id: &str, index: u32) -> Result<Put, WriteError> {
        let mut metadata = Vec::with_capacity(self.metadata.len());
        for (field, template) in &self.metadata {
            let value = template.expand(chunk, header_part).map_err(WriteError::Reject)?;
            metadata.push((field.clone(), value.replace("%{index}", &index.to_string())));
        }
        let object = Object { name, id, metadata: &metadata, overwrite: self.overwrite };
        store.put(&object, self.parts(chunk)?).await
    }

    fn owner(&self, name: &str) -> Option<String> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn note(&self, name: String, owner: String) -> String {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= MAX_TAKEN {
            taken.clear();
        }
        taken.insert(name.clone(), owner);
        name
    }

    fn report(&self, chunk: &Chunk, name: &str) {
        tracing::debug!("chunk {} is stored as {name}", chunk.id());
        let Some((longest, slice)) = self.warn_for_delay.zip(chunk.key().time) else { return };
        let slice = UNIX_EPOCH + Duration::from_secs(slice.max(0) as u64);
        if SystemTime::now().duration_since(slice).is_ok_and(|age| age > longest) {
            tracing::warn!("delayed events were stored as {name}");
        }
    }
}

/// Metadata are headers: names of letters, digits, `-` and `_`, values of plain ASCII.
fn check_metadata(name: &str, value: &str) -> Result<(), String> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(named) || name.eq_ignore_ascii_case(store::ID_METADATA) {
        return Err(format!("{name:?} can't be the name of metadata: write letters, digits, - and _"));
    }
    match value.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(format!("the value of metadata {name:?} has other characters than plain ASCII")),
    }
}

/// When a name is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// Before a put.
    Ahead,
    /// Behind a put that was refused because the name is taken.
    Behind,
}

fn hidden(name: &str) -> WriteError {
    let why = "the name is taken, and this key may not look whose object it is. What helps: allow it to look at objects \
               (s3:GetObject, storage.objects.get), or give names that are not shared, with ${chunk_id} or %{hex_random}";
    WriteError::Retry(format!("{name}: {why}"))
}

fn conflict(name: &str) -> WriteError {
    let why = "the store refused it as taken, but nothing is there: another upload of this name may be under way";
    WriteError::Retry(format!("{name}: {why}"))
}

/// A value of an event in a header: what is not plain ASCII is escaped.
fn header_part(value: &str) -> Option<String> {
    Some(percent_encoding::utf8_percent_encode(value, percent_encoding::CONTROLS).to_string())
}

#[cfg(test)]
mod tests;
