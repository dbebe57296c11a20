//! The rows that monitor_agent shows of a graph.

use crate::config::{LoadOptions, Surroundings, load_text};
use crate::engine::build::{Reusable, build};
use crate::engine::monitor::View;
use crate::plugin::testing::process;
use crate::plugin::{Category, Inspect};

/// Ids, types and whether a row is one of those that only send on.
fn rows(text: &str) -> Vec<(String, String, bool)> {
    let loaded = load_text("t.conf", text, &LoadOptions::new(Surroundings::default())).ok().unwrap();
    let plan = build(&loaded.root, &crate::REGISTRY, &process(false), &Reusable::default()).ok().unwrap();
    let view = View { graph: plan.graph.into(), inputs: Vec::new() };
    view.plugins().into_iter().map(|row| (row.id, row.kind, row.category == Category::Route)).collect()
}

#[test]
fn what_sends_on_has_a_row_before_its_stores_as_in_fluentd() {
    let text = "<match a>\n@type null\n@id first\n</match>\n\
                <match b>\n@type copy\n@id both\n<store>\n@type roundrobin\n@id turns\n<store>\n@type null\n@id one\n</store>\n\
                <store>\n@type null\n@id two\n</store>\n</store>\n<store>\n@type null\n@id three\n</store>\n</match>\n\
                <match c>\n@type relabel\n@id away\n@label @L\n</match>\n\
                <label @L>\n<match **>\n@type null\n@id last\n</match>\n</label>\n";
    let seen = rows(text);
    let ids: Vec<(&str, bool)> = seen.iter().map(|(id, _, routes)| (id.as_str(), *routes)).collect();
    let wanted = [
        ("first", false),
        ("both", true),
        ("turns", true),
        ("one", false),
        ("two", false),
        ("three", false),
        ("away", true),
        ("last", false),
    ];
    let mut in_any_order = ids.clone();
    in_any_order.sort_unstable();
    let mut all = wanted;
    all.sort_unstable();
    assert_eq!(in_any_order, all, "{seen:?}");
    // Labels may be built before the top level; within a match the order is that of the configuration.
    let place = |name: &str| ids.iter().position(|(id, _)| *id == name);
    assert!(
        place("both") < place("turns") && place("turns") < place("one") && place("two") < place("three"),
        "{ids:?}"
    );
}
