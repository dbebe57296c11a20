//! Warehouses in memory, chunks, and a store that loses answers: for tests here and of queries.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::{Files, Warehouse};
use crate::buffer::{Chunk, ChunkKey};
use crate::event::{BatchBuilder, EventTime, Record, Tag, Value};
use crate::output::service::testing::configured;

/// What a put of the store meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It is refused before anything is stored.
    Refuse,
    /// It is stored, and the answer is lost.
    Swallow,
}

/// A store in memory whose puts of some names fail.
#[derive(Debug, Default)]
pub struct Faulty {
    inner: InMemory,
    /// Parts of names, and what the next put of such a name meets.
    plan: Mutex<VecDeque<(&'static str, Conduct)>>,
}

impl Faulty {
    /// The next put of a name with this part.
    pub fn next(&self, part: &'static str, conduct: Conduct) {
        self.plan.lock().unwrap().push_back((part, conduct));
    }

    /// Whether every fault was met.
    pub fn is_through(&self) -> bool {
        self.plan.lock().unwrap().is_empty()
    }

    fn meets(&self, location: &Path) -> Option<Conduct> {
        let mut plan = self.plan.lock().unwrap();
        let place = plan.iter().position(|(part, _)| location.as_ref().contains(part))?;
        plan.remove(place).map(|(_, conduct)| conduct)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn failed() -> Error {
    Error::Generic { store: "faulty", source: "on purpose".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.meets(location) {
            Some(Conduct::Refuse) => Err(failed()),
            Some(Conduct::Swallow) => {
                self.inner.put_opts(location, payload, options).await?;
                Err(failed())
            }
            None => self.inner.put_opts(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(failed())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A warehouse of these parameters, or what the check says of them.
pub fn build(parameters: &str) -> std::result::Result<Warehouse, String> {
    let text = format!("<match>\n@type warehouse\n{parameters}\n</match>\n");
    configured(&text, true).map(|(warehouse, _)| warehouse).map_err(|faults| faults.render())
}

/// A warehouse in a store.
pub fn warehouse(parameters: &str, store: &Arc<Faulty>) -> Warehouse {
    let built = build(&format!("url s3://memory/w\n{parameters}")).unwrap_or_else(|why| panic!("{why}"));
    let _ = built.shared.files.set(files(store));
    built
}

/// The files of such a warehouse.
pub fn files(store: &Arc<Faulty>) -> Files {
    Files::over(store.clone(), "w/", "s3://memory/w")
}

/// A row: seconds since the epoch, and fields.
pub type Row<'a> = (i64, Vec<(&'a str, Value<'a>)>);

/// A chunk of rows under a tag.
pub fn chunk(tag: &str, rows: &[Row<'_>]) -> Chunk {
    let mut batch = BatchBuilder::new();
    for (time, fields) in rows {
        let mut record = Record::new();
        fields.iter().for_each(|(name, value)| record.push(name.as_bytes(), *value));
        batch.push(EventTime::from_secs(*time), &record);
    }
    let tag = Tag::from(tag);
    Chunk::of(ChunkKey { tag: Some(tag.clone()), ..ChunkKey::default() }, &batch.finish(tag))
}
