//! The name of an object: a pure function of the sealed chunk and a number.
//!
//! What Fluentd's plugins put there at random or by the clock (`%{uuid_flush}`, `%{hms_slice}`) comes from the chunk's id
//! here, which is the same over all attempts and restarts.

use sha2::{Digest, Sha256};

use super::slice;
use crate::buffer::{Chunk, ChunkId};
use crate::config::Diagnostic;
use crate::event::timefmt::{TimeFormatter, Zone};
use crate::event::{EventTime, hex};
use crate::plugin::{BuildContext, Template};

/// Longest name, in bytes: that of S3, GCS and Azure.
pub const MAX_KEY_BYTES: usize = 1024;

/// Placeholders that end with the chunk, for the operator.
const KNOWN: &str = "%{path}, %{time_slice}, %{date_slice}, %{index}, %{file_extension}, %{hex_random}, %{uuid_flush}, \
                     %{hms_slice}, %{hostname}";

/// What the names of an output are made of.
pub struct KeyParams<'a> {
    /// The parameter that faults point at.
    pub parameter: &'static str,
    /// The format, with `%{...}` and the placeholders of chunks.
    pub format: &'a str,
    /// `path`
    pub path: &'a str,
    /// Ending, without its dot.
    pub extension: &'a str,
    /// `time_slice_format`; by default that of the slice's length.
    pub time_slice_format: Option<&'a str>,
    /// Zone of the time slice; by default that of the buffer.
    pub zone: Option<Zone>,
    /// `index_format`
    pub index_format: &'a str,
    /// Digits of `%{hex_random}`.
    pub hex_length: usize,
    /// Where those digits come from.
    pub hex: HexDigits,
}

/// Where the digits of `%{hex_random}` come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HexDigits {
    /// The id's own digits, last one first: fluent-plugin-s3's.
    Reversed,
    /// A digest of the id.
    Digest,
}

enum Piece {
    Text(Template),
    TimeSlice,
    Index,
    HexRandom,
    UuidFlush,
    HmsSlice,
}

/// How the number is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IndexFormat {
    width: usize,
    digits: char,
}

/// The names of an output.
pub struct KeyFormat {
    pieces: Vec<Piece>,
    slice: TimeFormatter,
    hms: TimeFormatter,
    index: IndexFormat,
    hex: (HexDigits, usize),
    extension: String,
}

/// The name of a chunk's object, but for the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    text: String,
    /// Places of the number in `text`, in order.
    holes: Vec<usize>,
    index: IndexFormat,
    /// Where a number goes when the format has none: before the ending.
    end: usize,
}

impl KeyFormat {
    /// Reads a format and checks its placeholders.
    pub fn new(params: &KeyParams<'_>, cx: &BuildContext<'_>) -> Result<KeyFormat, Diagnostic> {
        let fault = |why: String| cx.fault(params.parameter, why);
        let zone = match &params.zone {
            Some(zone) => zone.clone(),
            None => cx.buffer_zone().map_err(fault)?,
        };
        let timekey = cx.timekey().map_err(fault)?.map_or(slice::DAY, |length| length.as_secs());
        let timed = cx.chunk_keys().iter().any(|key| key == "time");
        let slice = params.time_slice_format.unwrap_or(if timed { slice::format(timekey) } else { "" });
        let text = before(params, &cx.process.hostname);
        let mut pieces = Vec::new();
        for part in split(&text).map_err(fault)? {
            pieces.push(match part {
                Part::Text(text) => Piece::Text(Template::new(text, params.parameter, cx)?),
                Part::Named(name) => named(name).map_err(fault)?,
            });
        }
        Ok(KeyFormat {
            pieces,
            slice: TimeFormatter::strftime(slice, zone.clone()),
            hms: TimeFormatter::strftime("%H%M%S", zone),
            index: IndexFormat::read(params.index_format).map_err(|why| cx.fault("index_format", why))?,
            hex: (params.hex, params.hex_length),
            extension: params.extension.to_owned(),
        })
    }

    /// Whether a number is part of the format.
    pub fn has_index(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Index))
    }

    /// The name for a chunk.
    ///
    /// Errors: a value of an event that can't stand in a name, a name that is too long.
    pub fn key(&self, chunk: &Chunk) -> Result<Key, String> {
        let (mut text, mut holes) = (String::new(), Vec::new());
        for piece in &self.pieces {
            match piece {
                Piece::Text(template) => text.push_str(&template.expand(chunk, part)?),
                Piece::TimeSlice => self.slice(chunk, &mut text),
                Piece::Index => holes.push(text.len()),
                Piece::HexRandom => text.push_str(&hex_digits(chunk.id(), self.hex)),
                Piece::UuidFlush => text.push_str(&uuid(chunk.id())),
                Piece::HmsSlice => print(&self.hms, (chunk.id().micros() / 1_000_000) as i64, &mut text),
            }
        }
        let ending = format!(".{}", self.extension);
        let end = text.strip_suffix(&ending).map_or(text.len(), str::len);
        Key { text, holes, index: self.index, end }.checked()
    }

    fn slice(&self, chunk: &Chunk, out: &mut String) {
        if let Some(time) = chunk.key().time {
            print(&self.slice, time, out);
        }
    }
}

