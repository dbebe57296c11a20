//! A data file in the making, and what the catalog is told about it: rows, bounds, sizes.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use bytes::Bytes;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;

use super::columns::Column;
use super::fault::{Done, Fault};
use super::layout::{Key, Layout, Place, literal};
use crate::event::{EventTime, Record, Value, json};

/// Rows and bytes that are gathered before they are handed to the writer.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 4 << 20;

/// Columns whose bounds the catalog is told; the first ones, as Iceberg's own writers do.
const MAX_BOUNDS: usize = 100;
/// Longest text in a bound, in characters.
const BOUND_CHARS: usize = 16;

/// Why a value went to `_rest` for which a column is to be made first.
pub const NEW_FIELD: &str = "there is no column for it yet";

/// A data file in the making.
pub struct Sheet {
    /// Its partition.
    pub key: Key,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    text: Vec<u8>,
    writer: ArrowWriter<Vec<u8>>,
}

/// A data file that is whole.
pub struct Whole {
    /// Its partition.
    pub partition: Struct,
    /// Its bytes.
    pub bytes: Bytes,
    /// What its footer says.
    pub footer: ParquetMetaData,
}

impl Sheet {
    /// No rows yet.
    pub fn new(layout: &Layout, key: Key, properties: &WriterProperties) -> Done<Sheet> {
        let columns =
            layout.kinds.iter().zip(layout.arrow.fields()).map(|(kind, field)| Column::new(*kind, field.data_type()));
        Ok(Sheet {
            key,
            columns: columns.collect(),
            rows: 0,
            bytes: 0,
            text: Vec::new(),
            writer: ArrowWriter::try_new(Vec::new(), layout.arrow.clone(), Some(properties.clone()))?,
        })
    }

    /// Bytes that are written, and those that wait packed.
    pub fn size(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Bytes that the sheet holds in memory.
    pub fn memory(&self) -> usize {
        self.writer.bytes_written() + self.writer.memory_size() + self.bytes
    }

    /// Takes an event as a row. `stray` is told of each value that goes to `_rest`.
    pub fn row(
        &mut self,
        layout: &mut Layout,
        time: EventTime,
        record: &Record<'_>,
        stray: &mut dyn FnMut(&[u8], &'static str),
    ) -> Done<()> {
        let row = self.rows;
        self.columns[layout.time].push_micros(row, time.nanos().div_euclid(1_000));
        self.text.clear();
        for (name, value) in record.iter() {
            if *value == Value::Nil {
                continue;
            }
            self.bytes += 8 + size(value);
            let why = match layout.place(name) {
                Place::Column(place) if self.columns[place].has(row) => "the record names the field twice",
                Place::Column(place) => match self.columns[place].push(row, value) {
                    true => continue,
                    false => "it does not have the column's type",
                },
                Place::New => NEW_FIELD,
                Place::Rest => "its name is not that of a column, and none can be made",
            };
            stray(name, why);
            self.text.push(if self.text.is_empty() { b'{' } else { b',' });
            json::write_value(Value::Str(name), &mut self.text);
            self.text.push(b':');
            json::write_value(*value, &mut self.text);
        }
        if !self.text.is_empty() {
            self.text.push(b'}');
            self.bytes += self.text.len();
            self.columns[layout.rest].push_text(row, &String::from_utf8_lossy(&self.text));
        }
        self.rows += 1;
        match self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            true => self.batch(layout),
            false => Ok(()),
        }
    }

    fn batch(&mut self, layout: &Layout) -> Done<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let arrays = self.columns.iter_mut().map(|column| column.take(rows)).collect();
        self.writer.write(&RecordBatch::try_new(layout.arrow.clone(), arrays)?)?;
        Ok(())
    }

    /// Takes rows that have the columns of the layout.
    pub fn rows(&mut self, batch: &RecordBatch) -> Done<()> {
        self.writer.write(batch)?;
        Ok(())
    }

    /// Ends the file.
    pub fn finish(mut self, layout: &Layout) -> Done<Whole> {
        self.batch(layout)?;
        let footer = self.writer.finish()?;
        let bytes = std::mem::take(self.writer.inner_mut());
        Ok(Whole { partition: literal(&self.key), bytes: bytes.into(), footer })
    }
}

fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Str(v) | Value::Bin(v) | Value::Array(v) | Value::Map(v) | Value::Ext(_, v) => v.len(),
        _ => 0,
    }
}

