//! Rows of the ledger, for whoever shows them, and their form as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::buffer::{Account, AccountKey, Fate};
use crate::event::Tag;

/// What one output, or none, took of an input's events of one tag and day, and what became of them.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerRow {
    /// `@id` of the output; empty for what reached none.
    pub output: Arc<str>,
    /// Input, tag and day.
    pub key: AccountKey,
    /// Events.
    pub account: Account,
}

impl LedgerRow {
    /// A row.
    pub fn new(output: &Arc<str>, key: &AccountKey, account: Account) -> LedgerRow {
        LedgerRow { output: output.clone(), key: key.clone(), account }
    }
}

/// A row as JSON has it.
#[derive(Serialize, Deserialize)]
struct Written {
    /// `2026-11-29`; absent where days are no longer told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    input: String,
    tag: String,
    output: String,
    /// Events taken in.
    #[serde(rename = "in")]
    taken_in: u64,
    /// Events delivered.
    out: u64,
    /// Events given to the `<secondary>`.
    #[serde(default)]
    secondary: u64,
    /// Events dropped or set aside, by reason.
    #[serde(default)]
    dropped: BTreeMap<String, u64>,
    buffered: u64,
    #[serde(default)]
    missing: i64,
}

/// The form of a report.
#[derive(Serialize, Deserialize)]
struct Report {
    version: u32,
    rows: Vec<Written>,
}

/// Rows as one JSON object: `{"version":1,"rows":[{"day","input","tag","output","in","out","secondary","dropped","buffered",
/// "missing"}]}`.
pub fn write_ledger(rows: &[LedgerRow]) -> String {
    let report = Report { version: 1, rows: rows.iter().map(Written::of).collect() };
    // Nothing in there can fail to be written.
    serde_json::to_string(&report).unwrap_or_default()
}

/// Each account once, in order of day, input, tag and output.
pub fn merge_ledger(rows: impl IntoIterator<Item = LedgerRow>) -> Vec<LedgerRow> {
    let mut merged = BTreeMap::<(AccountKey, Arc<str>), Account>::new();
    for row in rows {
        merged.entry((row.key, row.output)).or_default().merge(&row.account);
    }
    merged.into_iter().map(|((key, output), account)| LedgerRow { output, key, account }).collect()
}

/// Reads what [`write_ledger`] wrote. Errors: what is wrong with the text.
pub fn read_ledger(text: &str) -> Result<Vec<LedgerRow>, String> {
    let report: Report = serde_json::from_str(text).map_err(|e| format!("it is no ledger: {e}"))?;
    if report.version != 1 {
        return Err(format!("it is a ledger of version {}, which this program does not know", report.version));
    }
    report.rows.into_iter().map(Written::row).collect()
}

impl Written {
    fn of(row: &LedgerRow) -> Written {
        let account = &row.account;
        Written {
            day: row.key.date(),
            input: row.key.input.to_string(),
            tag: row.key.tag.to_string(),
            output: row.output.to_string(),
            taken_in: account.taken_in,
            out: account.count(Fate::Delivered),
            secondary: account.count(Fate::Secondary),
            dropped: account.dropped().map(|(fate, events)| (fate.word().to_owned(), events)).collect(),
            buffered: account.held,
            missing: account.missing(),
        }
    }

    fn row(self) -> Result<LedgerRow, String> {
        let mut account = Account::new(self.taken_in, self.buffered);
        account.add(Fate::Delivered, self.out);
        account.add(Fate::Secondary, self.secondary);
        for (word, events) in self.dropped {
            account.add(Fate::of(&word).ok_or_else(|| format!("{word:?} is no reason of a ledger"))?, events);
        }
        let day = self.day.as_deref().map_or(Some(0), AccountKey::day_of);
        let day = day.ok_or_else(|| format!("{:?} is no day", self.day.unwrap_or_default()))?;
        let key = AccountKey { day, input: self.input.into(), tag: Tag::from(self.tag.as_str()) };
        Ok(LedgerRow { output: self.output.into(), key, account })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buffer::Cause;

    #[test]
    fn rows_come_back_from_their_json() {
        let mut account = Account::new(10, 2);
        account.add(Fate::Delivered, 5);
        account.add(Fate::SetAside(Cause::Rejected), 2);
        let days = [0, 20_000, 20_786];
        let rows = days.map(|day| {
            let key = AccountKey { day, input: "in".into(), tag: Tag::from("a.b") };
            LedgerRow::new(&"out".into(), &key, account)
        });
        let text = write_ledger(&rows);
        assert!(text.contains(r#""day":"2026-11-29""#) && text.contains(r#""missing":1"#), "{text}");
        assert_eq!(read_ledger(&text).unwrap(), rows);
        assert!(read_ledger("{}").unwrap_err().contains("no ledger"));
        assert!(read_ledger(&text.replace("rejected", "x")).unwrap_err().contains("no reason"));
    }
}
