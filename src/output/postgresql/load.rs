//! A chunk in one transaction: its id into the batch table first, then its rows, then COMMIT.
//!
//! The id comes first because its key makes a second attempt wait for the first one: whose COMMIT was not answered may still
//! be under way. A piece that COPY refuses is halved, within a savepoint each time, until the rows at fault stand alone. They
//! are noted beside the id, so an attempt that finds its id there knows them too.

use std::ops::Range;
use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use serde::{Deserialize, Serialize};
use tokio_postgres::Error;

use super::rows::{Piece, Plan};
use crate::buffer::Chunk;
use crate::output::pg::{Session, TableName, answer, is_row_fault, line_of, literal, retry};
use crate::plugin::{MAX_REFUSED, RefusedEvent, WriteError};

/// Longest answer that is kept of a row, in bytes.
const MAX_ANSWER: usize = 1024;

/// Settings of the transaction. A session whose client has vanished must not keep the id from the next attempt for long, and
/// a COMMIT must be on the disk when it is answered.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '120s'; SET LOCAL tcp_keepalives_idle = 30; \
     SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3; SET CONSTRAINTS ALL IMMEDIATE; \
     SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

/// Where chunks that were loaded are noted.
pub struct Batches {
    /// The table.
    pub table: TableName,
}

/// A row that was refused, as it is noted.
#[derive(Serialize, Deserialize)]
struct Noted(u64, String);

impl Batches {
    /// The statement that makes the table.
    pub fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (batch text PRIMARY KEY, target text NOT NULL, events bigint NOT NULL, \
             refused text, loaded_at timestamptz NOT NULL DEFAULT now())",
            self.table.sql()
        )
    }

    /// Forgets chunks that were loaded longer ago.
    pub fn forget(&self, seconds: f64) -> String {
        format!("DELETE FROM {} WHERE loaded_at < now() - {seconds} * interval '1 second'", self.table.sql())
    }

    /// Notes a chunk; whether it was not there.
    async fn enter(&self, session: &Session, id: &str, target: &str, events: u32) -> Result<bool, Error> {
        let sql = format!(
            "INSERT INTO {} (batch, target, events) VALUES ({}, {}, {events}) ON CONFLICT (batch) DO NOTHING",
            self.table.sql(),
            literal(id),
            literal(target)
        );
        Ok(session.changed(&sql).await? == 1)
    }

    async fn note(&self, session: &Session, id: &str, refused: &[RefusedEvent]) -> Result<(), Error> {
        let noted: Vec<Noted> = refused.iter().map(|event| Noted(event.place, event.answer.clone())).collect();
        // Numbers and texts have no way not to be JSON.
        let text = serde_json::to_string(&noted).unwrap_or_default();
        let (table, text, id) = (self.table.sql(), literal(&text), literal(id));
        session.run(&format!("UPDATE {table} SET refused = {text} WHERE batch = {id}")).await
    }

    /// The rows that were refused when the chunk was loaded.
    async fn refused(&self, session: &Session, id: &str) -> Result<Vec<RefusedEvent>, Error> {
        let sql = format!("SELECT refused FROM {} WHERE batch = {}", self.table.sql(), literal(id));
        let rows = session.rows(&sql).await?;
        let text = rows.first().and_then(|row| row.get(0)).unwrap_or("[]");
        let noted: Vec<Noted> = serde_json::from_str(text).unwrap_or_default();
        Ok(noted.into_iter().map(|Noted(place, answer)| RefusedEvent { place, answer }).collect())
    }
}

/// One attempt to load a chunk.
pub struct Load<'a> {
    /// The session, in no transaction.
    pub session: &'a Session,
    /// The server, for messages.
    pub place: &'a str,
    /// Where the rows go.
    pub table: &'a TableName,
    /// Where the chunk is noted.
    pub batches: &'a Batches,
}

/// Why a load ended early.
enum Halt {
    Lost(Error),
    TooMany,
}

impl From<Error> for Halt {
    fn from(e: Error) -> Halt {
        Halt::Lost(e)
    }
}

