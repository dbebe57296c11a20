//! `bigquery_load` and `bigquery_insert`: rows into BigQuery, in batches by load jobs or one request after the other.
//! Parameters are those of fluent-plugin-bigquery.
//!
//! What they share: names (`params`), who asks (`auth`), the REST API (`api`), columns (`schema`), rows (`rows`), making and
//! widening tables (`table`). `docs/bigquery.md` says what is exactly once and what is not.

mod api;
mod auth;
mod encode;
mod insert;
mod job;
mod load;
mod params;
mod rows;
mod schema;
mod table;

use std::sync::Arc;

use self::api::{Api, TableName};
use self::params::{Common, Names};
use self::table::Tables;
use crate::buffer::Chunk;
use crate::net::http::{Client, ClientOptions};
use crate::net::tls::{ClientSettings, ClientTls};
use crate::plugin::{InputError, WriteError};

pub use self::insert::Insert;
pub use self::load::Load;

/// What makes a value part of a project's, dataset's or table's name; others are refused. Letters of other scripts, marks
/// and spaces may stand in the names of tables.
fn name_part(value: &str) -> Option<String> {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | ':' | '.');
    (!value.is_empty() && value.chars().all(allowed)).then(|| value.to_owned())
}

/// The table that a chunk's rows go to. Of several, the chunk's id decides: a chunk that comes again goes to the same.
fn table_of(names: &Names, chunk: &Chunk) -> Result<TableName, WriteError> {
    let part = |template: &crate::plugin::Template| template.expand(chunk, name_part).map_err(WriteError::Reject);
    let [.., last] = chunk.id().0;
    let table = names.tables.get(usize::from(last) % names.tables.len().max(1));
    let table = table.ok_or_else(|| WriteError::Reject("no table is named".into()))?;
    Ok(TableName {
        project: part(&names.project)?,
        dataset: part(&names.dataset)?,
        table: part(table)?.replace('.', "_"),
    })
}

/// Opens the client and reads keys.
fn open_api(common: Common) -> Result<(Arc<Api>, Tables), InputError> {
    let defaults = ClientOptions::default();
    let client = Arc::new(Client::new(ClientOptions {
        connect_timeout: common.connect_timeout,
        tls_timeout: common.connect_timeout,
        read_timeout: common.read_timeout.unwrap_or(defaults.read_timeout),
        tls: Some(ClientTls::open(&ClientSettings { system_roots: true, ..ClientSettings::default() })?),
        ..defaults
    }));
    common.auth.open(&client).map_err(InputError)?;
    let api = Arc::new(Api::new(client, common.auth, &common.endpoint, common.location));
    let tables = Tables::new(api.clone(), common.tables);
    Ok((api, tables))
}
