//! Files that come back from the reader as what was written.
#![allow(clippy::unwrap_used)]

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::config::{Diagnostics, LoadOptions, Surroundings, load_text};
use crate::event::Arena;
use crate::plugin::Registry;
use crate::plugin::testing::process;

static REGISTRY: Registry =
    Registry { inputs: &[], filters: &[], outputs: &[], parsers: &[], formatters: crate::formatter::FORMATTERS };

fn build(parameters: &str) -> Result<Parquet, String> {
    let text = format!("<format>\n@type parquet\n{parameters}\n</format>\n");
    let loaded = load_text("test.conf", &text, &LoadOptions::new(Surroundings::default())).map_err(|f| f.render())?;
    let (process, mut faults) = (process(true), Diagnostics::new());
    let section = loaded.root.child("format").unwrap();
    let built = BuildContext::new(section, &process, &REGISTRY, &mut faults).configure::<Parquet>();
    built.ok_or_else(|| faults.render())
}

type Row<'a> = Vec<(&'a str, Value<'a>)>;

fn written(format: &Parquet, rows: &[Row<'_>]) -> Result<Vec<u8>, String> {
    let mut file = format.begin();
    let (tag, mut out) = (Tag::from("t"), Vec::new());
    let records = rows.iter().map(|row| {
        let mut record = Record::new();
        row.iter().for_each(|(name, value)| record.push(name.as_bytes(), *value));
        record
    });
    let records: Vec<Record<'_>> = records.collect();
    if file.looks() {
        records.iter().for_each(|record| file.look(&tag, EventTime::from_secs(1), record));
    }
    for (n, record) in records.iter().enumerate() {
        file.write(&tag, EventTime::new(n as i64, 5), record, &mut out)?;
    }
    file.finish(&mut out)?;
    Ok(out)
}

fn read(file: Vec<u8>) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().with_batch_size(1 << 20);
    reader.build().unwrap().collect::<Result<_, _>>().unwrap()
}

fn table(parameters: &str, rows: &[Row<'_>]) -> RecordBatch {
    let format = build(parameters).unwrap_or_else(|why| panic!("{why}"));
    read(written(&format, rows).unwrap()).remove(0)
}

fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

#[test]
fn columns_have_the_types_of_their_values() {
    let arena = Arena::new();
    let map = [0x81, 0xa1, b'x', 0x01];
    let rows = [
        vec![("s", Value::str("a")), ("i", Value::Int(-1)), ("f", Value::Float(0.5)), ("b", Value::Bool(true))],
        vec![("m", Value::Map(&map)), ("u", Value::UInt(u64::MAX)), ("i", Value::Nil), ("y", Value::Bin(b"\xff"))],
        vec![("s", arena.str("é\n")), ("n", Value::Nil)],
    ];
    let batch = table("", &rows);
    let types: Vec<(String, DataType)> =
        batch.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect();
    let wanted = [
        ("s", DataType::Utf8),
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("b", DataType::Boolean),
        ("m", DataType::Utf8),
        ("u", DataType::UInt64),
        ("y", DataType::Binary),
        ("n", DataType::Utf8),
    ];
    assert_eq!(types, wanted.map(|(name, kind)| (name.to_owned(), kind)));
    assert_eq!(texts(&batch, "s"), [Some("a".into()), None, Some("é\n".into())]);
    assert_eq!(texts(&batch, "m"), [None, Some("{\"x\":1}".into()), None]);
    assert_eq!(batch.column_by_name("u").unwrap().as_primitive::<UInt64Type>().value(1), u64::MAX);
    assert_eq!(batch.column_by_name("i").unwrap().null_count(), 2);
    assert_eq!(batch.column_by_name("y").unwrap().as_binary::<i32>().value(1), b"\xff");
    assert_eq!(batch.column_by_name("n").unwrap().null_count(), 3);
}

#[test]
fn values_of_different_types_are_widened_and_none_is_lost() {
    let array = [0x92, 0x01, 0x02];
    let of = |a, b| table("", &[vec![("x", a)], vec![("x", b)]]);
    let floats = of(Value::Int(3), Value::Float(0.25));
    assert_eq!(floats.column(0).as_primitive::<Float64Type>().values()[..], [3.0, 0.25]);
    let large = of(Value::UInt(u64::MAX), Value::Int(-1));
    assert_eq!(large.column(0).as_primitive::<Float64Type>().value(1), -1.0);
    assert_eq!(texts(&of(Value::Int(3), Value::str("3x")), "x"), [Some("3".into()), Some("3x".into())]);
    assert_eq!(texts(&of(Value::Bool(true), Value::Int(1)), "x"), [Some("true".into()), Some("1".into())]);
    assert_eq!(texts(&of(Value::Array(&array), Value::Nil), "x"), [Some("[1,2]".into()), None]);
    let bytes = of(Value::Bin(b"\xff"), Value::str("a"));
    assert_eq!(bytes.column(0).as_binary::<i32>().value(1), b"a");
    let ints = of(Value::Nil, Value::Int(7));
    assert_eq!(ints.column(0).as_primitive::<Int64Type>().value(1), 7);
}

#[test]
fn a_schema_decides_and_its_values_are_converted() {
    let parameters =
        "schema {\"n\":\"int64\",\"f\":\"double\",\"t\":\"timestamp\",\"gone\":\"string\"}\ntime_column at";
    let rows = [
        vec![
            ("n", Value::str("12")),
            ("f", Value::Int(2)),
            ("t", Value::str("1970-01-01T00:00:01.5Z")),
            ("other", Value::Int(1)),
        ],
        vec![("n", Value::str("x")), ("t", Value::Int(3))],
    ];
    let batch = table(parameters, &rows);
    let names: Vec<String> = batch.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["at", "n", "f", "t", "gone"]);
    assert_eq!(batch.column(0).as_primitive::<TimestampNanosecondType>().values()[..], [5, 1_000_000_005]);
    assert_eq!(batch.column(1).as_primitive::<Int64Type>().value(0), 12);
    assert!(batch.column(1).is_null(1));
    assert_eq!(batch.column(2).as_primitive::<Float64Type>().value(0), 2.0);
    assert_eq!(batch.column(3).as_primitive::<TimestampNanosecondType>().values()[..], [1_500_000_000, 3_000_000_000]);
    assert_eq!(batch.column(4).null_count(), 2);
}

