//! `parquet`: a chunk as one file of columns.
//!
//! Without a schema the chunk is walked over twice: once to see which columns there are and of what type, once to write
//! them. Types that differ are widened: integers and floats to floats, anything else to text (containers as JSON). A column
//! is a field of the records' top level; where it is missing, it is null.

mod column;
mod kind;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema as ArrowSchema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Deserialize;

use self::column::Column;
use self::kind::Kind;
use self::schema::Schema;
use crate::config::{Diagnostic, Pairs, Size};
use crate::event::{EventTime, Record, Tag, Value};
use crate::plugin::{BuildContext, Configure, Formatter, WholeFile, WholeFormat};

/// Most columns of a file. Records whose field names are data must not make a file of any width.
const MAX_COLUMNS: usize = 4096;

/// Rows and bytes that are gathered before they are handed to the writer.
const BATCH_ROWS: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;

/// Level of zstd.
const ZSTD_LEVEL: i32 = 3;

/// How pages are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Snappy.
    #[default]
    Snappy,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
    /// Not at all.
    #[serde(alias = "uncompressed")]
    None,
}

/// Parameters of `parquet`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ParquetParams {
    /// snappy, zstd, gzip or none.
    compression: Codec,
    /// Names and types of the columns; by default those of the chunk.
    schema: Pairs,
    /// A file with the schema, of Avro or BigQuery.
    schema_file: Option<PathBuf>,
    /// A column for the events' time.
    time_column: Option<String>,
    /// Bytes of a row group, packed, about.
    row_group_size: Size,
    /// Bytes of a page.
    page_size: Size,
}

impl Default for ParquetParams {
    fn default() -> ParquetParams {
        ParquetParams {
            compression: Codec::default(),
            schema: Pairs::default(),
            schema_file: None,
            time_column: None,
            row_group_size: Size::mib(32),
            page_size: Size::mib(1),
        }
    }
}

/// The formatter.
pub struct Parquet {
    schema: Option<Arc<Schema>>,
    time_column: Option<String>,
    properties: WriterProperties,
}

impl Configure for Parquet {
    type Config = ParquetParams;

    fn new(params: ParquetParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let schema = given(&params, cx)?;
        if params.row_group_size.is_empty() || params.page_size.is_empty() {
            return Err(cx.fault("row_group_size", "row_group_size and page_size must be above zero"));
        }
        let zstd = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| cx.fault("compression", e.to_string()))?;
        let compression = match params.compression {
            Codec::Snappy => Compression::SNAPPY,
            Codec::Zstd => Compression::ZSTD(zstd),
            Codec::Gzip => Compression::GZIP(GzipLevel::default()),
            Codec::None => Compression::UNCOMPRESSED,
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(concat!("suiro version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_bytes(Some(params.row_group_size.len()))
            .set_data_page_size_limit(params.page_size.len())
            .build();
        Ok(Parquet { schema: schema.map(Arc::new), time_column: params.time_column, properties })
    }
}

fn given(params: &ParquetParams, cx: &BuildContext<'_>) -> Result<Option<Schema>, Diagnostic> {
    let columns: Schema = match (&params.schema_file, params.schema.is_empty()) {
        (None, true) => return Ok(None),
        (Some(_), false) => return Err(cx.fault("schema_file", "schema and schema_file exclude each other")),
        (Some(path), true) => {
            let shown = path.display();
            // Part of the configuration, like an included file.
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|e| cx.fault("schema_file", format!("{shown}: {e}")))?;
            schema::read(&text).map_err(|why| cx.fault("schema_file", format!("{shown}: {why}")))?
        }
        (None, false) => {
            let typed = params.schema.iter().map(|pair| Ok((pair.name.clone(), Kind::named(pair.text())?)));
            typed.collect::<Result<_, String>>().map_err(|why| cx.fault("schema", why))?
        }
    };
    let mut names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    names.extend(params.time_column.as_deref());
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(cx.fault("schema", format!("column {:?} is there twice", pair[0])));
    }
    Ok(Some(columns))
}

impl Formatter for Parquet {
    fn format(&self, _: &Tag, _: EventTime, _: &Record<'_>, _: &mut Vec<u8>) {
        // One event has no form of its own; what asks for one is refused when it is built.
    }

    fn whole(&self) -> Option<&dyn WholeFormat> {
        Some(self)
    }
}

impl WholeFormat for Parquet {
    fn begin(&self) -> Box<dyn WholeFile> {
        let mut file = ParquetFile {
            given: self.schema.is_some(),
            columns: Columns::default(),
            time_column: self.time_column.clone(),
            properties: self.properties.clone(),
            writing: None,
        };
        for (name, kind) in self.schema.iter().flat_map(|schema| schema.iter()) {
            file.columns.see(name.as_bytes(), *kind);
        }
        Box::new(file)
    }
}

/// Names and types of columns, in the order they were first seen.
#[derive(Default)]
struct Columns {
    kinds: Vec<(Vec<u8>, Kind)>,
    places: HashMap<Vec<u8>, usize, foldhash::fast::RandomState>,
}

