//! Parameters that `bigquery_load` and `bigquery_insert` share, named as in fluent-plugin-bigquery.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::auth::{Auth, KeyParams};
use super::schema::Schema;
use super::table::{Columns, Creation, Source, TableSettings};
use crate::config::{Diagnostic, Secret, TimeSpan};
use crate::plugin::{BuildContext, Template};

/// Names of the parameters below, which are read beside those of the plugin itself.
pub const COMMON: &[&str] = &[
    "auth_method",
    "email",
    "private_key_path",
    "private_key_passphrase",
    "json_key",
    "location",
    "project",
    "dataset",
    "table",
    "tables",
    "auto_create_table",
    "ignore_unknown_values",
    "schema",
    "schema_path",
    "fetch_schema",
    "fetch_schema_table",
    "schema_cache_expire",
    "request_timeout_sec",
    "request_open_timeout_sec",
    "time_partitioning_type",
    "time_partitioning_field",
    "time_partitioning_expiration",
    "require_partition_filter",
    "clustering_fields",
    "endpoint",
    "root_url",
    "auto_add_columns",
    "max_columns",
];

/// Address of the service.
const ENDPOINT: &str = "https://bigquery.googleapis.com";
/// Most columns of a table that BigQuery takes.
const MOST_COLUMNS: usize = 10_000;
/// Most columns that a table may be clustered by.
const MOST_CLUSTERING_FIELDS: usize = 4;

/// Parameters of tables that are made.
const CREATING: [&str; 5] = [
    "time_partitioning_type",
    "time_partitioning_field",
    "time_partitioning_expiration",
    "require_partition_filter",
    "clustering_fields",
];

/// How the service is told who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// By a key in a file of its own, and an address.
    #[default]
    PrivateKey,
    /// By a service account's key in JSON.
    JsonKey,
    /// By the machine's account.
    ComputeEngine,
    /// By what the environment has.
    ApplicationDefault,
}

/// How tables are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioning {
    /// By day.
    Day,
    /// By hour.
    Hour,
    /// By month.
    Month,
    /// By year.
    Year,
}

impl Partitioning {
    fn word(self) -> &'static str {
        match self {
            Partitioning::Day => "DAY",
            Partitioning::Hour => "HOUR",
            Partitioning::Month => "MONTH",
            Partitioning::Year => "YEAR",
        }
    }
}

/// See the module's description.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct CommonParams {
    /// How the service is told who asks; by default a private key, or nobody where `endpoint` is set and no key is.
    auth_method: Option<AuthMethod>,
    /// Address of the service account, for `private_key`.
    email: Option<String>,
    /// File of its key, as PEM.
    private_key_path: Option<String>,
    /// Passphrase of that file.
    private_key_passphrase: Option<Secret>,
    /// The service account's key: a path, or the JSON itself.
    json_key: Option<Secret>,
    /// Where jobs run.
    location: Option<String>,
    /// The project.
    project: Option<String>,
    /// The dataset.
    dataset: Option<String>,
    /// The table.
    table: Option<String>,
    /// Several tables, which take turns.
    tables: Vec<String>,
    /// Whether a table that is not there is made.
    auto_create_table: bool,
    /// Whether fields without a column are left out.
    pub ignore_unknown_values: bool,
    /// Columns, in JSON.
    schema: Option<String>,
    /// File of the columns.
    schema_path: Option<String>,
    /// Whether the table is asked for its columns.
    fetch_schema: bool,
    /// The table that is asked.
    fetch_schema_table: Option<String>,
    /// How long its answer is believed.
    schema_cache_expire: TimeSpan,
    /// How long the service may be silent.
    request_timeout_sec: Option<TimeSpan>,
    /// How long connecting may take.
    request_open_timeout_sec: TimeSpan,
    /// How tables that are made are divided.
    time_partitioning_type: Option<Partitioning>,
    /// The column that decides; the time of loading where there is none.
    time_partitioning_field: Option<String>,
    /// How long a part is kept.
    time_partitioning_expiration: Option<TimeSpan>,
    /// Whether queries have to name a part.
    require_partition_filter: bool,
    /// Columns that rows are ordered by.
    clustering_fields: Vec<String>,
    /// Address of the service, where it is not Google's own.
    endpoint: Option<String>,
    /// The same under the name that client libraries have for it.
    root_url: Option<String>,
    /// Whether a field without a column gets one.
    auto_add_columns: bool,
    /// Columns past which none is added.
    max_columns: usize,
}

