//! Parameters of `clickhouse`, and what is wrong with them.

use std::path::PathBuf;

use serde::Deserialize;

use crate::config::{Diagnostic, Secret, TimeSpan};
use crate::output::fields::check_own;
use crate::plugin::BuildContext;

/// How bodies are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compress {
    /// Not at all.
    Text,
    /// By gzip.
    #[default]
    Gzip,
}

/// Parameters of `clickhouse`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct ClickhouseParams {
    /// Address of the HTTP interface.
    pub endpoint: String,
    /// The database.
    pub database: String,
    /// Who logs in.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The table; placeholders may stand in it.
    pub table: Option<String>,
    /// `field:column` pairs between commas; only those fields are written then.
    pub column_mapping: Option<String>,
    /// Column for the events' time.
    pub time_column: Option<String>,
    /// Column for their tag.
    pub tag_column: Option<String>,
    /// Column for the fields that have none of their own, as the text of a JSON object.
    pub json_column: Option<String>,
    /// `gzip` or `text`.
    pub compress: Compress,
    /// How long the server may be silent.
    pub read_timeout: Option<TimeSpan>,
    /// A proxy for everything.
    pub proxy: Option<Secret>,
    /// Authorities to trust instead of the system's.
    pub tls_ca_cert_path: Option<PathBuf>,
    /// Whether the server's certificate is checked.
    pub tls_verify: bool,
}

impl Default for ClickhouseParams {
    fn default() -> ClickhouseParams {
        ClickhouseParams {
            endpoint: "http://localhost:8123".into(),
            database: "default".into(),
            username: None,
            password: None,
            table: None,
            column_mapping: None,
            time_column: None,
            tag_column: None,
            json_column: None,
            compress: Compress::default(),
            read_timeout: None,
            proxy: None,
            tls_ca_cert_path: None,
            tls_verify: true,
        }
    }
}

impl ClickhouseParams {
    /// What contradicts itself.
    pub fn check(&self, cx: &mut BuildContext<'_>) -> Result<(), Diagnostic> {
        let own =
            [("time_column", &self.time_column), ("tag_column", &self.tag_column), ("json_column", &self.json_column)];
        check_own(&own, cx)?;
        if self.password.is_some() && self.username.is_none() {
            return Err(cx.fault("password", "password without username; give both or none"));
        }
        if !self.endpoint.starts_with("https://") && (self.tls_ca_cert_path.is_some() || !self.tls_verify) {
            let parameter = if self.tls_verify { "tls_ca_cert_path" } else { "tls_verify" };
            cx.warn(parameter, format!("{parameter} has no effect here: the endpoint is not https"));
        }
        Ok(())
    }
}
