//! Runs a route's filters over a batch: decode once, edit, encode once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::event::{Arena, Batch, BatchBuilder, Record};
use crate::plugin::{Event, Failure, Filter, Verdict};

/// A filter of the graph, with what it has seen.
pub struct FilterNode {
    /// `@id`, or one made up.
    pub id: String,
    /// `@type`
    pub kind: String,
    /// The plugin.
    pub filter: Arc<dyn Filter>,
    /// The span that it works in, for its `@log_level`.
    pub span: tracing::Span,
    /// Events that came in.
    pub seen: AtomicU64,
    /// Events that it dropped.
    pub dropped: AtomicU64,
}

/// What a chain gives: the events that went through, and copies of those that failed.
pub struct Filtered {
    /// What goes on to the match.
    pub batch: Batch,
    /// Copies for `@ERROR`.
    pub failures: Vec<Failure>,
    /// Events that a filter took out.
    pub dropped: u64,
}

/// Runs `filters` in order over a plain batch. Entries that can't be read are left out; inputs check what they take.
pub fn run(filters: &[Arc<FilterNode>], batch: &Batch) -> Filtered {
    let arena = Arena::new();
    let mut event = Event {
        tag: &batch.tag,
        time: Default::default(),
        record: Record::new(),
        arena: &arena,
        failures: Vec::new(),
        more: Vec::new(),
    };
    let mut out = BatchBuilder::with_capacity(batch.bytes().len());
    let mut counts = vec![(0u64, 0u64); filters.len()];
    for entry in batch.entries().map_while(Result::ok) {
        event.time = entry.time;
        if event.record.decode_into(entry.record, &arena).is_err() {
            continue;
        }
        pass(filters, &mut event, &mut counts, &mut out);
    }
    let all = counts.iter().map(|(_, dropped)| dropped).sum();
    for (node, (seen, dropped)) in filters.iter().zip(counts) {
        node.seen.fetch_add(seen, Relaxed);
        node.dropped.fetch_add(dropped, Relaxed);
    }
    Filtered { failures: event.failures, batch: out.finish(batch.tag.clone()), dropped: all }
}

/// Takes an event through the filters into `out`, then those that came out of it through the rest of them.
fn pass<'a>(filters: &'a [Arc<FilterNode>], event: &mut Event<'a>, counts: &mut [(u64, u64)], out: &mut BatchBuilder) {
    let mut kept = true;
    let mut more = Vec::new();
    for (at, (node, (seen, dropped))) in filters.iter().zip(counts.iter_mut()).enumerate() {
        *seen += 1;
        kept = node.span.in_scope(|| node.filter.filter(event)) == Verdict::Keep;
        more.extend(event.more.drain(..).map(|found| (at + 1, found)));
        if !kept {
            *dropped += 1;
            break;
        }
    }
    if kept {
        out.push(event.time, &event.record);
    }
    for (next, (time, record)) in more {
        (event.time, event.record) = (time, record);
        pass(&filters[next..], event, &mut counts[next..], out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::event::{EventTime, Tag, Value};

    struct Odd;
    impl Filter for Odd {
        fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
            let Some(Value::Int(n)) = event.record.get(b"n") else { return Verdict::Drop };
            if n == 3 {
                event.fail("three");
            }
            event.record.set(b"seen", Value::Bool(true));
            if n % 2 == 1 { Verdict::Keep } else { Verdict::Drop }
        }
    }

    struct Twice;
    impl Filter for Twice {
        fn filter<'a>(&'a self, event: &mut Event<'a>) -> Verdict {
            event.more.push((event.time, event.record.clone()));
            Verdict::Keep
        }
    }

    fn node(filter: impl Filter) -> Arc<FilterNode> {
        Arc::new(FilterNode {
            id: "f".into(),
            kind: "f".into(),
            filter: Arc::new(filter),
            span: tracing::Span::none(),
            seen: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    #[test]
    fn events_that_come_out_of_another_pass_the_filters_behind() {
        let mut b = BatchBuilder::new();
        let mut r = Record::new();
        r.set(b"n", Value::Int(1));
        b.push(EventTime::from_secs(1), &r);
        let got = run(&[node(Twice), node(Odd), node(Twice)], &b.finish(Tag::from("t")));
        assert_eq!(got.batch.len(), 4);
        let arena = Arena::new();
        for entry in got.batch.entries() {
            assert!(Record::decode(entry.unwrap().record, &arena).unwrap().get(b"seen").is_some());
        }
    }

    #[test]
    fn events_are_edited_dropped_and_failed_one_by_one() {
        let mut b = BatchBuilder::new();
        for n in 1..=4 {
            let mut r = Record::new();
            r.set(b"n", Value::Int(n));
            b.push(EventTime::from_secs(n), &r);
        }
        let node = node(Odd);
        let got = run(std::slice::from_ref(&node), &b.finish(Tag::from("t")));
        assert_eq!(got.batch.len(), 2);
        assert_eq!(got.failures.len(), 1);
        assert_eq!((node.seen.load(Relaxed), node.dropped.load(Relaxed)), (4, 2));
        let arena = Arena::new();
        let last = got.batch.entries().last().unwrap().unwrap();
        assert_eq!(Record::decode(last.record, &arena).unwrap().get(b"seen"), Some(Value::Bool(true)));
    }
}
