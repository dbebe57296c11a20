//! `<worker N>` and `<worker N-M>`: one process does the work of all, but a number that Fluentd refuses is refused here too.

use crate::config::{Diagnostic, Diagnostics, Section};

/// Sections that may stand in `<worker>`.
const INSIDE: [&str; 4] = ["source", "match", "filter", "label"];

/// Faults of the `<worker>` sections below `root`, in Fluentd's words.
pub fn faults(root: &Section, workers: u32) -> Diagnostics {
    let mut found = Diagnostics::new();
    let mut used = Vec::new();
    for worker in root.children_named("worker") {
        if let Err(message) = numbers(worker.arg(), workers, &mut used) {
            found.push(Diagnostic::error(message, &worker.args.span));
        }
        for child in worker.children.iter().filter(|c| !INSIDE.contains(&c.name.as_str())) {
            let message = format!("<worker> section cannot have <{}> directive", child.name);
            found.push(Diagnostic::error(message, &child.span));
        }
    }
    found
}

fn numbers(text: &str, workers: u32, used: &mut Vec<u32>) -> Result<(), String> {
    if text.is_empty() {
        return Err("Missing worker id on <worker> directive".into());
    }
    let last = workers.saturating_sub(1);
    let within = |id: u32| match id <= last {
        true => Ok(id),
        false => Err(format!(
            "worker id {id} specified by <worker> directive is not allowed. Available worker id is between 0 and {last}"
        )),
    };
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| format!("worker id {text:?} is no number"));
    let Some((first, end)) = text.split_once('-') else { return within(number(text)?).map(drop) };
    let (first, end) = (number(first)?, number(end)?);
    if first > end {
        return Err(format!(
            "greater first_worker_id<{first}> than last_worker_id<{end}> specified by <worker> directive is not allowed. \
             Available multi worker assign syntax is <smaller_worker_id>-<greater_worker_id>"
        ));
    }
    within(end)?;
    for id in first..=end {
        if used.contains(&id) {
            return Err(format!("specified worker_id<{id}> collisions is detected on <worker> directive"));
        }
        used.push(id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{LoadOptions, Surroundings, load_text};

    fn said(text: &str, workers: u32) -> Vec<String> {
        let root = load_text("t", text, &LoadOptions::new(Surroundings::default())).unwrap().root;
        faults(&root, workers).iter().map(|d| d.message.clone()).collect()
    }

    #[test]
    fn numbers_within_the_workers_are_taken() {
        assert_eq!(said("<worker 0>\n</worker>\n<worker 1-2>\n<source>\n</source>\n</worker>", 3), [""; 0]);
    }

    #[test]
    fn what_fluentd_refuses_is_refused() {
        for (text, part) in [
            ("<worker>\n</worker>", "Missing worker id"),
            ("<worker 3>\n</worker>", "between 0 and 2"),
            ("<worker 1-3>\n</worker>", "between 0 and 2"),
            ("<worker 2-1>\n</worker>", "greater first_worker_id<2>"),
            ("<worker one>\n</worker>", "is no number"),
            ("<worker 0-1>\n</worker>\n<worker 1-2>\n</worker>", "worker_id<1> collisions"),
            ("<worker 0>\n<system>\n</system>\n</worker>", "cannot have <system>"),
        ] {
            let said = said(text, 3);
            assert!(said.len() == 1 && said[0].contains(part), "{text}: {said:?}");
        }
    }
}
