//! Parameters that the outputs share, and what is wrong with them.

use std::path::PathBuf;

use serde::Deserialize;

use super::encode::StoreAs;
use crate::config::{Diagnostic, Section, Size};
use crate::plugin::{BuildContext, Render};

/// zstd's level where nothing is said: fluent-plugin-s3's.
const ZSTD_LEVEL: i32 = 3;

/// `<compress>`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Compressed {
    /// Level of zstd, 1 to 22.
    level: Option<i32>,
    /// How pages of Parquet are packed.
    parquet_compression_codec: Option<String>,
    /// Bytes of such a page.
    parquet_page_size: Option<Size>,
    /// Bytes of a row group.
    parquet_row_group_size: Option<Size>,
    /// Events are taken as they are; there is no text between.
    record_type: Option<String>,
    /// `avro` or `bigquery`; which one a file holds is seen.
    schema_type: Option<String>,
    /// The file with the schema.
    schema_file: Option<PathBuf>,
}

/// Reads `store_as`.
///
/// Errors: what can't be obeyed, with what to use instead.
pub fn store_as(
    text: Option<&str>,
    compress: Option<&Compressed>,
    cx: &mut BuildContext<'_>,
) -> Result<StoreAs, Diagnostic> {
    let whole = cx.section.child("format").and_then(Section::plugin_type) == Some("parquet");
    let text = text.unwrap_or(if whole { "parquet" } else { "gzip" });
    if whole && text != "parquet" {
        let why = format!(
            "a file of parquet is packed inside: with <format> @type parquet store_as must be parquet, not {text}"
        );
        return Err(cx.fault("store_as", why));
    }
    let level = compress.and_then(|c| c.level);
    if let Some(level) = level.filter(|level| !(1..=22).contains(level)) {
        return Err(cx.fault("compress", format!("level {level} of <compress> is not within 1 to 22")));
    }
    if level.is_some() && text != "zstd" {
        cx.warn(
            "compress",
            format!("level of <compress> has no effect here: it is that of zstd, and store_as is {text}"),
        );
    }
    cx.without_effect("command_parameter", "no command is run, packing is built in; take it out");
    let why = match text {
        "gzip" | "gzip_command" => return Ok(StoreAs::Gzip),
        "zstd" => return Ok(StoreAs::Zstd(level.unwrap_or(ZSTD_LEVEL))),
        "text" => return Ok(StoreAs::Text),
        "json" => return Ok(StoreAs::Json),
        "parquet" => return Ok(StoreAs::Parquet),
        "lzo" | "lzma2" => {
            format!("store_as {text} is not here; use zstd, which packs better than lzo and faster than lzma2")
        }
        other => format!("'{other}' not supported. There are gzip, zstd, text, json, parquet"),
    };
    Err(cx.fault("store_as", why))
}

/// The format, which `store_as parquet` decides.
pub fn render(
    store_as: StoreAs,
    compress: Option<&Compressed>,
    cx: &mut BuildContext<'_>,
) -> Result<Render, Diagnostic> {
    if store_as != StoreAs::Parquet {
        if compress.is_some_and(Compressed::is_about_parquet) {
            cx.warn("compress", "<compress> has no effect here: it is about parquet, which store_as does not name");
        }
        return cx.render_whole("out_file", None);
    }
    let written = cx.section.child("format").and_then(Section::plugin_type).map(str::to_owned);
    if let Some(kind) = written.filter(|kind| kind != "parquet") {
        cx.warn(
            "store_as",
            format!("<format> @type {kind} has no effect here: store_as parquet takes the events as they are"),
        );
    }
    let defaults = compress.map(Compressed::defaults).unwrap_or_default();
    let defaults: Vec<(&str, &str)> = defaults.iter().map(|(name, text)| (*name, text.as_str())).collect();
    cx.render_whole("out_file", Some(("parquet", &defaults)))
}

impl Compressed {
    fn is_about_parquet(&self) -> bool {
        !self.defaults().is_empty() || self.record_type.is_some() || self.schema_type.is_some()
    }

    /// As parameters of the format.
    fn defaults(&self) -> Vec<(&'static str, String)> {
        let bytes = |size: Option<Size>| size.map(|size| size.bytes().to_string());
        let all = [
            ("compression", self.parquet_compression_codec.clone()),
            ("page_size", bytes(self.parquet_page_size)),
            ("row_group_size", bytes(self.parquet_row_group_size)),
            ("schema_file", self.schema_file.as_ref().map(|path| path.display().to_string())),
        ];
        all.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
    }
}
