//! `file`: events in files by time, tag and fields.
//!
//! A chunk counts as delivered once its bytes are synced to disk, and the name of a new file with them.

mod before;
mod name;
mod sync;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::before::{Found, Written};
use self::name::{FileName, slice_format};
use self::sync::{Syncer, Unsynced};
pub(super) use self::write::{Sink, refused};
use crate::buffer::{Chunk, ChunkId};
use crate::config::Diagnostic;
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, Output, Render, Root, Settling, Template, WriteError, path_part,
};

/// `timekey` where the configuration has none: Fluentd's day.
const DEFAULT_TIMEKEY: Duration = Duration::from_secs(86_400);

/// How files are compressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Not at all.
    #[default]
    Text,
    /// gzip; `.gz` is added to the name.
    #[serde(alias = "gz")]
    Gzip,
    /// zstd; `.zstd` is added to the name.
    Zstd,
}

/// Parameters of `file`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct FileParams {
    /// The file's path with placeholders; `*` is the time slice.
    path: Option<String>,
    /// One file per slice that chunks are added to, instead of a new numbered file each.
    append: bool,
    /// Whether `path_suffix` is added.
    add_path_suffix: bool,
    /// Added behind the path.
    path_suffix: String,
    /// `text`, `gzip` or `zstd`.
    compress: Compress,
    /// Chunks are compressed anew, which they always are here.
    recompress: Option<bool>,
    /// A link to the file written last.
    symlink_path: Option<PathBuf>,
    /// Whether that link is relative.
    symlink_path_use_relative: bool,
    /// Form of the time slice in the name.
    time_slice_format: Option<String>,
    /// Permission of files, in octal.
    file_permission: Option<String>,
    /// Permission of directories, in octal.
    dir_permission: Option<String>,
}

impl Default for FileParams {
    fn default() -> Self {
        FileParams {
            path: None,
            append: false,
            add_path_suffix: true,
            path_suffix: ".log".into(),
            compress: Compress::Text,
            recompress: None,
            symlink_path: None,
            symlink_path_use_relative: false,
            time_slice_format: None,
            file_permission: None,
            dir_permission: None,
        }
    }
}

/// The output.
pub struct File {
    root: Root,
    name: Template,
    append: bool,
    compress: Compress,
    symlink: Option<(PathBuf, bool)>,
    render: Render,
    /// One writer at a time: chunks of one file must not be mixed. What it holds is memory for text, kept from chunk to
    /// chunk so that a block costs no allocation.
    turn: tokio::sync::Mutex<Vec<u8>>,
    syncer: Syncer,
}

impl Configure for File {
    type Config = FileParams;

    fn new(config: FileParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let path = config.path.clone().ok_or_else(|| cx.fault("path", "'path' parameter is required"))?;
        if config.recompress == Some(false) {
            cx.without_effect("recompress", "files are always compressed from the formatted text; take it out");
        }
        cx.buffer_defaults(BufferDefaults {
            buffered: true,
            path: Some(buffer_directory(&path)),
            keys: &["time"],
            timekey: Some(DEFAULT_TIMEKEY),
            ..BufferDefaults::default()
        });
        let text = FileName { params: &config, path: &path, timekey: timekey(cx)? }.text();
        let text = text.map_err(|e| cx.fault("path", e))?;
        let checked = Template::new(&text, "path", cx)?;
        let root = constant_directory(checked.constant_prefix());
        let relative = text[root.len()..].trim_start_matches('/');
        let (files, directories) = cx.process.output_modes();
        let dir_mode = cx.octal("dir_permission", config.dir_permission.as_deref(), directories)?;
        let file_mode = cx.octal("file_permission", config.file_permission.as_deref(), files)?;
        Ok(File {
            root: Root::new(root, dir_mode, file_mode),
            name: Template::new(relative, "path", cx)?,
            append: config.append,
            compress: config.compress,
            symlink: config.symlink_path.map(|p| (p, config.symlink_path_use_relative)),
            render: cx.render("out_file")?,
            turn: tokio::sync::Mutex::default(),
            syncer: Syncer::default(),
        })
    }
}

fn timekey(cx: &BuildContext<'_>) -> Result<Option<u64>, Diagnostic> {
    let timed = cx.chunk_keys().iter().any(|k| k == "time");
    let length = cx.timekey().map_err(|e| cx.fault("timekey", e))?;
    Ok(timed.then(|| length.unwrap_or(DEFAULT_TIMEKEY).as_secs()))
}

/// The directory of the part of a path that no event can change.
fn constant_directory(prefix: &str) -> &str {
    match prefix.rfind('/') {
        Some(0) => "/",
        Some(at) => &prefix[..at],
        None => "",
    }
}

