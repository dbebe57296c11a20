//! Parameters of `warehouse`.

use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Deserialize;

use super::schema::{Beginning, Kind, REST, Slice};
use crate::config::{Diagnostic, Pairs, Size, TimeSpan};
use crate::plugin::BuildContext;

/// Level of zstd.
const ZSTD_LEVEL: i32 = 3;

/// Columns of a table that a configuration may ask for at most.
const MAX_COLUMNS: usize = 4_096;

/// How pages are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// zstd.
    #[default]
    Zstd,
    /// Snappy.
    Snappy,
    /// gzip.
    Gzip,
    /// Not at all.
    None,
}

/// How tables are cut by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimePartition {
    /// By the hour.
    Hour,
    /// By the day.
    #[default]
    Day,
}

/// Parameters of `warehouse`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct WarehouseParams {
    /// Where the warehouse is: `file:///directory`, `s3://bucket/directory`, `gs://bucket/directory`,
    /// `az://container/directory`.
    pub url: Option<String>,
    /// A directory of this host, in place of `url`.
    pub path: Option<String>,
    /// Schema that the tables are in.
    pub schema: String,
    /// Name of the table, with placeholders; what is no letter, digit or underscore in them becomes an underscore.
    pub table: String,
    /// Column for the events' time.
    pub time_column: String,
    /// hour or day: how tables are cut by time.
    pub time_partition: TimePartition,
    /// Fields that tables are cut by besides.
    pub partition_by: Vec<String>,
    /// Columns with a type of their own, whatever comes first: `{"price":"double"}`.
    pub columns: Pairs,
    /// Most columns of a table; other fields go to `_rest`.
    pub max_columns: usize,
    /// zstd, snappy, gzip or none.
    pub compression: Codec,
    /// Bytes of a row group, packed, about.
    pub row_group_size: Size,
    /// Bytes of a data file: larger ones are divided, smaller ones put together by compaction.
    pub target_size: Size,
    /// Whether small files of a partition are put together.
    pub compact: bool,
    /// Least number of small files of a partition that are put together.
    pub compact_min_files: usize,
    /// How often tables are looked after: compaction, retention, clean-up.
    pub maintenance_interval: TimeSpan,
    /// How long events are kept; for ever by default.
    pub retention: Option<TimeSpan>,
    /// How long earlier states of a table can still be read.
    pub snapshot_retention: TimeSpan,
    /// How old a file that no state names must be before it is removed.
    pub orphan_grace: TimeSpan,
    /// Region of `s3://`; by default that of `AWS_REGION`, else us-east-1.
    pub region: Option<String>,
    /// Address of the service, where it is not the cloud's own.
    pub endpoint: Option<String>,
    /// Project of `gs://`, for a bucket that is made.
    pub project: Option<String>,
    /// Whether a bucket (container) that is not there is made.
    pub auto_create_bucket: bool,
    /// Whether the bucket is looked for at the start.
    pub check_bucket: bool,
}

impl Default for WarehouseParams {
    fn default() -> WarehouseParams {
        WarehouseParams {
            url: None,
            path: None,
            schema: "raw".into(),
            table: "${tag}".into(),
            time_column: "time".into(),
            time_partition: TimePartition::default(),
            partition_by: Vec::new(),
            columns: Pairs::default(),
            max_columns: 1_000,
            compression: Codec::default(),
            row_group_size: Size::mib(32),
            target_size: Size::mib(128),
            compact: true,
            compact_min_files: 4,
            maintenance_interval: TimeSpan::secs(600.0),
            retention: None,
            snapshot_retention: TimeSpan::secs(10_800.0),
            orphan_grace: TimeSpan::secs(86_400.0),
            region: None,
            endpoint: None,
            project: None,
            auto_create_bucket: false,
            check_bucket: true,
        }
    }
}

/// Whether a text can be the name of a schema or a table without quotes.
pub fn is_name(text: &str) -> bool {
    let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    letters && text.len() <= MAX_NAME && !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty()
}

/// Longest name of a table.
pub const MAX_NAME: usize = 128;

