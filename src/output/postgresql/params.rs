//! Parameters of `postgresql`, and what is wrong with them.

use serde::Deserialize;

use crate::config::{Diagnostic, Secret, TimeSpan};
use crate::output::fields::check_own;
use crate::output::pg::ConnectParams;
use crate::plugin::BuildContext;

/// How long rows of the batch table are kept, where nothing is said.
const RETENTION: f64 = 30.0 * 86_400.0;
/// Shortest time that they are kept: a chunk whose answer was lost must find its row.
const LEAST_RETENTION: f64 = 86_400.0;

/// Parameters of `postgresql`. The names are fluent-plugin-sql's where it has them.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct PostgresqlParams {
    /// Name or address of the server; a path is the directory of its Unix socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database.
    pub database: Option<String>,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The table, `table` or `schema.table`; placeholders may stand in it.
    pub table: Option<String>,
    /// Schema of tables that name none.
    pub schema: Option<String>,
    /// `field:column` pairs between commas; only those fields are written then. A field alone is a column of the same name.
    pub column_mapping: Option<String>,
    /// Column for the events' time.
    pub time_column: Option<String>,
    /// Column for their tag.
    pub tag_column: Option<String>,
    /// Column for the fields that have none of their own, as one JSON object.
    pub json_column: Option<String>,
    /// Whether a table that is not there is created.
    pub auto_create_table: bool,
    /// Whether a field that has no column gets one.
    pub add_columns: bool,
    /// Where ids of chunks that were loaded are kept.
    pub batch_table: String,
    /// How long they are kept.
    pub batch_retention: TimeSpan,
    /// How the server is reached.
    #[serde(rename = "$same")]
    pub connect: ConnectParams,
}

impl Default for PostgresqlParams {
    fn default() -> PostgresqlParams {
        PostgresqlParams {
            host: "localhost".into(),
            port: 5432,
            database: None,
            username: None,
            password: None,
            table: None,
            schema: None,
            column_mapping: None,
            time_column: None,
            tag_column: None,
            json_column: None,
            auto_create_table: false,
            add_columns: false,
            batch_table: "suiro_batches".into(),
            batch_retention: TimeSpan::secs(RETENTION),
            connect: ConnectParams::default(),
        }
    }
}

impl PostgresqlParams {
    /// What contradicts itself.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        let own =
            [("time_column", &self.time_column), ("tag_column", &self.tag_column), ("json_column", &self.json_column)];
        check_own(&own, cx)?;
        if self.add_columns && (self.json_column.is_some() || self.column_mapping.is_some()) {
            let why = "add_columns has no effect here: json_column takes what has no column, column_mapping leaves it out; \
                       take one of them out";
            cx.warn("add_columns", why);
        }
        if self.batch_retention.duration().as_secs_f64() < LEAST_RETENTION {
            let why = "batch_retention is shorter than a day: a chunk that is sent again later than that would be loaded twice";
            return Err(cx.fault("batch_retention", why));
        }
        Ok(())
    }
}