/// Beside the files, hidden, so that a glob over them does not meet it.
fn buffer_directory(path: &str) -> PathBuf {
    let fixed = &path[..path.find(['$', '%', '*']).unwrap_or(path.len())];
    let directory = constant_directory(fixed);
    let directory = if directory.is_empty() { "." } else { directory };
    let name: String = path[constant_directory(fixed).len()..].trim_matches('/').chars().map(plain).collect();
    Path::new(directory).join(format!(".{name}.buffer"))
}

fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' }
}

impl Output for File {
    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let name = self.name.expand(chunk, path_part).map_err(WriteError::Reject)?;
        let mut text = self.turn.lock().await;
        let written = match self.find_written(chunk, &mut text)? {
            Found::Whole(there) => there,
            Found::Part(there, directory) => {
                let sink = Sink::open(&self.root, &there, false, self.compress);
                Unsynced { directory: Some(directory), ..self.add(chunk, sink, &mut text)? }
            }
            Found::Nothing => self.add(chunk, self.open(&name), &mut text)?,
        };
        self.link(&written.path);
        self.syncer.push(chunk.id(), written).await?;
        Ok(())
    }

    fn settling(&self, chunk: ChunkId) -> Option<Settling> {
        self.syncer.take(chunk)
    }
}

impl File {
    /// What an earlier run has written of the chunk.
    fn find_written(&self, chunk: &Chunk, text: &mut Vec<u8>) -> io::Result<Found> {
        let Some(written) = chunk.memo().and_then(|memo| Written::decode(&memo)) else { return Ok(Found::Nothing) };
        let Some(mut check) = written.check(&self.root, self.compress)? else { return Ok(Found::Nothing) };
        for block in chunk.blocks() {
            text.clear();
            self.render.block(&block?, text);
            if !check.write(text)? {
                return Ok(Found::Nothing);
            }
        }
        check.finish(&self.root)
    }

    /// Writes a chunk at the end of a file. Where it fails, nothing of it stays there.
    fn add(&self, chunk: &Chunk, sink: io::Result<Sink>, text: &mut Vec<u8>) -> Result<Unsynced, WriteError> {
        let mut sink = sink.map_err(refused)?;
        let mut written = sink.begin()?;
        // Without a memo a later run writes the chunk again, should this one be killed now; that is no reason to fail.
        let _ = chunk.set_memo(&written.encode());
        let added = self.fill(chunk, &mut sink, text).and_then(|()| sink.end(&mut written));
        let memo = if added.is_ok() { written.encode() } else { Vec::new() };
        let _ = chunk.set_memo(&memo);
        added?;
        Ok(sink.finish()?)
    }

    fn fill(&self, chunk: &Chunk, sink: &mut Sink, text: &mut Vec<u8>) -> io::Result<()> {
        for block in chunk.blocks() {
            text.clear();
            self.render.block(&block?, text);
            sink.write(text)?;
        }
        Ok(())
    }

    fn open(&self, name: &str) -> io::Result<Sink> {
        if self.append {
            return Sink::open(&self.root, Path::new(name), false, self.compress);
        }
        let numbered = |index| name.replace(slice_format::INDEX, &format!("_{index}"));
        Sink::open_numbered(&self.root, self.compress, numbered)
    }

    /// The link is a convenience: a failure is logged and the chunk counts as written.
    fn link(&self, path: &Path) {
        let Some((link, relative)) = &self.symlink else { return };
        let target = if *relative { relative_to(path, link) } else { path.to_owned() };
        let temporary = link.with_extension("suiro-new");
        let made = std::os::unix::fs::symlink(target, &temporary).and_then(|()| std::fs::rename(&temporary, link));
        if let Err(e) = made {
            tracing::warn!("can't make the link {}: {e}", link.display());
        }
    }
}

/// `path` as seen from the directory of `link`.
fn relative_to(path: &Path, link: &Path) -> PathBuf {
    let from: Vec<_> = link.parent().unwrap_or(Path::new("")).components().collect();
    let to: Vec<_> = path.components().collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Path::new(".."), from.len() - shared);
    up.map(Path::as_os_str).chain(to[shared..].iter().map(|c| c.as_os_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_constant_part_of_a_path_is_trusted() {
        assert_eq!(constant_directory("/var/log/app-"), "/var/log");
        assert_eq!(constant_directory("/app"), "/");
        assert_eq!(constant_directory("app"), "");
    }

    #[test]
    fn the_buffer_hides_beside_the_files() {
        assert_eq!(buffer_directory("/out/app"), Path::new("/out/.app.buffer"));
        assert_eq!(buffer_directory("/out/${tag}/x.%Y"), Path::new("/out/.__tag__x._Y.buffer"));
        assert_eq!(buffer_directory("app"), Path::new("./.app.buffer"));
    }

    #[test]
    fn relative_links_climb_to_the_shared_directory() {
        assert_eq!(relative_to(Path::new("/a/b/c.log"), Path::new("/a/d/link")), Path::new("../b/c.log"));
        assert_eq!(relative_to(Path::new("/a/c.log"), Path::new("/a/link")), Path::new("c.log"));
    }
}
