//! Which files a command is about: from paths, or from an output of a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, Selection};
use crate::buffer::inspect::{self, State, Stored};
use crate::buffer::{BufferConfig, BufferKind, ChunkId};
use crate::cli::Flags;
use crate::config::{self, Diagnostics};
use crate::engine::{self, OutputPlace};
use crate::plugin::Registry;

/// A directory, or a single file of one.
#[derive(Clone, Debug)]
pub struct Place {
    /// The directory or the file.
    pub path: PathBuf,
    /// The output whose buffer it is, or the directory's name.
    pub output: String,
    /// Beginnings of chunk ids; all chunks where there is none.
    pub chunks: Vec<String>,
}

/// What lies in a place.
pub struct Contents {
    /// Who owns the directory.
    pub owner: Option<String>,
    /// Its files.
    pub files: Vec<Stored>,
    /// What is wrong with its journal.
    pub journal: Option<(PathBuf, String)>,
}

impl Place {
    /// Looks into the place; files that were not chosen are left out.
    pub fn look(&self) -> Result<Contents, Failure> {
        let failed = |e| format!("can't read {}: {e}", self.path.display());
        if self.path.is_dir() {
            let survey = inspect::survey(&self.path).map_err(failed)?;
            let files = survey.files.into_iter().filter(|file| self.has_chosen(file)).collect();
            return Ok(Contents { owner: survey.owner, files, journal: survey.journal_flaw });
        }
        let file = inspect::file(&self.path).map_err(failed)?;
        let file = file.ok_or_else(|| format!("{} is no file of a buffer", self.path.display()))?;
        if !self.path.exists() {
            return Err(format!("{} is not there", self.path.display()));
        }
        Ok(Contents { owner: None, files: vec![file], journal: None })
    }

    fn has_chosen(&self, file: &Stored) -> bool {
        let id = file.id.map(|id| id.to_string()).unwrap_or_default();
        self.chunks.is_empty() || self.chunks.iter().any(|start| id.starts_with(start.as_str()))
    }

    /// Whether a command that is about events takes this file: chunks of the buffer; what was set aside where it was asked
    /// for by path or id.
    pub fn means(&self, file: &Stored) -> bool {
        match file.state {
            State::Staged | State::Sealed => true,
            State::Delivered => !self.chunks.is_empty(),
            State::SetAside => !self.chunks.is_empty() || self.names(file),
            State::Piece => file.path == self.path,
        }
    }

    fn names(&self, file: &Stored) -> bool {
        file.path == self.path || file.path.parent() == Some(&self.path)
    }
}

/// The places of a selection: its paths, or the buffers of a configuration's outputs.
pub fn find(selection: &Selection, flags: &Flags, registry: &'static Registry) -> Result<Vec<Place>, Failure> {
    let chunks: Vec<String> = selection.chunks.iter().map(|id| id.to_lowercase()).collect();
    if let Some(bad) = chunks.iter().find(|id| ChunkId::parse(&format!("{id:0<32}")).is_none()) {
        return Err(format!("{bad:?} is no beginning of a chunk id, which has 32 hexadecimal digits"));
    }
    if !selection.paths.is_empty() {
        let place = |path: &PathBuf| Place { path: path.clone(), output: name_of(path), chunks: chunks.clone() };
        return Ok(selection.paths.iter().map(place).collect());
    }
    let outputs = configured(flags, registry)?;
    let wanted = |output: &&OutputPlace| selection.id.as_ref().is_none_or(|id| *id == output.id);
    let buffers = outputs.iter().filter(wanted).filter_map(|output| Some((&output.id, output.buffer.as_ref()?)));
    let places: Vec<Place> = buffers.flat_map(|(id, buffer)| places(id, buffer, &chunks)).collect();
    if places.is_empty() {
        return Err(match &selection.id {
            Some(id) => unknown(id, &outputs),
            None => format!("no output of {} has a buffer on the disk", flags.config.display()),
        });
    }
    Ok(places)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What an output is told that is not there, or has no buffer on the disk.
pub fn unknown(id: &str, outputs: &[OutputPlace]) -> Failure {
    let ids: Vec<&str> = outputs.iter().map(|output| output.id.as_str()).collect();
    match ids.contains(&id) {
        true => format!("output {id:?} has nothing on the disk"),
        false => format!("there is no output {id:?}; there are {}", ids.join(", ")),
    }
}

fn places(id: &str, buffer: &BufferConfig, chunks: &[String]) -> Vec<Place> {
    let place = |path: PathBuf| Place { path, output: id.to_owned(), chunks: chunks.to_vec() };
    let dir = match &buffer.kind {
        BufferKind::File { dir } => Some(dir.clone()),
        BufferKind::Memory => None,
    };
    let dirs = dir.into_iter().chain([buffer.backup_dir.clone()]);
    dirs.filter(|dir| dir.is_dir()).map(place).collect()
}

/// The outputs of the configuration of `-c`.
pub fn configured(flags: &Flags, registry: &'static Registry) -> Result<Vec<OutputPlace>, Failure> {
    outputs_of(&flags.config, flags, registry).map(|(outputs, _)| outputs)
}

/// The outputs of a configuration, and its `root_dir`.
pub fn outputs_of(
    path: &Path,
    flags: &Flags,
    registry: &'static Registry,
) -> Result<(Vec<OutputPlace>, Option<PathBuf>), Failure> {
    let told = |faults: Diagnostics| format!("the configuration has faults:\n{}", faults.render());
    let loaded = crate::cli::run::load(path, flags).map_err(told)?;
    let settings = config::load_settings(loaded.root.child("system"), &flags.settings());
    let settings = settings.map_err(|e| format!("config error: {e}"))?;
    let process: Arc<_> = crate::daemon::process(&settings, None);
    let outputs = engine::outputs(&loaded.root, registry, &process).map_err(told)?;
    Ok((outputs, settings.root_dir))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn beginnings_of_ids_are_checked() {
        use clap::Parser;
        let flags = Flags::parse_from(["suiro"]);
        static NONE: Registry = Registry { inputs: &[], filters: &[], outputs: &[], parsers: &[], formatters: &[] };
        let selection =
            |id: &str| Selection { paths: vec!["x".into()], chunks: vec![id.into()], ..Selection::default() };
        assert_eq!(find(&selection("60A2"), &flags, &NONE).unwrap()[0].chunks, ["60a2"]);
        for bad in ["xyz", "60a2 ", &"0".repeat(33)] {
            assert!(find(&selection(bad), &flags, &NONE).is_err(), "{bad}");
        }
    }
}