impl Columns {
    fn see(&mut self, name: &[u8], kind: Kind) {
        match self.places.get(name) {
            Some(place) => self.kinds[*place].1 = self.kinds[*place].1.widened(kind),
            None if self.kinds.len() > MAX_COLUMNS => {}
            None => {
                self.places.insert(name.to_vec(), self.kinds.len());
                self.kinds.push((name.to_vec(), kind));
            }
        }
    }
}

/// A file in the making.
struct ParquetFile {
    given: bool,
    columns: Columns,
    time_column: Option<String>,
    properties: WriterProperties,
    writing: Option<Writing>,
}

struct Writing {
    schema: SchemaRef,
    columns: Vec<Column>,
    /// Whether the row that is written has a value in each column.
    filled: Vec<bool>,
    times: Option<Column>,
    rows: usize,
    bytes: usize,
    /// Values that the schema has no room for.
    lost: u64,
    writer: ArrowWriter<Shared>,
    out: Shared,
}

impl WholeFile for ParquetFile {
    fn looks(&self) -> bool {
        !self.given
    }

    fn look(&mut self, _: &Tag, _: EventTime, record: &Record<'_>) {
        for (name, value) in record.iter() {
            self.columns.see(name, Kind::of(value));
        }
    }

    fn write(&mut self, _: &Tag, time: EventTime, record: &Record<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        self.begin()?;
        let Some(writing) = &mut self.writing else { return Ok(()) };
        writing.row(&self.columns, time, record);
        if writing.rows >= BATCH_ROWS || writing.bytes >= BATCH_BYTES {
            writing.batch()?;
            writing.out.drain_into(out);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, out: &mut Vec<u8>) -> Result<(), String> {
        self.begin()?;
        let Some(mut writing) = self.writing else { return Ok(()) };
        writing.batch()?;
        if writing.lost > 0 {
            tracing::warn!("{} values do not have the type that the schema gives them: they are null", writing.lost);
        }
        writing.writer.close().map_err(|e| e.to_string())?;
        writing.out.drain_into(out);
        Ok(())
    }
}

impl ParquetFile {
    fn begin(&mut self) -> Result<(), String> {
        if self.writing.is_none() {
            self.writing = Some(self.writing()?);
        }
        Ok(())
    }

    fn writing(&self) -> Result<Writing, String> {
        if self.columns.kinds.len() > MAX_COLUMNS {
            let remedy = "give a schema, or put what has no fixed names into one field";
            return Err(format!("the chunk's records have more than {MAX_COLUMNS} fields: {remedy}"));
        }
        let mut fields = Vec::with_capacity(self.columns.kinds.len() + 1);
        if let Some(name) = &self.time_column {
            fields.push(Field::new(name, Kind::Time.data_type(), false));
        }
        for (name, kind) in &self.columns.kinds {
            let name = String::from_utf8_lossy(name);
            if self.time_column.as_deref() == Some(&*name) {
                return Err(format!("the records have a field {name:?}, which is the name of time_column too"));
            }
            fields.push(Field::new(name, kind.data_type(), true));
        }
        let schema: SchemaRef = Arc::new(ArrowSchema::new(fields));
        let out = Shared::default();
        let writer = ArrowWriter::try_new(out.clone(), schema.clone(), Some(self.properties.clone()));
        Ok(Writing {
            schema,
            columns: self.columns.kinds.iter().map(|(_, kind)| Column::new(*kind)).collect(),
            filled: vec![false; self.columns.kinds.len()],
            times: self.time_column.as_ref().map(|_| Column::new(Kind::Time)),
            rows: 0,
            bytes: 0,
            lost: 0,
            writer: writer.map_err(|e| e.to_string())?,
            out,
        })
    }
}

impl Writing {
    fn row(&mut self, columns: &Columns, time: EventTime, record: &Record<'_>) {
        self.filled.fill(false);
        for (name, value) in record.iter() {
            // A field that the schema does not name is left out.
            let Some(place) = columns.places.get(*name).copied() else { continue };
            // A record may name a field twice; the first counts.
            if std::mem::replace(&mut self.filled[place], true) {
                continue;
            }
            self.lost += u64::from(!self.columns[place].push(value));
            self.bytes += 8 + size(value);
        }
        let missing = self.filled.iter().zip(&mut self.columns).filter(|(filled, _)| !**filled);
        missing.for_each(|(_, column)| column.gap());
        if let Some(Column::Time(times)) = &mut self.times {
            times.append_value(time.nanos());
        }
        self.rows += 1;
    }

    fn batch(&mut self) -> Result<(), String> {
        if self.rows == 0 {
            return Ok(());
        }
        let times = self.times.as_mut().map(Column::take);
        let arrays = times.into_iter().chain(self.columns.iter_mut().map(Column::take)).collect();
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options);
        (self.rows, self.bytes) = (0, 0);
        self.writer.write(&batch.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
    }
}

fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Str(v) | Value::Bin(v) | Value::Array(v) | Value::Map(v) | Value::Ext(_, v) => v.len(),
        _ => 0,
    }
}

/// What the writer has written. It counts bytes itself, so they may be taken away.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn drain_into(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