impl Load<'_> {
    /// Loads the chunk. Gives the rows that were refused.
    ///
    /// Errors: nothing of the chunk is loaded, or it is not known whether it is; the session is to be closed.
    pub async fn run(&self, chunk: &Chunk, plan: &mut Plan<'_>) -> Result<Vec<RefusedEvent>, WriteError> {
        let lost = |e: Error| self.judge(&e);
        let id = chunk.id().to_string();
        self.session.run(BEGIN).await.map_err(lost)?;
        if !self.batches.enter(self.session, &id, &self.table.to_string(), chunk.count()).await.map_err(lost)? {
            let refused = self.batches.refused(self.session, &id).await.map_err(lost)?;
            self.session.run("ROLLBACK").await.map_err(lost)?;
            tracing::info!(
                "chunk {id} is in {} already: an earlier attempt went through, its answer was lost",
                self.table
            );
            return Ok(refused);
        }
        let mut refused = Vec::new();
        for block in chunk.blocks() {
            let pieces = plan.add(&block?);
            self.pieces(pieces, plan, &mut refused).await?;
        }
        let pieces = plan.finish();
        self.pieces(pieces, plan, &mut refused).await?;
        refused.append(&mut plan.refused);
        refused.sort_by_key(|event| event.place);
        if refused.len() == chunk.count() as usize && !refused.is_empty() {
            return Err(self.all(&refused, "every row was refused"));
        }
        if !refused.is_empty() {
            self.batches.note(self.session, &id, &refused).await.map_err(lost)?;
        }
        self.session.run("COMMIT").await.map_err(lost)?;
        Ok(refused)
    }

    fn all(&self, refused: &[RefusedEvent], what: &str) -> WriteError {
        let first = refused.first().map_or("", |event| event.answer.as_str());
        WriteError::Refused { why: format!("{}: {what}: {first}", self.table), response: first.to_owned() }
    }

    fn judge(&self, e: &Error) -> WriteError {
        match is_row_fault(e) {
            // Only a constraint that waits for COMMIT whatever it is told comes here.
            true => WriteError::Refused { why: format!("{}: {}", self.table, answer(e)), response: answer(e) },
            false => retry(&format!("{} (table {})", self.place, self.table), e),
        }
    }

    async fn pieces(
        &self,
        pieces: Vec<Piece>,
        plan: &Plan<'_>,
        refused: &mut Vec<RefusedEvent>,
    ) -> Result<(), WriteError> {
        for piece in pieces {
            let sql = format!("COPY {} ({}) FROM STDIN", self.table.sql(), plan.names(&piece));
            match self.piece(&piece, &sql, refused).await {
                Ok(()) => {}
                Err(Halt::Lost(e)) => return Err(self.judge(&e)),
                Err(Halt::TooMany) => {
                    return Err(self.all(refused, &format!("more than {MAX_REFUSED} rows were refused")));
                }
            }
        }
        Ok(())
    }

    /// Loads the rows of a piece but for those that are refused.
    async fn piece(&self, piece: &Piece, sql: &str, refused: &mut Vec<RefusedEvent>) -> Result<(), Halt> {
        let mut left: Vec<Range<usize>> = Vec::from([Range { start: 0, end: piece.len() }]);
        while let Some(range) = left.pop() {
            if range.is_empty() {
                continue;
            }
            self.session.run("SAVEPOINT piece").await?;
            let Err(e) = self.copy(sql, piece.rows(range.clone())).await else {
                self.session.run("RELEASE piece").await?;
                continue;
            };
            if !is_row_fault(&e) {
                return Err(e.into());
            }
            self.session.run("ROLLBACK TO piece; RELEASE piece").await?;
            if range.len() == 1 {
                let mut said = answer(&e);
                said.truncate(said.floor_char_boundary(MAX_ANSWER));
                refused.push(RefusedEvent { place: piece.place(range.start), answer: said });
                if refused.len() > MAX_REFUSED {
                    return Err(Halt::TooMany);
                }
                continue;
            }
            // Where the server names the row, it stands alone at once; else the halves tell.
            let named = line_of(&e).filter(|line| *line < range.len()).map(|line| range.start + line);
            match named {
                Some(row) => left.extend([row + 1..range.end, row..row + 1, range.start..row]),
                None => {
                    let middle = range.start + range.len() / 2;
                    left.extend([middle..range.end, range.start..middle]);
                }
            }
        }
        Ok(())
    }

    async fn copy(&self, sql: &str, rows: &[u8]) -> Result<u64, Error> {
        let sink = self.session.client.copy_in::<_, Bytes>(sql).await?;
        let mut sink = pin!(sink);
        // What the server has against the rows is said by the end of the COPY, not here.
        if let Err(e) = sink.send(Bytes::copy_from_slice(rows)).await
            && !e.is_closed()
        {
            return Err(e);
        }
        sink.finish().await
    }
}
