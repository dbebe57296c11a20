//! `redshift`: a chunk becomes an object in S3, which the cluster loads by COPY from a manifest, exactly once.

mod copy;
mod load;
mod params;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

pub use self::params::RedshiftParams;

use self::copy::{CopyForm, manifest};
use self::load::{Load, Upsert, create_loads, forget};
use self::params::{ErrorsView, FileType};
use super::fields::{required, table_part};
use super::object::Connection;
use super::pg::{Connect, Forgetting, Pool, Session, TableName, answer, identifier, retry};
use super::postgresql::new_columns;
use super::s3::{S3, S3Params};
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::event::timefmt::Zone;
use crate::net::aws::Keychain;
use crate::net::http::{AwsCredentials, Client};
use crate::plugin::{BufferDefaults, BuildContext, Configure, InputError, Output, Render, Stop, Template, WriteError};

/// Length of time slices where nothing is said.
const TIMEKEY: Duration = Duration::from_secs(600);

/// The output.
pub struct Redshift {
    s3: S3,
    client: OnceLock<(Client, Keychain)>,
    connect: Connect,
    pool: Pool,
    table: Template,
    schema: Option<String>,
    form: CopyForm,
    file_type: FileType,
    upsert: Option<Upsert>,
    view: ErrorsView,
    auto_create: bool,
    varchar_length: u32,
    loads: TableName,
    retention: Duration,
    query_timeout: Duration,
    has_loads: AtomicBool,
    forgetting: Forgetting,
}

impl Configure for Redshift {
    type Config = RedshiftParams;

    fn new(mut params: RedshiftParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        let file = cx.section.child("buffer").is_some_and(|buffer| buffer.has("path"));
        let at_root = cx.process.root_dir.is_some() && cx.section.id().is_some();
        cx.buffer_defaults(BufferDefaults {
            buffered: true,
            file: file || at_root,
            keys: if params.tag_table { &["time", "tag"] } else { &["time"] },
            timekey: Some(TIMEKEY),
            ..BufferDefaults::default()
        });
        params.check(cx)?;
        let host = required(&params.redshift_host, "redshift_host", cx)?;
        let database = required(&params.redshift_dbname, "redshift_dbname", cx)?;
        let user = (required(&params.redshift_user, "redshift_user", cx)?, params.redshift_password.as_ref());
        if params.redshift_connect_timeout.is_some() {
            params.connect.connect_timeout = params.redshift_connect_timeout;
        }
        let connect = Connect::new((host, params.redshift_port), user, database, &params.connect, cx)?;
        let schema = params.redshift_schemaname.clone();
        let table = if params.tag_table { "${tag}" } else { params.redshift_tablename.as_deref().unwrap_or_default() };
        let table = Template::new(table, if params.tag_table { "tag_table" } else { "redshift_tablename" }, cx)?;
        if table.is_constant() {
            TableName::parse(table.source(), schema.as_deref()).map_err(|why| cx.fault("redshift_tablename", why))?;
        }
        let loads = TableName::parse(&params.loads_table, schema.as_deref());
        let loads = loads.map_err(|why| cx.fault("loads_table", why))?;
        let render = render(&params, cx)?;
        let zone = params.utc.then(Zone::utc);
        let s3 = S3::with(objects(&params), Some((render, zone)), cx)?;
        Ok(Redshift {
            form: CopyForm::new(&params, &s3.place().region),
            s3,
            client: OnceLock::new(),
            connect,
            pool: Pool::default(),
            table,
            schema,
            file_type: params.file_type,
            upsert: (!params.upsert_keys.is_empty())
                .then(|| Upsert { keys: params.upsert_keys.clone(), order: params.upsert_order.clone() }),
            view: params.load_errors,
            auto_create: params.make_auto_table,
            varchar_length: params.varchar_length,
            loads,
            retention: params.loads_retention.duration(),
            query_timeout: params.connect.query_timeout(),
            has_loads: AtomicBool::new(false),
            forgetting: Forgetting::default(),
        })
    }
}

/// The form of an object's events.
fn render(params: &RedshiftParams, cx: &mut BuildContext<'_>) -> Result<Render, Diagnostic> {
    let line = [("message_key", params.record_log_tag.as_str())];
    let (kind, defaults): (&str, &[(&str, &str)]) = match params.file_type {
        FileType::Json | FileType::Msgpack => ("json", &[]),
        FileType::Csv | FileType::Tsv => ("single_value", &line),
        FileType::Parquet => ("parquet", &[]),
    };
    let written = cx.section.child("format").and_then(|format| format.plugin_type()).map(str::to_owned);
    if let Some(written) = written.filter(|written| written != kind) {
        cx.warn("file_type", format!("<format> @type {written} has no effect here: file_type asks for {kind}"));
    }
    cx.render_whole("json", Some((kind, defaults)))
}

