//! `clickhouse`: inserts chunks into tables of ClickHouse over HTTP, as JSONEachRow.
//!
//! A chunk goes in pieces whose bounds depend on its bytes alone, each under `insert_deduplication_token` = chunk id and
//! number. A piece that is sent again is recognised by the table, where that keeps a window of such tokens. Rows that can't be
//! read are looked for without inserting anything, into the table function `null`; the rest of the piece then goes under the
//! same token.

mod ask;
mod columns;
mod params;
mod rows;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use self::params::ClickhouseParams;

use self::ask::{Asked, Fault, Server, retry};
use self::columns::{Table, identifier};
use self::rows::{Layout, Piece, Pieces};
use super::fields::{mapping, required, table_part};
use crate::buffer::Chunk;
use crate::config::Diagnostic;
use crate::plugin::{
    BufferDefaults, BuildContext, Configure, InputError, MAX_REFUSED, Output, RefusedEvent, Stop, Template, WriteError,
};

/// How long the columns of a table are remembered; a change is seen after that, or once it gets in the way.
const COLUMNS_KEPT: Duration = Duration::from_secs(60);
/// Tables whose columns are remembered.
const MAX_TABLES: usize = 1000;
/// How long one chunk may take: several inserts, each within the client's time-outs.
const PATIENCE: Duration = Duration::from_secs(600);
/// Longest answer that is kept of a row, in bytes.
const MAX_ANSWER: usize = 1024;

/// Settings of each insert. One piece becomes one block, so that it goes in whole or not at all.
const SETTINGS: &str = "async_insert = 0, insert_deduplicate = 1, input_format_parallel_parsing = 0, \
     input_format_skip_unknown_fields = 1, input_format_null_as_default = 1, date_time_input_format = 'best_effort'";

/// The output.
pub struct Clickhouse {
    server: Server,
    database: String,
    table: Template,
    layout: Layout,
    known: Mutex<HashMap<String, (Instant, Arc<Table>)>>,
    complained: AtomicBool,
}

impl Configure for Clickhouse {
    type Config = ClickhouseParams;

    fn new(params: ClickhouseParams, cx: &mut BuildContext<'_>) -> Result<Self, Diagnostic> {
        cx.buffer_defaults(BufferDefaults { buffered: true, ..BufferDefaults::default() });
        params.check(cx)?;
        let table = required(&params.table, "table", cx)?;
        Ok(Clickhouse {
            server: Server::new(&params, cx)?,
            table: Template::new(table, "table", cx)?,
            layout: Layout {
                mapping: mapping(params.column_mapping.as_deref(), cx)?,
                time: params.time_column,
                tag: params.tag_column,
                json: params.json_column,
                inject: cx.inject()?,
            },
            database: params.database,
            known: Mutex::default(),
            complained: AtomicBool::new(false),
        })
    }
}

impl Clickhouse {
    async fn load(&self, chunk: &Chunk) -> Result<(), WriteError> {
        let name = self.table.expand(chunk, table_part).map_err(WriteError::Reject)?;
        let table = self.columns(&name).await?;
        let place = self.place(&name);
        let mut pieces = Pieces::new(&self.layout, &table).map_err(|why| {
            self.unlearn(&name);
            WriteError::Retry(format!("{place}: {why}"))
        })?;
        let mut refused = Vec::new();
        let mut blocks = chunk.blocks();
        while let Some(piece) = pieces.next(&mut blocks)? {
            let load =
                Load { out: self, table: &table, place: &place, token: format!("{}-{}", chunk.id(), piece.number) };
            load.piece(&piece, &mut refused).await.inspect_err(|_| self.unlearn(&name))?;
        }
        if pieces.left_out > 0 && !self.complained.swap(true, Relaxed) {
            let remedy = "set json_column to keep them, or column_mapping to say that they are not wanted";
            tracing::warn!(
                "{} fields of a chunk have no column in {place} and are left out; {remedy}",
                pieces.left_out
            );
        }
        if refused.is_empty() {
            return Ok(());
        }
        if refused.len() == chunk.count() as usize {
            let response = refused[0].answer.clone();
            return Err(WriteError::Refused { why: format!("{place}: every row was refused: {response}"), response });
        }
        refused.sort_by_key(|event: &RefusedEvent| event.place);
        Err(WriteError::Partial(refused))
    }

    fn place(&self, table: &str) -> String {
        format!("{} (table {}.{table})", self.server.place(), self.database)
    }

    /// The columns of a table.
    async fn columns(&self, name: &str) -> Result<Arc<Table>, WriteError> {
        if let Some((at, table)) = self.known().get(name)
            && at.elapsed() < COLUMNS_KEPT
        {
            return Ok(table.clone());
        }
        let found = Table::fetch(&self.server, &self.database, name).await;
        let found = found.map_err(|fault| retry(&self.place(name), &fault))?;
        let Some(table) = found.map(Arc::new) else {
            let help = "What helps: look at database and table, or create it";
            return Err(WriteError::Retry(format!("{}: there is no such table. {help}", self.place(name))));
        };
        if !table.deduplicates && !self.known().contains_key(name) {
            tracing::warn!(
                "{}: the table keeps no window of insert tokens, so a chunk whose answer is lost is inserted twice. What \
                 helps: a Replicated engine, or ALTER TABLE ... MODIFY SETTING non_replicated_deduplication_window = 1000",
                self.place(name)
            );
        }
        let mut known = self.known();
        if known.len() >= MAX_TABLES {
            known.clear();
        }
        known.insert(name.to_owned(), (Instant::now(), table.clone()));
        Ok(table)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Arc<Table>)>> {
        // Every change under the lock is whole by itself.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unlearn(&self, name: &str) {
        // Kept as known, so that it is not warned of again; too old to be used.
        if let Some((at, _)) = self.known().get_mut(name) {
            *at = at.checked_sub(COLUMNS_KEPT).unwrap_or(*at);
        }
    }
}