impl WarehouseParams {
    /// The URL, which `path` may stand for.
    pub fn url(&self, cx: &BuildContext<'_>) -> Result<String, Diagnostic> {
        match (&self.url, &self.path) {
            (Some(_), Some(_)) => Err(cx.fault("path", "url and path exclude each other")),
            (Some(url), None) => Ok(url.clone()),
            (None, Some(path)) => {
                let path = std::path::absolute(path).map_err(|e| cx.fault("path", format!("{path:?}: {e}")))?;
                let url = url::Url::from_directory_path(&path);
                let url = url.map_err(|()| cx.fault("path", format!("{} is no directory's path", path.display())))?;
                Ok(url.to_string())
            }
            (None, None) => Err(cx.fault(
                "url",
                "'url' or 'path' is required: where the warehouse is, such as path /var/lib/suiro/warehouse",
            )),
        }
    }

    /// How tables begin.
    pub fn beginning(&self, cx: &BuildContext<'_>) -> Result<Beginning, Diagnostic> {
        let typed = self.columns.iter().map(|pair| Ok((pair.name.clone(), Kind::named(pair.text())?)));
        let columns: Vec<(String, Kind)> =
            typed.collect::<Result<_, String>>().map_err(|why| cx.fault("columns", why))?;
        let slice = match self.time_partition {
            TimePartition::Hour => Slice::Hour,
            TimePartition::Day => Slice::Day,
        };
        let mut names: Vec<String> = columns.iter().map(|(name, _)| name.to_lowercase()).collect();
        let word = if slice == Slice::Hour { "hour" } else { "day" };
        let time = self.time_column.to_lowercase();
        names.extend([REST.to_owned(), format!("{time}_{word}"), time]);
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let why = format!(
                "column {:?} is there twice, or the table has it already (names differ by more than case)",
                pair[0]
            );
            return Err(cx.fault("columns", why));
        }
        for (place, field) in self.partition_by.iter().enumerate() {
            let kind = columns.iter().find(|(name, _)| name == field).map(|(_, kind)| *kind);
            if !matches!(kind, None | Some(Kind::Text | Kind::Int | Kind::Bool)) {
                let why = format!("tables can be cut by string, int64 and bool, and {field:?} is none of them");
                return Err(cx.fault("partition_by", why));
            }
            let taken = kind.is_none() && names.contains(&field.to_lowercase());
            if field.is_empty() || taken || self.partition_by[..place].contains(field) {
                return Err(cx.fault("partition_by", format!("{field:?} can't be a column that the table is cut by")));
            }
        }
        Ok(Beginning { time: self.time_column.clone(), slice, partition_by: self.partition_by.clone(), columns })
    }

    /// How data files are written.
    pub fn properties(&self, cx: &BuildContext<'_>) -> Result<WriterProperties, Diagnostic> {
        let sizes = [("row_group_size", self.row_group_size), ("target_size", self.target_size)];
        if let Some((name, _)) = sizes.into_iter().find(|(_, size)| size.is_empty()) {
            return Err(cx.fault(name, format!("{name} must be above zero")));
        }
        let zstd = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| cx.fault("compression", e.to_string()))?;
        let compression = match self.compression {
            Codec::Zstd => Compression::ZSTD(zstd),
            Codec::Snappy => Compression::SNAPPY,
            Codec::Gzip => Compression::GZIP(GzipLevel::default()),
            Codec::None => Compression::UNCOMPRESSED,
        };
        let builder = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(concat!("suiro version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_bytes(Some(self.row_group_size.len()));
        Ok(builder.build())
    }

    /// What else may be wrong.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if !is_name(&self.schema) {
            return Err(cx.fault("schema", format!("{:?} can't be a schema: write letters, digits and _", self.schema)));
        }
        if self.time_column.is_empty() || self.time_column == REST {
            return Err(cx.fault("time_column", format!("{:?} can't be the column of times", self.time_column)));
        }
        if !(2..=MAX_COLUMNS).contains(&self.max_columns) {
            return Err(cx.fault("max_columns", format!("max_columns must be within 2 to {MAX_COLUMNS}")));
        }
        if self.compact_min_files < 2 {
            return Err(cx.fault("compact_min_files", "compact_min_files must be at least 2"));
        }
        let spans = [
            ("maintenance_interval", Some(self.maintenance_interval), 1.0),
            ("retention", self.retention, 1.0),
            ("snapshot_retention", Some(self.snapshot_retention), 0.0),
            ("orphan_grace", Some(self.orphan_grace), 0.0),
        ];
        for (name, span, least) in spans {
            if span.is_some_and(|span| span.seconds() < least) {
                return Err(cx.fault(name, format!("{name} must be at least {least} s")));
            }
        }
        if !self.compact {
            cx.without_effect("compact_min_files", "compact is false");
        }
        Ok(())
    }
}
