//! Rows as text. Whatever an event holds, it can't move the cursor of a terminal: control characters are shown, not sent.

use std::io::{self, Write};

use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::{Format, flushed, is_gone};
use crate::query::arrow::array::RecordBatch;
use crate::query::arrow::csv;
use crate::query::arrow::error::ArrowError;
use crate::query::arrow::json::{LineDelimitedWriter, WriterBuilder};
use crate::query::arrow::util::pretty::pretty_format_batches_with_schema;
use crate::query::{Query, write_parquet};

/// Rows of a table for the eye: its columns are only as wide as they must be once all rows are known.
const MAX_TABLE_ROWS: usize = 10_000;

/// Prints all rows.
///
/// Errors: what the query or the output says.
pub async fn rows(
    query: &Query,
    rows: SendableRecordBatchStream,
    format: Format,
    out: impl Write + Send,
) -> Result<(), String> {
    match format {
        Format::Table => table(query, rows, out).await,
        Format::Csv => csv(query, rows, out).await,
        Format::Json => json(query, rows, out).await,
        Format::Parquet => write_parquet(query, rows, out).await.map(drop),
    }
}

async fn table(query: &Query, mut rows: SendableRecordBatchStream, mut out: impl Write) -> Result<(), String> {
    let (schema, mut batches, mut count) = (rows.schema(), Vec::new(), 0);
    let mut more = false;
    while let Some(batch) = rows.next().await {
        let batch: RecordBatch = batch.map_err(|e| query.explained(e))?;
        let room = MAX_TABLE_ROWS - count;
        more = batch.num_rows() > room;
        batches.push(batch.slice(0, batch.num_rows().min(room)));
        count += batch.num_rows().min(room);
        if more {
            break;
        }
    }
    let text = pretty_format_batches_with_schema(schema, &batches).map_err(|e| e.to_string())?.to_string();
    let text: String = text.chars().flat_map(shown).collect();
    let behind = if more { ": more rows were left out, --format csv has them all" } else { "" };
    let plural = if count == 1 { "" } else { "s" };
    match writeln!(out, "{text}\n{count} row{plural}{behind}") {
        Err(e) if !is_gone(&e) => Err(e.to_string()),
        _ => flushed(out),
    }
}

fn shown(c: char) -> Vec<char> {
    if c.is_control() && c != '\n' { c.escape_default().collect() } else { vec![c] }
}

/// A reader that has gone away ends the rows.
fn told(outcome: Result<(), ArrowError>) -> Result<bool, String> {
    let gone = |e: &ArrowError| match e {
        ArrowError::IoError(_, inner) => is_gone(inner),
        // The CSV writer tells its errors as text.
        other => other.to_string().contains(&io::Error::from(io::ErrorKind::BrokenPipe).to_string()),
    };
    match outcome {
        Ok(()) => Ok(true),
        Err(e) if gone(&e) => Ok(false),
        Err(e) => Err(e.to_string()),
    }
}

async fn csv(query: &Query, mut rows: SendableRecordBatchStream, out: impl Write) -> Result<(), String> {
    let mut writer = csv::WriterBuilder::new().with_header(true).build(out);
    // The head is there even without a row.
    let head = RecordBatch::new_empty(rows.schema());
    if !told(writer.write(&head))? {
        return Ok(());
    }
    while let Some(batch) = rows.next().await {
        if !told(writer.write(&batch.map_err(|e| query.explained(e))?))? {
            return Ok(());
        }
    }
    flushed(writer.into_inner())
}

async fn json(query: &Query, mut rows: SendableRecordBatchStream, out: impl Write) -> Result<(), String> {
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new().build(out);
    while let Some(batch) = rows.next().await {
        if !told(writer.write(&batch.map_err(|e| query.explained(e))?))? {
            return Ok(());
        }
    }
    told(writer.finish())?;
    flushed(writer.into_inner())
}
