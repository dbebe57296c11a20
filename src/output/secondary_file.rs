//! `secondary_file`: writes chunks that the primary output could not deliver into files, as the primary would have
//! formatted them.

use std::io;
use std::path::Path;

use serde::Deserialize;

use super::file::{Compress, Sink, refused};
use crate::buffer::{Block, Chunk};
use crate::config::Diagnostic;
use crate::plugin::{BuildContext, Configure, Output, Render, Root, Template, WriteError, path_part};

/// Parameters of `secondary_file`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct SecondaryFileParams {
    /// Directory of the files; placeholders too.
    directory: Option<String>,
    /// Name of the files; placeholders too.
    basename: String,
    /// One file that chunks are added to, instead of a new numbered file each.
    append: bool,
    /// `text` or `gzip`.
    compress: Compress,
}

impl Default for SecondaryFileParams {
    fn default() -> Self {
        SecondaryFileParams { directory: None, basename: "dump.bin".into(), append: false, compress: Compress::Text }
    }
}

/// The output.
pub struct SecondaryFile {
    root: Root,
    name: Template,
    suffix: &'static str,
    append: bool,
    compress: Compress,
    /// The primary's format; without one the entries are written as they are.
    render: Option<Render>,
    turn: tokio::sync::Mutex<()>,
}

impl Configure for SecondaryFile {
    type Config = SecondaryFileParams;

    fn new(config: SecondaryFileParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        if cx.section.name != "secondary" {
            return Err(cx.fault("@type", "This plugin can only be used in the <secondary> section"));
        }
        let directory = config.directory.ok_or_else(|| cx.fault("directory", "'directory' parameter is required"))?;
        let whole = format!("{}/{}", directory.trim_end_matches('/'), config.basename);
        let checked = Template::new(&whole, "basename", cx)?;
        let fixed = checked.constant_prefix();
        let root = &fixed[..fixed.rfind('/').unwrap_or(0)];
        let name = Template::new(whole[root.len()..].trim_start_matches('/'), "basename", cx)?;
        let render = if cx.section.child("format").is_some() { Some(cx.render("json")?) } else { None };
        let root = if root.is_empty() && whole.starts_with('/') { "/" } else { root };
        Ok(SecondaryFile {
            root: Root::new(root, cx.process.output_modes().1, cx.process.output_modes().0),
            name,
            suffix: match config.compress {
                Compress::Text => "",
                Compress::Gzip => ".gz",
                Compress::Zstd => ".zstd",
            },
            append: config.append,
            compress: config.compress,
            render,
            turn: tokio::sync::Mutex::default(),
        })
    }
}

impl Output for SecondaryFile {
    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let name = self.name.expand(chunk, path_part).map_err(WriteError::Reject)?;
        let _turn = self.turn.lock().await;
        let mut sink = self.open(&name).map_err(refused)?;
        for block in chunk.blocks() {
            sink.write(&self.text(&block?))?;
        }
        sink.finish_synced().await?;
        Ok(())
    }
}

impl SecondaryFile {
    fn text(&self, block: &Block) -> Vec<u8> {
        let Some(render) = &self.render else { return block.entries.to_vec() };
        let mut text = Vec::new();
        render.block(block, &mut text);
        text
    }

    fn open(&self, name: &str) -> io::Result<Sink> {
        if self.append {
            let name = format!("{name}{}", self.suffix);
            return Sink::open(&self.root, Path::new(&name), false, self.compress);
        }
        let numbered = |index| format!("{name}.{index}{}", self.suffix);
        Sink::open_numbered(&self.root, self.compress, numbered)
    }
}