/// What the objects' part of this output is.
fn objects(params: &RedshiftParams) -> S3Params {
    let path = params.path.trim_start_matches('/');
    let path = if path.is_empty() || path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
    S3Params {
        s3_bucket: params.s3_bucket.clone(),
        s3_region: params.s3_region.clone(),
        s3_endpoint: params.s3_endpoint.clone(),
        path,
        // The id keeps names apart, so nobody has to be asked which are free.
        s3_object_key_format: Some("%{path}%{time_slice}_${chunk_id}.%{file_extension}".into()),
        time_slice_format: Some(params.timestamp_key_format.clone()),
        store_as: Some(if params.file_type.has_lines() { "gzip" } else { "parquet" }.into()),
        auto_create_bucket: params.auto_create_bucket,
        credentials: params.credentials.clone(),
        ..S3Params::default()
    }
}

impl Redshift {
    async fn load(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let name = self.table.expand(chunk, table_part).map_err(WriteError::Reject)?;
        let table = TableName::parse(&name, self.schema.as_deref()).map_err(WriteError::Reject)?;
        let manifest = self.put(chunk).await?;
        let keys = self.keys().await?;
        let session = self.pool.take(&self.connect).await?;
        self.ensure(&session, &table, chunk).await?;
        let place = self.connect.place();
        let load = Load {
            session: &session,
            place: &place,
            table: &table,
            loads: &self.loads,
            upsert: self.upsert.as_ref(),
            view: self.view,
            tells_lines: self.form.tells_lines(),
        };
        let copy = |target: &str| self.form.sql(target, &manifest, keys.as_ref());
        let refused = load.run(chunk, &manifest, copy).await.inspect_err(|_| self.has_loads.store(false, Relaxed))?;
        self.forget_old(&session).await;
        self.pool.give(session);
        if refused.is_empty() { Ok(()) } else { Err(WriteError::Partial(refused)) }
    }

    /// Puts the chunk's object and its manifest; gives the URL of that.
    async fn put(&self, chunk: &Chunk) -> Result<String, WriteError> {
        let objects = self.s3.objects();
        let name = objects.store(chunk).await?;
        // COPY asks for the length of files with columns.
        let size = if self.file_type.has_lines() { None } else { Some(objects.size(&name).await?) };
        let bucket = &self.s3.place().bucket;
        let beside = format!("{name}.manifest");
        objects.put_beside(&beside, manifest(&format!("s3://{bucket}/{name}"), size).into_bytes()).await?;
        Ok(format!("s3://{bucket}/{beside}"))
    }

    async fn keys(&self) -> Result<Option<AwsCredentials>, WriteError> {
        if self.form.has_role() {
            return Ok(None);
        }
        let not_started = || WriteError::Retry("the output was not started".into());
        let (client, keychain) = self.client.get().ok_or_else(not_started)?;
        keychain.credentials(client).await.map(Some).map_err(WriteError::Retry)
    }

    fn fault(&self, e: &tokio_postgres::Error) -> WriteError {
        retry(&self.connect.place(), e)
    }

    /// The loads table, and the table itself where that is wanted.
    async fn ensure(&self, session: &Session, table: &TableName, chunk: &Chunk) -> Result<(), WriteError> {
        if !self.has_loads.load(Relaxed) {
            let look = format!("SELECT 1 FROM {} LIMIT 1", self.loads.sql());
            if session.rows(&look).await.is_err() {
                session.run(&create_loads(&self.loads)).await.map_err(|e| {
                    let why = self.fault(&e);
                    WriteError::Retry(format!(
                        "loads_table can't be created: {why}; create it: {}",
                        create_loads(&self.loads)
                    ))
                })?;
            }
            self.has_loads.store(true, Relaxed);
        }
        if !self.auto_create || session.rows(&format!("SELECT 1 FROM {} LIMIT 1", table.sql())).await.is_ok() {
            return Ok(());
        }
        let length = self.varchar_length;
        let kind = |kind: &str| match kind {
            "text" | "bytea" => format!("varchar({length})"),
            "jsonb" => "super".to_owned(),
            "numeric" => "numeric(20, 0)".to_owned(),
            other => other.to_owned(),
        };
        let columns: Vec<String> =
            new_columns(chunk)?.into_iter().map(|(name, sql)| format!("{} {}", identifier(&name), kind(sql))).collect();
        let sql = format!("CREATE TABLE IF NOT EXISTS {} ({})", table.sql(), columns.join(", "));
        session.run(&sql).await.map_err(|e| self.fault(&e))?;
        tracing::info!("{table} was created: {}", columns.join(", "));
        Ok(())
    }

    /// Removes rows from the loads table that nobody needs any more. What fails is tried again an hour later.
    async fn forget_old(&self, session: &Session) {
        if !self.forgetting.is_due() {
            return;
        }
        if let Err(e) = session.run(&forget(&self.loads, self.retention)).await {
            tracing::warn!("old rows of {} are not removed: {}", self.loads, answer(&e));
        }
    }
}

impl Output for Redshift {
    /// A cluster or a bucket that does not answer keeps nothing from starting; one that refuses does.
    async fn start(&self, stop: Stop) -> Result<(), InputError> {
        self.s3.start(stop).await?;
        let client = Connection::default().open()?;
        // Started once; a second client would only replace an unused one.
        let _ = self.client.set((client, self.s3.keychain().map_err(InputError)?));
        self.connect.begin(&self.pool).await
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.connect.within(self.query_timeout, self.load(chunk)).await
    }

    async fn close(&self) {
        self.pool.close();
    }

    fn patience(&self) -> Duration {
        self.query_timeout
    }
}