impl Whole {
    /// What the catalog is told.
    pub fn data_file(&self, schema: &Schema, spec: i32, url: String) -> Done<DataFile> {
        let metrics = Metrics::of(&self.footer, schema);
        let rows = u64::try_from(self.footer.file_metadata().num_rows()).unwrap_or_default();
        let offsets = self.footer.row_groups().iter().filter_map(|group| group.file_offset()).collect();
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(url)
            .file_format(DataFileFormat::Parquet)
            .partition(self.partition.clone())
            .partition_spec_id(spec)
            .record_count(rows)
            .file_size_in_bytes(self.bytes.len() as u64)
            .column_sizes(metrics.sizes)
            .value_counts(metrics.values)
            .null_value_counts(metrics.nulls)
            .lower_bounds(metrics.lower)
            .upper_bounds(metrics.upper)
            .split_offsets(Some(offsets))
            .build()
            .map_err(|e| Fault(e.to_string()))
    }
}

/// What is known of a file's columns, by their ids.
#[derive(Default)]
struct Metrics {
    sizes: HashMap<i32, u64>,
    values: HashMap<i32, u64>,
    nulls: HashMap<i32, u64>,
    lower: HashMap<i32, Datum>,
    upper: HashMap<i32, Datum>,
}

impl Metrics {
    fn of(footer: &ParquetMetaData, schema: &Schema) -> Metrics {
        let mut metrics = Metrics::default();
        for (place, field) in schema.as_struct().fields().iter().enumerate().take(MAX_BOUNDS) {
            let Some(kind) = field.field_type.as_primitive_type() else { continue };
            let mut bounds = Some((None, None));
            for group in footer.row_groups() {
                let Some(column) = group.columns().get(place) else { continue };
                let (rows, statistics) = (column.num_values().max(0) as u64, column.statistics());
                *metrics.sizes.entry(field.id).or_default() += column.compressed_size().max(0) as u64;
                *metrics.values.entry(field.id).or_default() += rows;
                let nulls = statistics.and_then(Statistics::null_count_opt).unwrap_or(0);
                *metrics.nulls.entry(field.id).or_default() += nulls;
                if nulls < rows {
                    bounds = joined(bounds, statistics.and_then(|known| bounds_of(known, kind)));
                }
            }
            if let Some((Some(lower), Some(upper))) = bounds {
                metrics.lower.insert(field.id, lower);
                metrics.upper.insert(field.id, upper);
            }
        }
        metrics
    }
}

type Bounds = Option<(Option<Datum>, Option<Datum>)>;

/// Bounds of both; none where either is not known.
fn joined(known: Bounds, more: Option<(Datum, Datum)>) -> Bounds {
    let ((lower, upper), (least, most)) = (known?, more?);
    let lower = lower.filter(|lower| *lower <= least).unwrap_or(least);
    let upper = upper.filter(|upper| *upper >= most).unwrap_or(most);
    Some((Some(lower), Some(upper)))
}

fn bounds_of(statistics: &Statistics, kind: &PrimitiveType) -> Option<(Datum, Datum)> {
    match (statistics, kind) {
        (Statistics::Boolean(s), PrimitiveType::Boolean) => {
            Some((Datum::bool(*s.min_opt()?), Datum::bool(*s.max_opt()?)))
        }
        (Statistics::Int64(s), PrimitiveType::Long) => Some((Datum::long(*s.min_opt()?), Datum::long(*s.max_opt()?))),
        (Statistics::Int64(s), PrimitiveType::Timestamptz) => {
            Some((Datum::timestamptz_micros(*s.min_opt()?), Datum::timestamptz_micros(*s.max_opt()?)))
        }
        (Statistics::Double(s), PrimitiveType::Double) => {
            let (least, most) = (*s.min_opt()?, *s.max_opt()?);
            (!least.is_nan() && !most.is_nan()).then(|| (Datum::double(least), Datum::double(most)))
        }
        (Statistics::ByteArray(s), PrimitiveType::String) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            let (least, most) = (text(s.min_opt()?.data())?, text(s.max_opt()?.data())?);
            // A short beginning is no higher than the text; for the upper bound only a whole text will do.
            let short: String = least.chars().take(BOUND_CHARS).collect();
            (most.chars().count() <= BOUND_CHARS && s.max_is_exact())
                .then(|| (Datum::string(short), Datum::string(most)))
        }
        _ => None,
    }
}
