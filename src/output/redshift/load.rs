//! A chunk in one transaction: its id into the loads table, the COPY of its manifest, the rows where they belong, COMMIT.
//!
//! Redshift keeps no key unique, so the loads table is locked first: an attempt whose COMMIT was not answered is waited for.
//! Lines that COPY passed over are asked for in the same transaction and noted beside the id; a load whose count does not add up
//! is not committed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_postgres::Error;

use super::params::ErrorsView;
use crate::buffer::Chunk;
use crate::output::pg::{Meaning, Session, TableName, answer, identifier, literal, meaning, retry};
use crate::plugin::{RefusedEvent, WriteError};

/// Longest answer that is kept of a line, in bytes.
const MAX_ANSWER: usize = 512;
/// Looks at the view of errors, which may be late, and the pause between two.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Longest text of refused lines that fits into a column of the loads table, in bytes.
const MAX_NOTED: usize = 65_000;
/// The temporary table of an upsert.
const STAGE: &str = "suiro_stage";

/// How rows go from the object to the table.
pub struct Upsert {
    /// Columns that tell rows apart.
    pub keys: Vec<String>,
    /// The highest value of this column wins within a chunk.
    pub order: Option<String>,
}

/// One attempt to load an object.
pub struct Load<'a> {
    /// The session, in no transaction.
    pub session: &'a Session,
    /// The cluster, for messages.
    pub place: &'a str,
    /// Where the rows go.
    pub table: &'a TableName,
    /// Where the chunk is noted.
    pub loads: &'a TableName,
    /// Rows that replace others; none: all are added.
    pub upsert: Option<&'a Upsert>,
    /// Where lines that were refused are told of.
    pub view: ErrorsView,
    /// Whether they are.
    pub tells_lines: bool,
}

/// A line that was refused, as it is noted.
#[derive(Serialize, Deserialize)]
struct Noted(u64, String);

/// The statement that makes the loads table.
pub fn create_loads(loads: &TableName) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {} (batch varchar(64) NOT NULL, target varchar(256), events bigint, \
         manifest varchar(1200), refused varchar(65535), loaded_at timestamp)",
        loads.sql()
    )
}

fn now() -> String {
    let text = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    literal(&text)
}

/// Forgets chunks that were loaded longer ago.
pub fn forget(loads: &TableName, age: Duration) -> String {
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(i64::try_from(age.as_secs()).unwrap_or(0));
    format!("DELETE FROM {} WHERE loaded_at < '{}'", loads.sql(), since.strftime("%Y-%m-%d %H:%M:%S"))
}