#[test]
fn every_codec_comes_back_and_the_bytes_are_the_same_each_time() {
    let texts: Vec<String> = (0..5_000).map(|n| format!("line {n} of many")).collect();
    let rows: Vec<Row<'_>> =
        texts.iter().enumerate().map(|(n, t)| vec![("t", Value::str(t)), ("n", Value::Int(n as i64))]).collect();
    let mut sizes = Vec::new();
    for codec in ["none", "snappy", "gzip", "zstd", "uncompressed"] {
        let format = build(&format!("compression {codec}")).unwrap();
        let file = written(&format, &rows).unwrap();
        assert_eq!(file, written(&format, &rows).unwrap(), "{codec}");
        sizes.push(file.len());
        let read = read(file);
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), rows.len(), "{codec}");
        let last = read.last().unwrap();
        assert_eq!(last.column(0).as_string::<i32>().value(last.num_rows() - 1), "line 4999 of many");
    }
    assert!(sizes[1] < sizes[0] && sizes[3] < sizes[0], "{sizes:?}");
}

#[test]
fn row_groups_end_where_they_should() {
    let texts: Vec<String> =
        (0..20_000).map(|n| format!("{:x}", (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let rows: Vec<Row<'_>> = texts.iter().map(|t| vec![("t", Value::str(t))]).collect();
    let file = written(&build("row_group_size 64k\ncompression none").unwrap(), &rows).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
    assert!(reader.metadata().num_row_groups() > 3, "{}", reader.metadata().num_row_groups());
}

#[test]
fn what_can_not_be_a_file_of_columns_is_refused() {
    for (parameters, wanted) in [
        ("schema {\"a\":\"frog\"}", "not known"),
        ("schema_file /nowhere", "/nowhere"),
        ("schema {\"a\":\"int64\"}\nschema_file /x", "exclude each other"),
        ("schema {\"a\":\"int64\"}\ntime_column a", "twice"),
        ("compression brotli", "brotli"),
        ("row_group_size 0", "above zero"),
    ] {
        let said = build(parameters).err().unwrap_or_else(|| panic!("no fault in {parameters}"));
        assert!(said.contains(wanted), "{parameters}: {said}");
    }
    let names: Vec<String> = (0..MAX_COLUMNS + 2).map(|n| format!("f{n}")).collect();
    let wide: Vec<Row<'_>> = names.iter().map(|name| vec![(name.as_str(), Value::Int(1))]).collect();
    assert!(written(&build("").unwrap(), &wide).unwrap_err().contains("4096 fields"));
    let clash = [vec![("at", Value::Int(1))]];
    assert!(written(&build("time_column at").unwrap(), &clash).unwrap_err().contains("time_column"));
}
