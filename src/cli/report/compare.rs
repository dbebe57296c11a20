//! Two hops beside each other: what the first delivered and what the second took in, by tag.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ReportArgs;
use crate::buffer::Fate;
use crate::cli::buffer::Failure;
use crate::cli::buffer::Form;
use crate::cli::buffer::print::{Out, Read};
use crate::plugin::LedgerRow;

/// One tag at both hops, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Hops {
    /// The first delivered.
    delivered: u64,
    /// The first still has: some of it may have arrived without its answer.
    waiting: u64,
    /// The second took in.
    arrived: u64,
}

/// A row as JSON.
#[derive(Serialize)]
struct Row<'a> {
    tag: &'a str,
    #[serde(flatten)]
    hops: Hops,
    lost: u64,
    doubled: u64,
}

impl Hops {
    /// Events that were delivered and did not arrive.
    fn lost(&self) -> u64 {
        self.delivered.saturating_sub(self.arrived)
    }

    /// Events that arrived and were never sent.
    fn doubled(&self) -> u64 {
        self.arrived.saturating_sub(self.delivered + self.waiting)
    }
}

/// Prints the comparison; gives whether nothing was lost or doubled.
pub fn run(first: &[LedgerRow], second: &[LedgerRow], args: &ReportArgs) -> Result<bool, String> {
    let hops = compare(first, second, args)?;
    let mut out = Out::new();
    if args.format == Form::Text {
        let _ = out.line(&line(["TAG", "DELIVERED", "WAITING", "ARRIVED", "LOST", "DOUBLED"]))?;
    }
    for (tag, hops) in &hops {
        let (lost, doubled) = (hops.lost(), hops.doubled());
        let text = match args.format {
            Form::Text => {
                let numbers = [hops.delivered, hops.waiting, hops.arrived, lost, doubled].map(|n| n.to_string());
                let [a, b, c, d, e] = &numbers;
                line([&tag.escape_debug().to_string(), a, b, c, d, e])
            }
            Form::Json => serde_json::to_string(&Row { tag, hops: *hops, lost, doubled }).map_err(|e| e.to_string())?,
        };
        if out.line(&text)? == Read::Over {
            break;
        }
    }
    let (lost, doubled) = hops.values().fold((0, 0), |(l, d), hops| (l + hops.lost(), d + hops.doubled()));
    if args.format == Form::Text {
        let _ = out.line(&match lost + doubled {
            0 => "nothing lost, nothing doubled between the two".to_owned(),
            _ => format!("{lost} events lost and {doubled} doubled between the two"),
        })?;
    }
    let _ = out.flush()?;
    Ok(lost + doubled == 0)
}

fn compare(first: &[LedgerRow], second: &[LedgerRow], args: &ReportArgs) -> Result<BTreeMap<String, Hops>, Failure> {
    let sent: Vec<&LedgerRow> = first.iter().filter(|row| !row.output.is_empty() && args.chooses_output(row)).collect();
    let came: Vec<&LedgerRow> = second.iter().filter(|row| args.chooses_input(row)).collect();
    one_way(&sent, "--output", |row| &row.output)?;
    one_way(&came, "--input", |row| &row.key.input)?;
    let mut hops = BTreeMap::<String, Hops>::new();
    for row in sent {
        let hop = hops.entry(row.key.tag.to_string()).or_default();
        hop.delivered += row.account.count(Fate::Delivered);
        hop.waiting += row.account.held;
    }
    for (tag, arrived) in arrived(&came) {
        hops.entry(tag).or_default().arrived = arrived;
    }
    Ok(hops)
}

/// Which way the events took must be clear: where there are several, one has to be chosen.
fn one_way(rows: &[&LedgerRow], flag: &str, name: impl Fn(&LedgerRow) -> &str) -> Result<(), Failure> {
    let mut names: Vec<&str> = rows.iter().map(|row| name(row)).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0 | 1 => Ok(()),
        _ => Err(format!("choose one with {flag}: there are {}", names.join(", "))),
    }
}

/// Events that came in, by tag. A `copy` takes each of them into several outputs: that which has most has all.
fn arrived(rows: &[&LedgerRow]) -> BTreeMap<String, u64> {
    let mut by_output = BTreeMap::<(String, &str), u64>::new();
    for row in rows {
        *by_output.entry((row.key.tag.to_string(), &row.output)).or_default() += row.account.taken_in;
    }
    let mut arrived = BTreeMap::<String, u64>::new();
    for ((tag, _), events) in by_output {
        let most = arrived.entry(tag).or_default();
        *most = events.max(*most);
    }
    arrived
}

fn line([tag, delivered, waiting, arrived, lost, doubled]: [&str; 6]) -> String {
    format!("{tag:<32} {delivered:>12} {waiting:>12} {arrived:>12} {lost:>10} {doubled:>10}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_may_have_arrived_and_the_rest_is_lost_or_doubled() {
        let hops = |delivered, waiting, arrived| {
            let hops = Hops { delivered, waiting, arrived };
            (hops.lost(), hops.doubled())
        };
        assert_eq!([hops(5, 0, 5), hops(5, 3, 7), hops(5, 3, 4), hops(5, 3, 9)], [(0, 0), (0, 0), (1, 0), (0, 1)]);
    }
}