fn print(format: &TimeFormatter, secs: i64, out: &mut String) {
    let mut text = Vec::new();
    format.format(EventTime::from_secs(secs), &mut text);
    out.push_str(&String::from_utf8_lossy(&text));
}

impl Key {
    /// The name with a number. Where the format has no place for it, the first object has none and others have it before
    /// their ending.
    pub fn with(&self, index: u32) -> String {
        let number = self.index.print(index);
        if !self.holes.is_empty() {
            let mut out = self.text.clone();
            self.holes.iter().rev().for_each(|hole| out.insert_str(*hole, &number));
            return out;
        }
        if index == 0 {
            return self.text.clone();
        }
        format!("{}_{number}{}", &self.text[..self.end], &self.text[self.end..])
    }

    /// What all numbers of this name have in common.
    pub fn stem(&self) -> &str {
        &self.text
    }

    fn checked(mut self) -> Result<Key, String> {
        self.tidy();
        // Room for any number.
        let name = self.with(u32::MAX);
        if name.len() > MAX_KEY_BYTES {
            return Err(format!("the name {name:?} has more than {MAX_KEY_BYTES} bytes"));
        }
        if name.is_empty() || name.ends_with('/') {
            return Err(format!("{name:?} can't be the name of an object"));
        }
        match name.chars().any(char::is_control) || name.split('/').any(|part| matches!(part, "." | "..")) {
            true => Err(format!("{name:?} can't be the name of an object")),
            false => Ok(self),
        }
    }

    /// Takes out slashes at the beginning and behind slashes: names are paths here, and stores differ about empty parts.
    fn tidy(&mut self) {
        let mut at = 0;
        while let Some(found) = self.text[at..].find('/').map(|n| at + n) {
            let first = found == 0 || self.text.as_bytes()[found - 1] == b'/';
            let empty = first && !self.holes.contains(&found);
            if !empty {
                at = found + 1;
                continue;
            }
            self.text.remove(found);
            let moved = |place: &mut usize| *place -= usize::from(*place > found);
            self.holes.iter_mut().for_each(moved);
            moved(&mut self.end);
            at = found;
        }
    }
}

impl IndexFormat {
    /// Reads `%d`, `%04d`, `%x` and the like.
    fn read(text: &str) -> Result<IndexFormat, String> {
        let wrong =
            || format!("index_format {text:?} should be %d, %x or %X, or with a width that begins with 0, as %04d");
        let inner = text.strip_prefix('%').ok_or_else(wrong)?;
        let digits = inner.chars().last().filter(|c| matches!(c, 'd' | 'x' | 'X')).ok_or_else(wrong)?;
        let width = &inner[..inner.len() - 1];
        let width = match width.strip_prefix('0') {
            None if width.is_empty() => 0,
            Some("") => 0,
            Some(number) => number.parse().map_err(|_| wrong())?,
            None => return Err(wrong()),
        };
        if width > 20 { Err(wrong()) } else { Ok(IndexFormat { width, digits }) }
    }

    fn print(self, index: u32) -> String {
        let width = self.width;
        match self.digits {
            'x' => format!("{index:0width$x}"),
            'X' => format!("{index:0width$X}"),
            _ => format!("{index:0width$}"),
        }
    }
}

/// The format with what is the same for all chunks put in.
fn before(params: &KeyParams<'_>, hostname: &str) -> String {
    let mut text = params.format.replace("%{path}", params.path);
    text = text.replace("%{file_extension}", params.extension);
    text.replace("%{hostname}", hostname)
}

enum Part<'a> {
    Text(&'a str),
    Named(&'a str),
}

fn split(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("%{") {
        if start > 0 {
            parts.push(Part::Text(&rest[..start]));
        }
        let end = rest[start..].find('}').ok_or_else(|| format!("%{{ without a closing brace in {text:?}"))?;
        parts.push(Part::Named(&rest[start + 2..start + end]));
        rest = &rest[start + end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

fn named(name: &str) -> Result<Piece, String> {
    Ok(match name {
        "time_slice" | "date_slice" => Piece::TimeSlice,
        "index" => Piece::Index,
        "hex_random" => Piece::HexRandom,
        "uuid_flush" => Piece::UuidFlush,
        "hms_slice" => Piece::HmsSlice,
        name if name.starts_with("uuid") => {
            return Err(format!("%{{{name}}} placeholder in the key format is removed! Use %{{uuid_flush}}"));
        }
        name => return Err(format!("%{{{name}}} is no placeholder of a key format. There are {KNOWN}")),
    })
}

/// A value of an event as part of a name: it leads nowhere else and has no control characters.
pub fn part(value: &str) -> Option<String> {
    let leads_away = value.starts_with('/') || value.split('/').any(|part| matches!(part, "." | ".."));
    (!leads_away && !value.chars().any(char::is_control)).then(|| value.to_owned())
}

fn hex_digits(id: ChunkId, (from, length): (HexDigits, usize)) -> String {
    let digits = match from {
        HexDigits::Reversed => id.to_string().chars().rev().collect(),
        HexDigits::Digest => hex(&Sha256::digest(id.0)),
    };
    digits.chars().take(length).collect()
}

/// The id in the form of a UUID of version 8, which is free for such uses (RFC 9562).
fn uuid(id: ChunkId) -> String {
    let mut bytes = id.0;
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = ChunkId(bytes).to_string();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
