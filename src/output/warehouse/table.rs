//! One table: which version of its metadata is in force, and how the next one comes to be.
//!
//! The metadata are Iceberg's (format 2), kept as a Hadoop table keeps them: `metadata/v1.metadata.json`, `v2`, ... and
//! `metadata/version-hint.text`. A commit is the creation of the next number, which must be free: of two that try, one
//! wins, and the other reads what won and tries again. The hint may lag behind; who reads looks for higher numbers.
//!
//! Old versions are removed only after hours (`maintain`), and a writer never builds on a version that it has read longer ago
//! than [`STALE`]: so a number that is free has never been used.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use iceberg::spec::{
    DataFile, Manifest, ManifestContentType, ManifestEntry, ManifestFile, ManifestList, SnapshotRef, TableMetadata,
};

use super::fault::{Done, Fault};
use super::files::Files;

/// How long a version that was read may be built upon without another look at the store.
pub const FRESH: Duration = Duration::from_secs(600);

/// How long ago the store may have been looked at when a commit is sent. A process that was stopped meanwhile for longer
/// starts anew: the number that it was going to use may have been used and removed since.
const STALE: Duration = Duration::from_secs(3_600);

/// One version of a table. Never changes.
#[derive(Debug)]
pub struct Version {
    /// Its number.
    pub number: u64,
    /// What it says.
    pub metadata: TableMetadata,
    /// Bytes of the file that says it.
    pub bytes: usize,
}

/// A version, and when it was looked at.
type Known = (Arc<Version>, SystemTime);

/// A table by its place.
#[derive(Clone, Debug)]
pub struct Table {
    /// The warehouse's files.
    pub files: Files,
    /// Directory below the root: schema, slash, name.
    pub directory: Arc<str>,
    /// As queries name it: schema, dot, name.
    pub name: Arc<str>,
    known: Arc<Mutex<Option<Known>>>,
}

/// A data file, with where it stands in the catalog.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What the manifest says.
    pub entry: ManifestEntry,
}

impl Entry {
    /// The file.
    pub fn file(&self) -> &DataFile {
        self.entry.data_file()
    }
}

impl Table {
    /// The table of this name, whether it is there or not.
    pub fn new(files: &Files, schema: &str, name: &str) -> Table {
        Table {
            files: files.clone(),
            directory: format!("{schema}/{name}").into(),
            name: format!("{schema}.{name}").into(),
            known: Arc::default(),
        }
    }

    /// A name below the table's directory, from the root.
    pub fn inside(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// Name of a version's file.
    pub fn version_file(&self, number: u64) -> String {
        self.inside(&format!("metadata/v{number}.metadata.json"))
    }

    fn hint_file(&self) -> String {
        self.inside("metadata/version-hint.text")
    }

    /// A file that the metadata name, by its name here. A warehouse that was moved as a whole still reads.
    ///
    /// Errors: a file outside of the table.
    pub fn resolve(&self, metadata: &TableMetadata, url: &str) -> Done<String> {
        let inside =
            url.strip_prefix(metadata.location().trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
        let outside = || Fault(format!("table {} names {url}, which is not below {}", self.name, metadata.location()));
        Ok(self.inside(inside.ok_or_else(outside)?))
    }

    /// The version in force; `None` where there is no such table. What was read a while ago is looked at again.
    pub async fn load(&self) -> Done<Option<Arc<Version>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let least = match &known {
            Some((version, _)) => version.number,
            None => 0,
        };
        let newest = match self.newest(least).await? {
            Some(number) => number,
            None => {
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(None);
            }
        };
        if let Some((version, _)) = known.filter(|(version, _)| version.number == newest) {
            self.remember(&version);
            return Ok(Some(version));
        }
        let bytes = self.files.need(&self.version_file(newest)).await?;
        let version = Arc::new(Version { number: newest, metadata: self.read(newest, &bytes)?, bytes: bytes.len() });
        self.remember(&version);
        Ok(Some(version))
    }

    /// As [`load`](Self::load), without asking the store where that was done a moment ago.
    pub async fn current(&self) -> Done<Option<Arc<Version>>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The clock of the wall: one that stands still while the machine sleeps would hide how old this is.
        match known.filter(|(_, at)| at.elapsed().is_ok_and(|age| age < FRESH)) {
            Some((version, _)) => Ok(Some(version)),
            None => self.load().await,
        }
    }

