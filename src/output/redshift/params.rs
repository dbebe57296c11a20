//! Parameters of `redshift`: those of fluent-plugin-redshift and its forks, and some of its own.

use serde::Deserialize;

use crate::config::{Diagnostic, Secret, TimeSpan};
use crate::output::pg::ConnectParams;
use crate::output::s3::CredentialParams;
use crate::plugin::{BuildContext, MAX_REFUSED};

/// How long rows of the loads table are kept, where nothing is said.
const RETENTION: f64 = 30.0 * 86_400.0;
/// Shortest time that they are kept: a chunk whose answer was lost must find its row.
const LEAST_RETENTION: f64 = 86_400.0;

/// What the objects hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileType {
    /// A JSON object a line.
    #[default]
    Json,
    /// The same: what came as MessagePack is written as JSON.
    Msgpack,
    /// The text of one field, values between commas.
    Csv,
    /// The text of one field, values between tabs.
    Tsv,
    /// Columns.
    Parquet,
}

impl FileType {
    /// Whether an object is text, a line for each event.
    pub fn has_lines(self) -> bool {
        self != FileType::Parquet
    }
}

/// Where the server tells of lines that it did not load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorsView {
    /// `stl_load_errors`, of provisioned clusters.
    #[default]
    Stl,
    /// `sys_load_error_detail`, of serverless ones too.
    Sys,
}

/// Parameters of `redshift`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct RedshiftParams {
    /// The bucket that objects go through.
    pub s3_bucket: Option<String>,
    /// Its region.
    pub s3_region: Option<String>,
    /// Address of a store that is compatible with S3.
    pub s3_endpoint: Option<String>,
    /// Beginning of the objects' names.
    pub path: String,
    /// The part of the names behind it, from the chunk's time slice.
    pub timestamp_key_format: String,
    /// Whether that is in UTC.
    pub utc: bool,
    /// Whether a bucket that is not there is made.
    pub auto_create_bucket: bool,
    /// Host of the cluster.
    pub redshift_host: Option<String>,
    /// Its port.
    pub redshift_port: u16,
    /// The database.
    pub redshift_dbname: Option<String>,
    /// Who logs in.
    pub redshift_user: Option<String>,
    /// The password.
    pub redshift_password: Option<Secret>,
    /// Schema of the tables.
    pub redshift_schemaname: Option<String>,
    /// The table; placeholders may stand in it.
    pub redshift_tablename: Option<String>,
    /// Options of COPY, which stand before the others.
    pub redshift_copy_base_options: String,
    /// More options of COPY.
    pub redshift_copy_options: String,
    /// Seconds for connecting.
    pub redshift_connect_timeout: Option<TimeSpan>,
    /// The role with which the cluster reads the objects; by default the credentials that they are put with.
    pub iam_role: Option<String>,
    /// What the objects hold.
    pub file_type: FileType,
    /// What stands between values, for csv and tsv.
    pub delimiter: Option<String>,
    /// The field whose text is the line, for csv and tsv.
    pub record_log_tag: String,
    /// The table is called as the tag.
    pub tag_table: bool,
    /// Whether a table that is not there is created.
    pub make_auto_table: bool,
    /// Length of text columns of such tables.
    pub varchar_length: u32,
    /// Columns whose values name a row: one that is there already is replaced.
    pub upsert_keys: Vec<String>,
    /// Of rows of one chunk with the same keys, the one with the highest value here stays.
    pub upsert_order: Option<String>,
    /// Lines of one chunk that may be refused.
    pub max_load_errors: usize,
    /// Where the server tells of them.
    pub load_errors: ErrorsView,
    /// Where ids of chunks that were loaded are kept.
    pub loads_table: String,
    /// How long they are kept.
    pub loads_retention: TimeSpan,
    /// Who puts the objects.
    #[serde(rename = "$same_credentials")]
    pub credentials: CredentialParams,
    /// How the cluster is reached.
    #[serde(rename = "$same_connect")]
    pub connect: ConnectParams,
}

impl Default for RedshiftParams {
    fn default() -> RedshiftParams {
        RedshiftParams {
            s3_bucket: None,
            s3_region: None,
            s3_endpoint: None,
            path: String::new(),
            timestamp_key_format: "year=%Y/month=%m/day=%d/hour=%H/%Y%m%d-%H%M".into(),
            utc: false,
            auto_create_bucket: false,
            redshift_host: None,
            redshift_port: 5439,
            redshift_dbname: None,
            redshift_user: None,
            redshift_password: None,
            redshift_schemaname: None,
            redshift_tablename: None,
            redshift_copy_base_options: "FILLRECORD ACCEPTANYDATE TRUNCATECOLUMNS".into(),
            redshift_copy_options: String::new(),
            redshift_connect_timeout: None,
            iam_role: None,
            file_type: FileType::default(),
            delimiter: None,
            record_log_tag: "log".into(),
            tag_table: false,
            make_auto_table: false,
            varchar_length: 255,
            upsert_keys: Vec::new(),
            upsert_order: None,
            max_load_errors: 1000,
            load_errors: ErrorsView::default(),
            loads_table: "suiro_loads".into(),
            loads_retention: TimeSpan::secs(RETENTION),
            credentials: CredentialParams::default(),
            connect: ConnectParams::default(),
        }
    }
}

impl RedshiftParams {
    /// What contradicts itself.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        if self.max_load_errors > MAX_REFUSED {
            return Err(cx.fault("max_load_errors", format!("max_load_errors is at most {MAX_REFUSED}")));
        }
        if self.loads_retention.duration().as_secs_f64() < LEAST_RETENTION {
            let why = "loads_retention is shorter than a day: a chunk that is sent again later than that would be loaded twice";
            return Err(cx.fault("loads_retention", why));
        }
        if self.tag_table == self.redshift_tablename.is_some() {
            let why = "name the table in redshift_tablename, or set tag_table true; one of them";
            return Err(cx.fault("redshift_tablename", why));
        }
        if self.upsert_order.is_some() && self.upsert_keys.is_empty() {
            return Err(
                cx.fault("upsert_order", "upsert_order without upsert_keys; name the columns that tell rows apart")
            );
        }
        let lines = matches!(self.file_type, FileType::Csv | FileType::Tsv);
        if !lines {
            for parameter in ["delimiter", "record_log_tag"] {
                cx.without_effect(parameter, "it is for file_type csv and tsv alone");
            }
        }
        if self.make_auto_table && lines {
            return Err(
                cx.fault("make_auto_table", "lines of csv and tsv have no names of columns: create the table yourself")
            );
        }
        if let Some(delimiter) = self.delimiter.as_deref().filter(|d| d.chars().count() != 1 || !d.is_ascii()) {
            return Err(cx.fault("delimiter", format!("delimiter {delimiter:?} is not one ASCII character")));
        }
        if self.iam_role.as_deref().is_some_and(|role| role != "default" && !role.starts_with("arn:")) {
            return Err(cx.fault("iam_role", "iam_role is an ARN (arn:aws:iam::...), or default"));
        }
        Ok(())
    }
}