/// The load of one piece.
struct Load<'a> {
    out: &'a Clickhouse,
    table: &'a Table,
    place: &'a str,
    token: String,
}

/// Where rows go.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// Into the table.
    Table,
    /// Nowhere: they are only read.
    Nowhere,
}

impl Load<'_> {
    fn sql(&self, target: Where, token: &str) -> String {
        match target {
            Where::Table => {
                let table = format!("{}.{}", identifier(&self.out.database), identifier(&self.table.name));
                let columns = self.table.names();
                format!(
                    "INSERT INTO {table} ({columns}) SETTINGS {SETTINGS}, insert_deduplication_token = '{token}' FORMAT JSONEachRow"
                )
            }
            Where::Nowhere => {
                let structure = self.table.structure().replace('\\', "\\\\").replace('\'', "\\'");
                format!("INSERT INTO FUNCTION null('{structure}') SETTINGS {SETTINGS} FORMAT JSONEachRow")
            }
        }
    }

    async fn send(&self, target: Where, token: &str, rows: Vec<u8>) -> Result<Asked, WriteError> {
        self.out.server.insert(&self.sql(target, token), rows).await.map_err(|fault| retry(self.place, &fault))
    }

    /// Inserts a piece but for the rows that are refused.
    async fn piece(&self, piece: &Piece, refused: &mut Vec<RefusedEvent>) -> Result<(), WriteError> {
        let all = 0..piece.len();
        if all.is_empty() {
            return Ok(());
        }
        let Asked::Row(said) = self.send(Where::Table, &self.token, piece.rows(all.clone())).await? else {
            return Ok(());
        };
        let bad = self.search(piece, Where::Nowhere, said.clone()).await?;
        if bad.is_empty() {
            // They can be read, but the table takes them not: a constraint. Each part that goes in has a token of its own.
            let bad = self.search(piece, Where::Table, said).await?;
            return self.note(piece, bad, refused);
        }
        let good = piece.rows_without(&bad);
        if !good.is_empty()
            && let Asked::Row(said) = self.send(Where::Table, &self.token, good).await?
        {
            return Err(WriteError::Refused { why: format!("{}: {said}", self.place), response: said });
        }
        self.note(piece, bad, refused)
    }

    fn note(
        &self,
        piece: &Piece,
        bad: Vec<(usize, String)>,
        refused: &mut Vec<RefusedEvent>,
    ) -> Result<(), WriteError> {
        let events = bad.into_iter().map(|(row, mut answer)| {
            answer.truncate(answer.floor_char_boundary(MAX_ANSWER));
            RefusedEvent { place: piece.place(row), answer }
        });
        refused.extend(events);
        if refused.len() <= MAX_REFUSED {
            return Ok(());
        }
        let response = refused[0].answer.clone();
        let why = format!("{}: more than {MAX_REFUSED} rows were refused: {response}", self.place);
        Err(WriteError::Refused { why, response })
    }

    /// The rows of a piece that are refused, in order, each with the answer. The piece as a whole was refused with `said`.
    async fn search(&self, piece: &Piece, target: Where, said: String) -> Result<Vec<(usize, String)>, WriteError> {
        let mut bad = Vec::new();
        let mut left: Vec<(Range<usize>, Option<String>)> = vec![(0..piece.len(), Some(said))];
        // The whole was inserted nowhere yet.
        if target == Where::Nowhere {
            left[0].1 = None;
        }
        while let Some((range, known)) = left.pop() {
            let said = match known {
                Some(said) => said,
                None => {
                    let token = format!("{}/{}-{}", self.token, range.start, range.end);
                    match self.send(target, &token, piece.rows(range.clone())).await? {
                        Asked::Done(_) => continue,
                        Asked::Row(said) => said,
                    }
                }
            };
            if range.len() == 1 {
                bad.push((range.start, said));
                if bad.len() > MAX_REFUSED {
                    break;
                }
                continue;
            }
            let middle = range.start + range.len() / 2;
            let parts = match ask::row_of(&said).filter(|row| *row < range.len()).map(|row| range.start + row) {
                Some(row) => vec![row + 1..range.end, row..row + 1, range.start..row],
                None => vec![middle..range.end, range.start..middle],
            };
            left.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| (part, None)));
        }
        bad.sort_by_key(|(row, _)| *row);
        Ok(bad)
    }
}

impl Output for Clickhouse {
    /// A server that does not answer keeps nothing from starting; one that refuses the login does.
    async fn start(&self, _: Stop) -> Result<(), InputError> {
        self.server.open()?;
        match self.server.select("SELECT 1").await {
            Ok(_) => Ok(()),
            Err(fault @ Fault::Setup { .. }) => Err(InputError(retry(self.server.place(), &fault).to_string())),
            Err(fault) => {
                tracing::warn!("{}; the events wait in the buffer", retry(self.server.place(), &fault));
                Ok(())
            }
        }
    }

    async fn write(&self, chunk: &Chunk) -> Result<(), WriteError> {
        self.load(chunk).await
    }

    async fn close(&self) {
        self.server.close();
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}