    /// What was read is not relied on any more.
    pub fn forget(&self) {
        if let Some((_, at)) = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner) {
            *at = SystemTime::UNIX_EPOCH;
        }
    }

    /// Whether the store was looked at within this time.
    fn is_fresh(&self, within: Duration) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().is_some_and(|(_, at)| at.elapsed().is_ok_and(|age| age < within))
    }

    fn remember(&self, version: &Arc<Version>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((version.clone(), SystemTime::now()));
    }

    fn read(&self, number: u64, bytes: &[u8]) -> Done<TableMetadata> {
        serde_json::from_slice(bytes).map_err(|e| {
            let place = format!("{}/{}", self.files.location(), self.version_file(number));
            Fault(format!(
                "{place} is no Iceberg metadata ({e}): table {} can't be used until it is mended. What helps: put a whole \
                 copy in its place, or, if there is none, take it away and write {} into version-hint.text",
                self.name,
                number.saturating_sub(1)
            ))
        })
    }

    /// The highest version there is; `least` was there once.
    async fn newest(&self, least: u64) -> Done<Option<u64>> {
        let hint = self.files.get(&self.hint_file()).await?;
        let hinted = hint.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<u64>().ok());
        let mut newest = hinted.unwrap_or(0).max(least);
        if hinted.is_none() || newest == 0 {
            newest = self.listed().await?;
        } else if !self.files.exists(&self.version_file(newest)).await? {
            let listed = self.listed().await?;
            if listed == 0 {
                let place = format!("{}/{}", self.files.location(), self.hint_file());
                return Err(Fault(format!(
                    "{place} names version {newest} of table {}, but there is no version at all: the metadata of the table \
                     were removed. What helps: put them back, or remove the whole directory to begin a new table",
                    self.name
                )));
            }
            newest = listed;
        }
        if newest == 0 {
            return Ok(None);
        }
        while self.files.exists(&self.version_file(newest + 1)).await? {
            newest += 1;
        }
        Ok(Some(newest))
    }

    /// The highest version by a look at the directory; 0 for none.
    async fn listed(&self) -> Done<u64> {
        let listed = self.files.list(&self.inside("metadata")).await?;
        let numbers = listed.iter().filter_map(|file| {
            let name = file.name.rsplit('/').next()?;
            name.strip_prefix('v')?.strip_suffix(".metadata.json")?.parse::<u64>().ok()
        });
        Ok(numbers.max().unwrap_or(0))
    }

    /// Puts the next version in force; `base`: the number of the one that it was built upon, 0 for a new table. `None`
    /// where somebody else was first.
    ///
    /// Errors: the store; whether the version is in force is then not known.
    pub async fn commit(&self, base: u64, metadata: TableMetadata) -> Done<Option<Arc<Version>>> {
        let number = base + 1;
        if base > 0 && !self.is_fresh(STALE) {
            self.forget();
            return Ok(None);
        }
        let text = serde_json::to_vec(&metadata).map_err(|e| Fault(e.to_string()))?;
        let bytes = text.len();
        let created = self.files.create(&self.version_file(number), Bytes::from(text)).await;
        match created {
            Ok(true) => {}
            Ok(false) => {
                self.forget();
                return Ok(None);
            }
            Err(e) => {
                self.forget();
                return Err(e);
            }
        }
        let version = Arc::new(Version { number, metadata, bytes });
        self.remember(&version);
        // Who reads looks for higher numbers, so a hint that lags or is lost harms nobody.
        if let Err(e) = self.files.put(&self.hint_file(), number.to_string().into()).await {
            tracing::warn!("the hint of table {} was not renewed: {e}", self.name);
        }
        Ok(Some(version))
    }

    /// The manifests of a snapshot.
    pub async fn manifests(&self, metadata: &TableMetadata, snapshot: &SnapshotRef) -> Done<Vec<ManifestFile>> {
        let name = self.resolve(metadata, snapshot.manifest_list())?;
        let bytes = self.files.need(&name).await?;
        let list = ManifestList::parse_with_version(&bytes, metadata.format_version());
        Ok(list.map_err(|e| Fault::from(e).at(&name))?.consume_entries().into_iter().collect())
    }

    /// The data files that are alive in a manifest.
    pub async fn entries(&self, metadata: &TableMetadata, manifest: &ManifestFile) -> Done<Vec<Entry>> {
        if manifest.content != ManifestContentType::Data {
            let name = &self.name;
            return Err(Fault(format!(
                "table {name} has files of deleted rows, which somebody else has made and suiro does not read. What helps: \
                 rewrite its data files there"
            )));
        }
        let name = self.resolve(metadata, &manifest.manifest_path)?;
        let bytes = self.files.need(&name).await?;
        let (entries, _) = Manifest::parse_avro(&bytes).map_err(|e| Fault::from(e).at(&name))?.into_parts();
        let alive = entries.iter().filter(|entry| entry.is_alive());
        Ok(alive.map(|entry| inherit(ManifestEntry::clone(entry), manifest)).collect())
    }

    /// The data files of a version's snapshot.
    pub async fn data_files(&self, metadata: &TableMetadata) -> Done<Vec<Entry>> {
        let Some(snapshot) = metadata.current_snapshot() else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for manifest in self.manifests(metadata, snapshot).await? {
            found.extend(self.entries(metadata, &manifest).await?);
        }
        Ok(found)
    }
}

/// What an entry leaves out it has from its manifest.
fn inherit(mut entry: ManifestEntry, manifest: &ManifestFile) -> Entry {
    entry.snapshot_id = entry.snapshot_id.or(Some(manifest.added_snapshot_id));
    entry.sequence_number = entry.sequence_number.or(Some(manifest.sequence_number));
    entry.file_sequence_number = entry.file_sequence_number.or(Some(manifest.sequence_number));
    Entry { entry }
}