impl Load<'_> {
    /// Loads the chunk, whose object the manifest names; `copy` makes the statement for a table. Gives the lines that were
    /// refused.
    ///
    /// Errors: nothing of the chunk is loaded, or it is not known whether it is; the session is to be closed.
    pub async fn run(
        &self,
        chunk: &Chunk,
        manifest: &str,
        copy: impl Fn(&str) -> String,
    ) -> Result<Vec<RefusedEvent>, WriteError> {
        let lost = |e: Error| self.judge(&e);
        let (id, loads) = (chunk.id().to_string(), self.loads.sql());
        self.session.run(&format!("BEGIN; LOCK TABLE {loads}")).await.map_err(lost)?;
        let known = format!("SELECT coalesce(refused, '[]') FROM {loads} WHERE batch = {}", literal(&id));
        if let Some(row) = self.session.rows(&known).await.map_err(lost)?.first() {
            let refused = read_noted(row.get(0).unwrap_or("[]"));
            self.session.run("ROLLBACK").await.map_err(lost)?;
            tracing::info!(
                "chunk {id} is in {} already: an earlier attempt went through, its answer was lost",
                self.table
            );
            return Ok(refused);
        }
        let refused = self.copy(chunk, manifest, copy).await?;
        if refused.len() == chunk.count() as usize && !refused.is_empty() {
            let response = refused[0].answer.clone();
            return Err(WriteError::Refused {
                why: format!("{}: every row was refused: {response}", self.table),
                response,
            });
        }
        if let Some(upsert) = self.upsert {
            self.merge(upsert).await?;
        }
        let noted = if refused.is_empty() { "NULL".to_owned() } else { literal(&write_noted(&refused)) };
        let (target, events) = (literal(&self.table.to_string()), chunk.count());
        let entry = format!(
            "INSERT INTO {loads} (batch, target, events, manifest, refused, loaded_at) VALUES ({}, {target}, {events}, {}, \
             {noted}, {})",
            literal(&id),
            literal(manifest),
            now()
        );
        self.session.run(&entry).await.map_err(lost)?;
        self.session.run("COMMIT").await.map_err(lost)?;
        Ok(refused)
    }

    fn judge(&self, e: &Error) -> WriteError {
        match meaning(e) {
            Meaning::Row => WriteError::Refused { why: format!("{}: {}", self.table, answer(e)), response: answer(e) },
            _ => retry(&format!("{} (redshift_tablename {})", self.place, self.table), e),
        }
    }

    async fn copy(
        &self,
        chunk: &Chunk,
        manifest: &str,
        copy: impl Fn(&str) -> String,
    ) -> Result<Vec<RefusedEvent>, WriteError> {
        let target = match self.upsert {
            None => self.table.sql(),
            Some(_) => {
                let stage =
                    format!("DROP TABLE IF EXISTS {STAGE}; CREATE TEMP TABLE {STAGE} (LIKE {})", self.table.sql());
                self.session.run(&stage).await.map_err(|e| self.judge(&e))?;
                STAGE.to_owned()
            }
        };
        if let Err(e) = self.session.run(&copy(&target)).await {
            return Err(self.failed(&e, manifest).await);
        }
        if !self.tells_lines {
            return Ok(Vec::new());
        }
        self.refused(chunk).await
    }

    /// A COPY that failed as a whole: too many lines, or something else.
    async fn failed(&self, e: &Error, manifest: &str) -> WriteError {
        let said = answer(e);
        // The one failure that Redshift gives no code of its own: more lines than MAXERROR.
        if !(said.contains("stl_load_errors") || said.contains("sys_load_error_detail")) {
            return self.judge(e);
        }
        if self.session.run("ROLLBACK").await.is_err() {
            return self.judge(e);
        }
        let sql = match self.view {
            ErrorsView::Stl => {
                "SELECT line_number, colname, err_reason FROM stl_load_errors ORDER BY starttime DESC LIMIT 10"
            }
            ErrorsView::Sys => {
                "SELECT line_number, column_name, error_message FROM sys_load_error_detail ORDER BY start_time DESC LIMIT 10"
            }
        };
        let rows = self.session.rows(sql).await.unwrap_or_default();
        let lines: Vec<String> = rows
            .iter()
            .map(|row| format!("line {}: {}: {}", trimmed(row.get(0)), trimmed(row.get(1)), trimmed(row.get(2))))
            .collect();
        let why = format!("{}: more lines of {manifest} were refused than max_load_errors: {said}", self.table);
        WriteError::Refused { why, response: lines.join("\n") }
    }

    /// Lines that the last COPY passed over.
    async fn refused(&self, chunk: &Chunk) -> Result<Vec<RefusedEvent>, WriteError> {
        let lost = |e: Error| self.judge(&e);
        let loaded = self.session.rows("SELECT pg_last_copy_count()").await.map_err(lost)?;
        let loaded: u64 = loaded.first().and_then(|row| row.get(0)?.parse().ok()).unwrap_or(0);
        let events = u64::from(chunk.count());
        let view = match self.view {
            ErrorsView::Stl => {
                "SELECT line_number, colname, err_code, err_reason FROM stl_load_errors WHERE query = pg_last_copy_id() \
                 ORDER BY line_number"
            }
            ErrorsView::Sys => {
                "SELECT line_number, column_name, error_code, error_message FROM sys_load_error_detail \
                 WHERE query_id = pg_last_copy_id() ORDER BY line_number"
            }
        };
        for look in 0..LOOKS {
            if loaded >= events {
                return Ok(Vec::new());
            }
            if look > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let mut refused: Vec<RefusedEvent> = Vec::new();
            for row in self.session.rows(view).await.map_err(lost)? {
                let Some(line) = trimmed(row.get(0)).parse::<u64>().ok().and_then(|line| line.checked_sub(1)) else {
                    continue;
                };
                let mut answer = format!("{}: {} {}", trimmed(row.get(1)), trimmed(row.get(2)), trimmed(row.get(3)));
                answer.truncate(answer.floor_char_boundary(MAX_ANSWER));
                // A line may be wrong in several columns.
                match refused.last_mut() {
                    Some(last) if last.place == line => {}
                    _ => refused.push(RefusedEvent { place: line, answer }),
                }
            }
            if loaded + refused.len() as u64 == events {
                return Ok(refused);
            }
        }
        let why = format!(
            "{} (redshift_tablename {}): of {events} lines {loaded} were loaded, and the view of errors does not tell of the rest; \
             nothing is committed",
            self.place, self.table
        );
        Err(WriteError::Retry(why))
    }

    /// Brings the staged rows into the table: rows with the same keys go first.
    async fn merge(&self, upsert: &Upsert) -> Result<(), WriteError> {
        let table = self.table.sql();
        let same: Vec<String> =
            upsert.keys.iter().map(|key| format!("{table}.{0} = {STAGE}.{0}", identifier(key))).collect();
        let lost = |e: Error| self.judge(&e);
        self.session
            .run(&format!("DELETE FROM {table} USING {STAGE} WHERE {}", same.join(" AND ")))
            .await
            .map_err(lost)?;
        let columns = self.columns().await?;
        let keys: Vec<String> = upsert.keys.iter().map(|key| identifier(key)).collect();
        let keys = keys.join(", ");
        let order = upsert.order.as_ref().map_or(keys.clone(), |order| format!("{} DESC", identifier(order)));
        let insert = format!(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY {keys} \
             ORDER BY {order}) AS suiro_rank FROM {STAGE}) ranked WHERE suiro_rank = 1"
        );
        self.session.run(&insert).await.map_err(lost)
    }

    /// Columns of the staged rows, in SQL.
    async fn columns(&self) -> Result<String, WriteError> {
        // An empty answer still tells its columns.
        let sql = format!(
            "SELECT attname FROM pg_attribute WHERE attrelid = '{STAGE}'::regclass AND attnum > 0 AND NOT attisdropped \
             ORDER BY attnum"
        );
        let rows = self.session.rows(&sql).await.map_err(|e| self.judge(&e))?;
        let names: Vec<String> = rows.iter().filter_map(|row| row.get(0)).map(identifier).collect();
        Ok(names.join(", "))
    }
}

