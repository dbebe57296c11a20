//! Queries over a warehouse that was written here.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;

use super::*;
use crate::event::Value;
use crate::output::warehouse::testing::{Faulty, Row, chunk, files, warehouse};
use crate::plugin::Output;

/// 2026-11-29 00:00 UTC.
const DAY: i64 = 1_795_910_400;

const LIMITS: Limits = Limits { memory: 64 << 20, threads: 2 };

/// A table of three chunks, of which the last brings a column, and an empty field of another type.
async fn filled() -> Arc<Faulty> {
    let store: Arc<Faulty> = Arc::default();
    let out = warehouse("", &store);
    for part in 0..3 {
        let rows: Vec<Row<'_>> = (0..10)
            .map(|n| {
                let mut fields = vec![("n", Value::Int(part * 10 + n)), ("userId", Value::str("u"))];
                if part == 2 {
                    fields.push(("late", Value::Float(0.5)));
                    fields.push(("userId", Value::Int(5)));
                }
                (DAY + part * 86_400 + n, fields)
            })
            .collect();
        out.write(&chunk("app.web", &rows)).await.unwrap();
    }
    out.write(&chunk("other", &[(DAY, vec![("x", Value::Bool(true))])])).await.unwrap();
    store
}

async fn ask(store: &Arc<Faulty>, sql: &str) -> Result<String, String> {
    let query = Query::over(files(store), &LIMITS).await?;
    let batches: Vec<_> = query.run(sql).await?.try_collect().await.map_err(|e| query.explained(e))?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

/// The one value that an answer has.
async fn value(store: &Arc<Faulty>, sql: &str) -> String {
    let table = ask(store, sql).await.unwrap_or_else(|why| panic!("{sql}: {why}"));
    let line = table.lines().nth(3).unwrap_or_else(|| panic!("{sql}: {table}"));
    line.trim_matches(['|', ' ']).to_owned()
}

#[tokio::test]
async fn queries_see_what_was_written() {
    let store = filled().await;
    for (sql, wanted) in [
        ("select count(*) from raw.app_web", "30"),
        ("select sum(n) from app_web", "435"),
        ("select COUNT(late) from raw.app_web", "10"),
        ("select count(*) from raw.app_web where time >= '2026-11-30T00:00:00Z'", "20"),
        ("select count(*) from raw.app_web where time < timestamp '2026-11-30 00:00:00'", "10"),
        ("select count(distinct date_trunc('day', time)) from raw.app_web", "3"),
        ("select max(n) from raw.app_web where userId = 'u' and n < 25", "24"),
        ("select count(*) from raw.app_web where json_get(_rest, 'userId') = '5'", "10"),
        ("select count(*) from raw.other where x", "1"),
        ("select count(*) from app_web a join app_web b on a.n = b.n", "30"),
        ("select n from raw.app_web order by time desc limit 1", "29"),
        ("select count(*) from raw.app_web where late is null", "20"),
    ] {
        assert_eq!(value(&store, sql).await, wanted, "{sql}");
    }
    let tables = ask(&store, "show tables").await.unwrap();
    assert!(tables.contains("app_web") && tables.contains("other"), "{tables}");
    let described = ask(&store, "describe raw.app_web").await.unwrap();
    assert!(described.contains("userId") && described.contains("late"), "{described}");
}

#[tokio::test]
async fn files_that_a_filter_rules_out_are_not_read() {
    let store = filled().await;
    let plan = ask(&store, "explain select n from raw.app_web where time >= '2026-12-01T00:00:00Z'").await.unwrap();
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
}

#[tokio::test]
async fn an_error_says_what_there_is() {
    let store = filled().await;
    let said = ask(&store, "select * from raw.app_wbe").await.unwrap_err();
    assert!(said.contains("app_wbe") && said.contains("There are raw.app_web, raw.other"), "{said}");
    let said = ask(&store, "select nope from raw.app_web").await.unwrap_err();
    assert!(said.contains("nope") && said.contains("userId"), "{said}");
    let said = ask(&store, "selec 1").await.unwrap_err();
    assert!(said.contains("selec"), "{said}");
    for changing in
        ["create table x as select 1", "insert into raw.other values (1)", "drop table raw.other", "set a.b = 1"]
    {
        assert!(ask(&store, changing).await.is_err(), "{changing}");
    }
    let empty = Query::over(files(&Arc::default()), &LIMITS).await.err().unwrap();
    assert!(empty.contains("there is no table"), "{empty}");
}
