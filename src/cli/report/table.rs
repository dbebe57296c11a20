//! The ledger as a table, with its sums and a verdict.

use std::collections::BTreeMap;

use clap::ValueEnum;

use super::Failure;
use crate::buffer::{Account, Fate};
use crate::cli::buffer::print::{Out, Read};
use crate::plugin::LedgerRow;

/// What accounts are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// The day on which events came in.
    Day,
    /// The input.
    Input,
    /// The tag.
    Tag,
    /// The output.
    Output,
}

/// What stands for a name that there is not.
const NONE: &str = "-";

/// Prints rows put together by `by`, a line of sums, and whether all balances.
pub fn print(rows: &[LedgerRow], by: &[By]) -> Result<(), Failure> {
    let mut groups = BTreeMap::<[String; 4], Account>::new();
    let mut all = Account::default();
    for row in rows {
        groups.entry(names(row, by)).or_default().merge(&row.account);
        all.merge(&row.account);
    }
    let head = ["DAY", "INPUT", "TAG", "OUTPUT", "IN", "OUT", "DROPPED", "BUFFERED", "MISSING", "WHY DROPPED"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(groups.iter().map(|(names, account)| line(names, account)));
    let mut out = Out::new();
    for text in columns(&lines) {
        if out.line(&text)? == Read::Over {
            return Ok(());
        }
    }
    let _ = out.line(&verdict(rows, &all))?;
    let _ = out.flush()?;
    Ok(())
}

fn names(row: &LedgerRow, by: &[By]) -> [String; 4] {
    let shown = |what: By, name: String| match (what.is_in(by), name.is_empty()) {
        (true, false) => name.escape_debug().to_string(),
        _ => NONE.to_owned(),
    };
    [
        shown(By::Day, row.key.date().unwrap_or_else(|| "before".into())),
        shown(By::Input, row.key.input.to_string()),
        shown(By::Tag, row.key.tag.to_string()),
        shown(By::Output, row.output.to_string()),
    ]
}

fn line(names: &[String; 4], account: &Account) -> [String; 10] {
    let [day, input, tag, output] = names.clone();
    let dropped: u64 = account.dropped().map(|(_, events)| events).sum();
    let mut why: Vec<String> = account.dropped().map(|(fate, events)| format!("{} {events}", fate.word())).collect();
    let secondary = account.count(Fate::Secondary);
    if secondary > 0 {
        why.push(format!("({secondary} of those that went out to the secondary)"));
    }
    let numbers = [account.taken_in, account.out(), dropped, account.held].map(|n| n.to_string());
    let [taken_in, out, dropped, held] = numbers;
    [day, input, tag, output, taken_in, out, dropped, held, account.missing().to_string(), why.join(", ")]
}

/// Lines in columns: names to the left, numbers to the right.
fn columns(lines: &[[String; 10]]) -> Vec<String> {
    let widths: Vec<usize> =
        (0..10).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let cell = |at: usize, text: &String| match at {
        4..=8 => format!("{text:>width$}", width = widths[at]),
        _ => format!("{text:<width$}", width = widths[at]),
    };
    let joined = |line: &[String; 10]| {
        let cells: Vec<String> = line.iter().enumerate().map(|(at, text)| cell(at, text)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(joined).collect()
}

fn verdict(rows: &[LedgerRow], all: &Account) -> String {
    let dropped: u64 = all.dropped().map(|(_, events)| events).sum();
    let sums = format!("{} in = {} out + {dropped} dropped + {} buffered", all.taken_in, all.out(), all.held);
    let bad = rows.iter().filter(|row| row.account.missing() != 0).count();
    if bad == 0 {
        return format!("balanced: {sums}");
    }
    let (missing, surplus) = rows.iter().fold((0, 0), |(missing, surplus), row| match row.account.missing() {
        n if n > 0 => (missing + n, surplus),
        n => (missing, surplus - n),
    });
    format!("NOT balanced in {bad} of {} accounts: {sums}; {missing} missing, {surplus} too many", rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::AccountKey;
    use crate::event::Tag;

    fn row(tag: &str, taken_in: u64, out: u64) -> LedgerRow {
        let mut account = Account::new(taken_in, 1);
        account.add(Fate::Delivered, out);
        account.add(Fate::Filtered, 2);
        let key = AccountKey { day: 20_786, input: "in".into(), tag: Tag::from(tag) };
        LedgerRow::new(&"out".into(), &key, account)
    }

    #[test]
    fn a_line_says_what_became_of_the_events() {
        let row = row("a.b", 10, 6);
        let names = names(&row, &[By::Tag]);
        assert_eq!(names, ["-", "-", "a.b", "-"].map(str::to_owned));
        let told = line(&names, &row.account);
        assert_eq!(told[4..], ["10", "6", "2", "1", "1", "filtered 2"].map(str::to_owned));
    }

    #[test]
    fn what_is_missing_and_what_is_too_many_do_not_cancel_out() {
        let rows = [row("a", 10, 6), row("b", 10, 8)];
        let mut all = Account::default();
        rows.iter().for_each(|row| all.merge(&row.account));
        let said = verdict(&rows, &all);
        assert!(said.starts_with("NOT balanced in 2 of 2") && said.ends_with("1 missing, 1 too many"), "{said}");
        let fair = [row("a", 10, 7)];
        assert_eq!(verdict(&fair, &fair[0].account), "balanced: 10 in = 7 out + 2 dropped + 1 buffered");
    }
}