/// Views of Redshift pad their texts.
fn trimmed(text: Option<&str>) -> &str {
    text.unwrap_or_default().trim()
}

/// The refused lines as they fit into the loads table: answers grow shorter, lines are never left out.
fn write_noted(refused: &[RefusedEvent]) -> String {
    let mut longest = MAX_ANSWER;
    loop {
        let noted: Vec<Noted> = refused
            .iter()
            .map(|event| Noted(event.place, event.answer[..event.answer.floor_char_boundary(longest)].to_owned()))
            .collect();
        // Numbers and texts have no way not to be JSON.
        let text = serde_json::to_string(&noted).unwrap_or_default();
        if text.len() <= MAX_NOTED || longest == 0 {
            return text;
        }
        longest /= 2;
    }
}

fn read_noted(text: &str) -> Vec<RefusedEvent> {
    let noted: Vec<Noted> = serde_json::from_str(text).unwrap_or_default();
    noted.into_iter().map(|Noted(place, answer)| RefusedEvent { place, answer }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_lines_come_back_and_fit() {
        let refused = |count: u64| -> Vec<RefusedEvent> {
            (0..count).map(|place| RefusedEvent { place, answer: "é\"".repeat(150) }).collect()
        };
        assert_eq!(read_noted(&write_noted(&refused(3))), refused(3));
        let many = write_noted(&refused(1000));
        assert!(many.len() <= MAX_NOTED);
        assert_eq!(read_noted(&many).len(), 1000);
    }
}
