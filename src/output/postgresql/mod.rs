//! `postgresql`: loads chunks into tables of PostgreSQL by COPY, each exactly once.

mod columns;
mod load;
mod params;
mod row;
mod rows;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::params::PostgresqlParams;

use self::columns::{Columns, NewFields, definitions};
use self::load::{Batches, Load};
use self::rows::{Layout, Plan};
use super::fields::{mapping, required, table_part};
use super::pg::{Connect, Forgetting, Pool, Session, TableName, identifier, retry};
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::plugin::{BufferDefaults, BuildContext, Configure, InputError, Output, Stop, Template, WriteError};

/// Tables whose columns are remembered.
const MAX_TABLES: usize = 1000;
/// How long columns are remembered; a change of the table is seen after that, or once it gets in the way.
const COLUMNS_KEPT: Duration = Duration::from_secs(60);

/// Columns for all fields of a chunk's events: name and type.
///
/// Errors: the chunk can't be read.
pub fn new_columns(chunk: &Chunk) -> std::io::Result<Vec<(String, &'static str)>> {
    let fields = Layout::default().new_fields(chunk, None)?;
    Ok(fields.into_iter().filter_map(|(name, seen)| Some((name, seen.sql()?))).collect())
}

/// The output.
pub struct Postgresql {
    connect: Connect,
    pool: Pool,
    table: Template,
    schema: Option<String>,
    layout: Layout,
    auto_create: bool,
    add_columns: bool,
    batches: Batches,
    retention: Duration,
    query_timeout: Duration,
    /// Whether the batch table is known to be there.
    has_batches: AtomicBool,
    forgetting: Forgetting,
    known: Mutex<HashMap<TableName, (Instant, Arc<Columns>)>>,
    complained: AtomicBool,
}

impl Configure for Postgresql {
    type Config = PostgresqlParams;

    fn new(params: PostgresqlParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        params.check(cx)?;
        let database = required(&params.database, "database", cx)?;
        let username = required(&params.username, "username", cx)?;
        let table = required(&params.table, "table", cx)?;
        let table = Template::new(table, "table", cx)?;
        if table.is_constant() {
            TableName::parse(table.source(), params.schema.as_deref()).map_err(|why| cx.fault("table", why))?;
        }
        let batch_table = TableName::parse(&params.batch_table, params.schema.as_deref());
        let user = (username, params.password.as_ref());
        Ok(Postgresql {
            connect: Connect::new((&params.host, params.port), user, database, &params.connect, cx)?,
            pool: Pool::default(),
            table,
            layout: Layout {
                mapping: mapping(params.column_mapping.as_deref(), cx)?,
                time: params.time_column.clone(),
                tag: params.tag_column.clone(),
                json: params.json_column.clone(),
                inject: cx.inject()?,
            },
            auto_create: params.auto_create_table,
            add_columns: params.add_columns && params.json_column.is_none() && params.column_mapping.is_none(),
            batches: Batches { table: batch_table.map_err(|why| cx.fault("batch_table", why))? },
            retention: params.batch_retention.duration(),
            query_timeout: params.connect.query_timeout(),
            schema: params.schema,
            has_batches: AtomicBool::new(false),
            forgetting: Forgetting::default(),
            known: Mutex::default(),
            complained: AtomicBool::new(false),
        })
    }
}

impl Postgresql {
    async fn load(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let name = self.table.expand(chunk, table_part).map_err(WriteError::Reject)?;
        let table = TableName::parse(&name, self.schema.as_deref()).map_err(WriteError::Reject)?;
        let session = self.pool.take(&self.connect).await?;
        self.ensure_batches(&session).await?;
        let columns = self.columns(&session, &table, chunk).await?;
        let place = self.connect.place();
        let mut plan = Plan::new(&self.layout, &columns).map_err(|why| {
            self.unlearn(&table);
            WriteError::Retry(format!("{table}: {why}"))
        })?;
        let load = Load { session: &session, place: &place, table: &table, batches: &self.batches };
        let refused = load.run(chunk, &mut plan).await.inspect_err(|_| self.unlearn(&table))?;
        if plan.left_out > 0 && !self.complained.swap(true, Relaxed) {
            let remedy = "set json_column to keep them, add_columns true for columns of their own, or column_mapping to say \
                          that they are not wanted";
            tracing::warn!("{} fields of a chunk have no column in {table} and are left out; {remedy}", plan.left_out);
        }
        self.forget_old(&session).await;
        self.pool.give(session);
        if refused.is_empty() { Ok(()) } else { Err(WriteError::Partial(refused)) }
    }

    fn fault(&self, e: &tokio_postgres::Error) -> WriteError {
        retry(&self.connect.place(), e)
    }

