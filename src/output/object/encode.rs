//! `store_as`: how a chunk's text is packed, and the parts it is sent in.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::buffer::{Blocks, Chunk};
use crate::plugin::{Render, WholeFile, WriteError};

/// Size of a part of a large object, in bytes. What fits into one part is sent by one request. Stores take 10,000 parts of
/// at least 5 MiB.
pub const PART_BYTES: usize = 16 * 1024 * 1024;

/// How objects are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAs {
    /// Packed by gzip.
    Gzip,
    /// Packed by zstd, at this level.
    Zstd(i32),
    /// As formatted.
    Text,
    /// As formatted, under the name of JSON.
    Json,
    /// Columns, which are packed inside.
    Parquet,
}

impl StoreAs {
    /// Ending of names.
    pub fn extension(self) -> &'static str {
        match self {
            StoreAs::Gzip => "gz",
            StoreAs::Zstd(_) => "zst",
            StoreAs::Text => "txt",
            StoreAs::Json => "json",
            StoreAs::Parquet => "parquet",
        }
    }

    /// Type of the content, as fluent-plugin-s3 says it.
    pub fn content_type(self) -> &'static str {
        match self {
            StoreAs::Gzip => "application/x-gzip",
            StoreAs::Zstd(_) => "application/x-zst",
            StoreAs::Text => "text/plain",
            StoreAs::Json => "application/json",
            StoreAs::Parquet => "application/octet-stream",
        }
    }
}

enum Encoder {
    Plain(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(store_as: StoreAs) -> io::Result<Encoder> {
        Ok(match store_as {
            StoreAs::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            StoreAs::Zstd(level) => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?),
            StoreAs::Text | StoreAs::Json | StoreAs::Parquet => Encoder::Plain(Vec::new()),
        })
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Encoder::Plain(out) => out.write_all(text),
            Encoder::Gzip(out) => out.write_all(text),
            Encoder::Zstd(out) => out.write_all(text),
        }
    }

    /// What came out so far.
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Encoder::Plain(out) => out,
            Encoder::Gzip(encoder) => encoder.get_mut(),
            Encoder::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Encoder::Plain(out) => Ok(out),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Why an object can't be made.
#[derive(Debug)]
pub enum Failure {
    /// The chunk can't be read.
    Read(io::Error),
    /// Its events have no such form.
    Form(String),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::Read(e)
    }
}

impl From<Failure> for WriteError {
    fn from(failure: Failure) -> WriteError {
        match failure {
            Failure::Read(e) => e.into(),
            Failure::Form(why) => WriteError::Reject(why),
        }
    }
}

/// What a chunk's events become.
enum Body {
    Text(Box<Encoder>),
    Whole(Box<dyn WholeFile>),
}

/// The object of a chunk, part by part. Memory is bounded: a block's text, and little more than one part.
pub struct Parts<'a> {
    blocks: Blocks<'a>,
    render: &'a Render,
    /// Gone once the end was reached.
    body: Option<Body>,
    /// What was made beyond the parts that were given.
    rest: Vec<u8>,
    text: Vec<u8>,
    part: usize,
}

impl<'a> Parts<'a> {
    /// The object of `chunk` in parts of `part` bytes.
    ///
    /// Errors: the chunk can't be read.
    pub fn new(chunk: &'a Chunk, render: &'a Render, store_as: StoreAs, part: usize) -> io::Result<Parts<'a>> {
        let body = match render.whole() {
            None => Body::Text(Box::new(Encoder::new(store_as)?)),
            Some(format) => {
                let mut file = format.begin();
                if file.looks() {
                    for block in chunk.blocks() {
                        render.look(&block?, &mut *file);
                    }
                }
                Body::Whole(file)
            }
        };
        Ok(Parts { blocks: chunk.blocks(), render, body: Some(body), rest: Vec::new(), text: Vec::new(), part })
    }

    /// The next part, and whether it is the last one. All but the last are whole.
    ///
    /// Errors: the chunk can't be read, or its events have no such form.
    pub fn next(&mut self) -> Result<(Bytes, bool), Failure> {
        while self.rest.len() <= self.part && self.body.is_some() {
            self.read()?;
        }
        let size = self.rest.len().min(self.part);
        let behind = self.rest.split_off(size);
        let part = std::mem::replace(&mut self.rest, behind);
        Ok((part.into(), self.rest.is_empty() && self.body.is_none()))
    }

    fn read(&mut self) -> Result<(), Failure> {
        let Some(block) = self.blocks.next() else { return self.end() };
        match &mut self.body {
            Some(Body::Text(encoder)) => {
                self.text.clear();
                self.render.block(&block?, &mut self.text);
                encoder.write(&self.text)?;
                self.rest.append(encoder.out());
            }
            Some(Body::Whole(file)) => {
                self.render.write(&block?, &mut **file, &mut self.rest).map_err(Failure::Form)?;
            }
            None => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        match self.body.take() {
            Some(Body::Text(encoder)) => self.rest.append(&mut encoder.finish()?),
            Some(Body::Whole(file)) => file.finish(&mut self.rest).map_err(Failure::Form)?,
            None => {}
        }
        Ok(())
    }
}