impl Default for CommonParams {
    fn default() -> CommonParams {
        CommonParams {
            auth_method: None,
            email: None,
            private_key_path: None,
            private_key_passphrase: None,
            json_key: None,
            location: None,
            project: None,
            dataset: None,
            table: None,
            tables: Vec::new(),
            auto_create_table: false,
            ignore_unknown_values: false,
            schema: None,
            schema_path: None,
            fetch_schema: false,
            fetch_schema_table: None,
            schema_cache_expire: TimeSpan::secs(600.0),
            request_timeout_sec: None,
            request_open_timeout_sec: TimeSpan::secs(60.0),
            time_partitioning_type: None,
            time_partitioning_field: None,
            time_partitioning_expiration: None,
            require_partition_filter: false,
            clustering_fields: Vec::new(),
            endpoint: None,
            root_url: None,
            auto_add_columns: false,
            max_columns: 1_000,
        }
    }
}

/// What both outputs need to reach their tables.
pub struct Common {
    /// Where the service is.
    pub endpoint: Url,
    /// Who asks it.
    pub auth: Auth,
    /// Where jobs run.
    pub location: Option<String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the service may be silent.
    pub read_timeout: Option<Duration>,
    /// Names.
    pub names: Names,
    /// Whether fields without a column are left out.
    pub ignore_unknown_values: bool,
    /// How tables are found, made and changed.
    pub tables: TableSettings,
}

/// The names that a chunk's rows go to.
#[derive(Clone)]
pub struct Names {
    /// The project.
    pub project: Arc<Template>,
    /// The dataset.
    pub dataset: Arc<Template>,
    /// Tables, which take turns.
    pub tables: Arc<[Template]>,
}

impl Common {
    /// Reads the parameters. `decorated`: names of tables may have a partition behind a `$`.
    ///
    /// Errors: the fault, at its parameter.
    pub fn read(cx: &mut BuildContext<'_>, decorated: bool) -> Result<Common, Diagnostic> {
        let params: CommonParams = cx.shared()?;
        let names = names(&params, decorated, cx)?;
        let (parameter, endpoint) = match (&params.endpoint, &params.root_url) {
            (Some(_), Some(_)) => return Err(cx.fault("root_url", "endpoint and root_url mean the same: write one")),
            (Some(endpoint), None) => ("endpoint", Some(endpoint)),
            (None, root_url) => ("root_url", root_url.as_ref()),
        };
        let url = Url::parse(endpoint.map_or(ENDPOINT, String::as_str)).map_err(|e| e.to_string());
        let url = url.and_then(|url| match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            _ => Err("it is no http or https URL".to_owned()),
        });
        let auth = auth(&params, endpoint.is_some(), cx)?;
        Ok(Common {
            endpoint: url.map_err(|e| cx.fault(parameter, format!("{parameter} can't be used: {e}")))?,
            auth,
            location: params.location.clone(),
            connect_timeout: params.request_open_timeout_sec.duration(),
            read_timeout: params.request_timeout_sec.map(TimeSpan::duration),
            names,
            ignore_unknown_values: params.ignore_unknown_values,
            tables: tables(&params, cx)?,
        })
    }
}

fn names(params: &CommonParams, decorated: bool, cx: &BuildContext<'_>) -> Result<Names, Diagnostic> {
    let required = |name: &'static str, value: &Option<String>| {
        let text = value.as_deref().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| cx.fault(name, format!("'{name}' parameter is required")))?;
        Template::new(text, name, cx)
    };
    let tables: Vec<(&str, &String)> = match (&params.table, params.tables.is_empty()) {
        (Some(table), true) => vec![("table", table)],
        (None, false) => params.tables.iter().map(|table| ("tables", table)).collect(),
        _ => return Err(cx.fault("table", "'table' or 'tables' must be specified, and both are invalid")),
    };
    if let Some((parameter, table)) =
        tables.iter().find(|(_, table)| !decorated && table.contains('$') && !table.contains("${"))
    {
        let why = format!("{table:?}: rows that are inserted one by one can't name a partition; bigquery_load can");
        return Err(cx.fault(parameter, why));
    }
    let tables: Result<Vec<Template>, Diagnostic> =
        tables.into_iter().map(|(parameter, text)| Template::new(text, parameter, cx)).collect();
    Ok(Names {
        project: Arc::new(required("project", &params.project)?),
        dataset: Arc::new(required("dataset", &params.dataset)?),
        tables: tables?.into(),
    })
}