    async fn ensure_batches(&self, session: &Session) -> Result<(), WriteError> {
        if self.has_batches.load(Relaxed) {
            return Ok(());
        }
        let found = Columns::fetch(session, &self.batches.table).await.map_err(|e| self.fault(&e))?;
        if found.is_none()
            && let Err(e) = session.run(&self.batches.create()).await
        {
            let WriteError::Retry(why) = self.fault(&e) else { return Err(self.fault(&e)) };
            let sql = self.batches.create();
            return Err(WriteError::Retry(format!("batch_table can't be created: {why}; create it yourself: {sql}")));
        }
        self.has_batches.store(true, Relaxed);
        Ok(())
    }

    /// The columns of a table, which is created or widened first where that is wanted.
    async fn columns(&self, session: &Session, table: &TableName, chunk: &Chunk) -> Result<Arc<Columns>, WriteError> {
        let known = self.learned(table);
        let found = match known {
            Some(known) => Some(known),
            None => self.fetch(session, table).await?,
        };
        let Some(found) = found else {
            if !self.auto_create {
                let help = "What helps: look at table, or set auto_create_table true";
                return Err(WriteError::Retry(format!("there is no table {table}. {help}")));
            }
            let fields = match self.layout.json.is_some() || self.layout.mapping.is_some() {
                true => NewFields::new(),
                false => self.layout.new_fields(chunk, None)?,
            };
            self.create(session, table, fields).await?;
            let made = self.fetch(session, table).await?;
            return made.ok_or_else(|| WriteError::Retry(format!("there is no table {table} after it was created")));
        };
        if !self.add_columns {
            return Ok(found);
        }
        let mut fields = self.layout.new_fields(chunk, Some(&found))?;
        fields.retain(|_, seen| seen.sql().is_some());
        if fields.is_empty() {
            return Ok(found);
        }
        let added: Vec<String> =
            definitions(&fields).into_iter().map(|column| format!("ADD COLUMN IF NOT EXISTS {column}")).collect();
        let sql = format!("ALTER TABLE {} {}", table.sql(), added.join(", "));
        session.run(&sql).await.map_err(|e| self.fault(&e))?;
        tracing::info!("{table} has new columns: {}", definitions(&fields).join(", "));
        Ok(self.fetch(session, table).await?.unwrap_or(found))
    }

    async fn create(&self, session: &Session, table: &TableName, mut fields: NewFields) -> Result<(), WriteError> {
        let of_events = [(&self.layout.time, "timestamptz"), (&self.layout.tag, "text"), (&self.layout.json, "jsonb")];
        let mut columns = Vec::new();
        for (name, kind) in of_events {
            let Some(name) = name else { continue };
            fields.remove(name);
            columns.push(format!("{} {kind}", identifier(name)));
        }
        let mapped = self
            .layout
            .mapping
            .iter()
            .flatten()
            .filter(|m| !of_events.iter().any(|(n, _)| n.as_ref() == Some(&m.column)));
        columns.extend(mapped.map(|m| format!("{} text", identifier(&m.column))));
        columns.extend(definitions(&fields));
        let sql = format!("CREATE TABLE IF NOT EXISTS {} ({})", table.sql(), columns.join(", "));
        session.run(&sql).await.map_err(|e| self.fault(&e))?;
        tracing::info!("{table} was created: {}", columns.join(", "));
        Ok(())
    }

    async fn fetch(&self, session: &Session, table: &TableName) -> Result<Option<Arc<Columns>>, WriteError> {
        let found = Columns::fetch(session, table).await.map_err(|e| self.fault(&e))?.map(Arc::new);
        if let Some(found) = &found {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= MAX_TABLES {
                known.clear();
            }
            known.insert(table.clone(), (Instant::now(), found.clone()));
        }
        Ok(found)
    }

    fn learned(&self, table: &TableName) -> Option<Arc<Columns>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(table).filter(|(at, _)| at.elapsed() < COLUMNS_KEPT).map(|(_, columns)| columns.clone())
    }

    fn unlearn(&self, table: &TableName) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(table);
        self.has_batches.store(false, Relaxed);
    }

    /// Removes rows from the batch table that nobody needs any more. What fails is tried again an hour later.
    async fn forget_old(&self, session: &Session) {
        if !self.forgetting.is_due() {
            return;
        }
        if let Err(e) = session.run(&self.batches.forget(self.retention.as_secs_f64())).await {
            tracing::warn!("old rows of {} are not removed: {}", self.batches.table, super::pg::answer(&e));
        }
    }
}

impl Output for Postgresql {
    /// A server that does not answer keeps nothing from starting; one that refuses the login does.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
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