fn auth(params: &CommonParams, elsewhere: bool, cx: &mut BuildContext<'_>) -> Result<Auth, Diagnostic> {
    let nothing = params.email.is_none() && params.private_key_path.is_none() && params.json_key.is_none();
    let method = match params.auth_method {
        None if elsewhere && nothing => return Ok(Auth::nobody()),
        method => method.unwrap_or_default(),
    };
    let unused: &[(&str, bool)] = &[
        ("email", method != AuthMethod::PrivateKey && params.email.is_some()),
        ("private_key_path", method != AuthMethod::PrivateKey && params.private_key_path.is_some()),
        ("private_key_passphrase", method != AuthMethod::PrivateKey && params.private_key_passphrase.is_some()),
        ("json_key", method != AuthMethod::JsonKey && params.json_key.is_some()),
    ];
    for (name, written) in unused {
        if *written {
            cx.without_effect(name, "auth_method names another way");
        }
    }
    match method {
        AuthMethod::PrivateKey => match (&params.email, &params.private_key_path) {
            (Some(email), Some(path)) => Ok(Auth::private_key(KeyParams {
                email: email.clone(),
                path: path.into(),
                passphrase: params.private_key_passphrase.clone(),
            })),
            _ => {
                let why = "'email' and 'private_key_path' must be specified if auth_method == 'private_key'";
                Err(cx.fault("auth_method", why))
            }
        },
        AuthMethod::JsonKey => {
            let key = params.json_key.clone();
            let key = key
                .ok_or_else(|| cx.fault("auth_method", "'json_key' must be specified if auth_method == 'json_key'"))?;
            Auth::json_key(key).map_err(|why| cx.fault("json_key", why))
        }
        AuthMethod::ComputeEngine => Ok(Auth::machine()),
        AuthMethod::ApplicationDefault => Ok(Auth::environment()),
    }
}

fn tables(params: &CommonParams, cx: &mut BuildContext<'_>) -> Result<TableSettings, Diagnostic> {
    let source = match (&params.schema, &params.schema_path, params.fetch_schema) {
        (None, None, false) => Source::None,
        (Some(text), None, false) => Source::Given(Schema::read(text).map_err(|why| cx.fault("schema", why))?.into()),
        (None, Some(path), false) => Source::File(Template::new(path, "schema_path", cx)?),
        (None, None, true) => Source::Table,
        _ => return Err(cx.fault("schema", "of schema, schema_path and fetch_schema only one can be meant")),
    };
    let fetched = source.is_table();
    if params.auto_create_table && fetched {
        return Err(cx.fault(
            "fetch_schema",
            "fetch_schema asks a table that is there; auto_create_table needs schema or schema_path",
        ));
    }
    if params.auto_create_table && source.is_none() && !params.auto_add_columns {
        let why = "auto_create_table needs the columns: schema, schema_path, or auto_add_columns true to take them from the events";
        return Err(cx.fault("auto_create_table", why));
    }
    if params.fetch_schema_table.is_some() && !fetched {
        return Err(cx.fault("fetch_schema_table", "fetch_schema_table needs fetch_schema true"));
    }
    if params.max_columns == 0 || params.max_columns > MOST_COLUMNS {
        return Err(cx.fault("max_columns", format!("a table has 1 to {MOST_COLUMNS} columns")));
    }
    if params.clustering_fields.len() > MOST_CLUSTERING_FIELDS {
        return Err(cx.fault("clustering_fields", format!("a table has at most {MOST_CLUSTERING_FIELDS} of them")));
    }
    if !params.auto_create_table {
        for name in CREATING {
            cx.without_effect(name, "it is said of tables that are made, and auto_create_table is not set");
        }
    }
    Ok(TableSettings {
        source,
        fetched_from: params
            .fetch_schema_table
            .as_deref()
            .map(|t| Template::new(t, "fetch_schema_table", cx))
            .transpose()?,
        expire: params.schema_cache_expire.duration(),
        columns: if params.auto_add_columns { Columns::Added { most: params.max_columns } } else { Columns::Fixed },
        creation: if params.auto_create_table { Some(creation(params, cx)?) } else { None },
    })
}

fn creation(params: &CommonParams, cx: &BuildContext<'_>) -> Result<Creation, Diagnostic> {
    if params.time_partitioning_type.is_none() {
        let needing = [
            ("time_partitioning_field", params.time_partitioning_field.is_some()),
            ("time_partitioning_expiration", params.time_partitioning_expiration.is_some()),
            ("require_partition_filter", params.require_partition_filter),
        ];
        if let Some((name, _)) = needing.iter().find(|(_, written)| *written) {
            return Err(cx.fault(name, format!("{name} needs time_partitioning_type")));
        }
    }
    Ok(Creation {
        partitioning: params.time_partitioning_type.map(Partitioning::word),
        field: params.time_partitioning_field.clone(),
        expiration: params.time_partitioning_expiration.map(TimeSpan::duration),
        require_filter: params.require_partition_filter,
        clustering: params.clustering_fields.clone(),
    })
}
