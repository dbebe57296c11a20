//! `--with-source-only`: inputs take events into file buffers, one for each label; SIGWINCH starts the rest and empties them.
//!
//! All of it is configuration: one that only collects, and the operator's own with an output of type `buffer` for each
//! label behind it. Going from one to the other is a reload, so inputs go on with their ports and positions.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config::Section;

/// The label of the top level.
const ROOT: &str = "@ROOT";
/// Where events are kept below `root_dir`.
const DIRECTORY: &str = "source-only-buffer";
/// Parameters of `<source_only_buffer>` that are for the time after SIGWINCH.
const OF_DRAINING: [&str; 2] = ["flush_thread_count", "flush_interval"];

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The configuration as it is.
    Whole,
    /// Without inputs.
    WithoutSource,
    /// Inputs alone.
    Collecting,
    /// Everything, and what was collected behind it.
    Draining,
}

impl Mode {
    /// The configuration to run.
    ///
    /// Errors: nowhere to keep what is collected.
    pub fn apply(self, root: &Section) -> Result<Section, String> {
        match self {
            Mode::Whole => Ok(root.clone()),
            Mode::WithoutSource => Ok(without_sources(root)),
            Mode::Collecting => collecting(root),
            Mode::Draining => draining(root),
        }
    }
}

fn without_sources(root: &Section) -> Section {
    let mut root = root.clone();
    root.children.retain(|s| s.name != "source");
    root.children.iter_mut().filter(|s| s.name == "worker").for_each(|w| w.children.retain(|s| s.name != "source"));
    root
}

/// Sources, also those in `<worker>`.
fn sources(root: &Section) -> impl Iterator<Item = &Section> {
    let inner = root.children_named("worker").flat_map(|w| w.children_named("source"));
    root.children_named("source").chain(inner)
}

fn labels(root: &Section) -> BTreeSet<String> {
    sources(root).map(|s| s.label().unwrap_or(ROOT).to_owned()).collect()
}

fn collecting(root: &Section) -> Result<Section, String> {
    let directory = directory(root)?;
    let mut only = Section::root();
    only.children.extend(root.children_named("system").cloned());
    only.children.extend(sources(root).cloned());
    for label in labels(root) {
        // Events stay where they are: there are no writers, so where the label leads to does not count.
        let output = output(root, &directory, &label, ROOT, true);
        if label == ROOT {
            only.children.push(output);
        } else {
            only.children.push(in_label(root, &label, output));
        }
    }
    Ok(only)
}

fn draining(root: &Section) -> Result<Section, String> {
    let directory = directory(root)?;
    let mut whole = root.clone();
    for label in labels(root) {
        let output = output(root, &directory, &label, &label, false);
        whole.children.push(in_label(root, &format!("@SOURCE_ONLY:{label}"), output));
    }
    Ok(whole)
}

fn in_label(root: &Section, name: &str, output: Section) -> Section {
    let mut label = Section::new("label", root.span.clone());
    label.set_arg(name);
    label.children.push(output);
    label
}

/// `<match **>` of type `buffer` for one label.
fn output(root: &Section, directory: &std::path::Path, label: &str, target: &str, collecting: bool) -> Section {
    let mut output = Section::new("match", root.span.clone());
    output.set_arg("**");
    let plain: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    output.set_text("@type", "buffer");
    output.set_text("@id", format!("source_only{plain}"));
    output.set_text("@label", target);
    let mut buffer = Section::new("buffer", root.span.clone());
    buffer.set_arg("tag");
    buffer.set_text("flush_at_shutdown", "false");
    if collecting {
        buffer.set_text("flush_thread_count", "0");
    } else {
        buffer.set_text("flush_interval", "1s");
    }
    let written = root.child("system").and_then(|s| s.child("source_only_buffer"));
    for param in written.into_iter().flat_map(|s| &s.params) {
        if !(collecting && OF_DRAINING.contains(&param.name.as_str())) {
            buffer.set(param.clone());
        }
    }
    buffer.set_text("path", directory.join(plain).display().to_string());
    output.children.push(buffer);
    output
}

/// Where events are kept.
fn directory(root: &Section) -> Result<PathBuf, String> {
    let system = root.child("system");
    let path = system.and_then(|s| s.child("source_only_buffer")).and_then(|b| b.text("path")).map(PathBuf::from);
    let below = system.and_then(|s| s.text("root_dir")).map(|dir| PathBuf::from(dir).join(DIRECTORY));
    path.or(below).ok_or_else(|| {
        "--with-source-only needs a place for events: set root_dir, or path in <source_only_buffer>, in <system>".into()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{LoadOptions, Surroundings, load_text};

    const CONFIG: &str = "<system>\nroot_dir /data\n<source_only_buffer>\nflush_interval 3s\nchunk_limit_size 1m\n\
        </source_only_buffer>\n</system>\n<source>\n@type a\n</source>\n<worker 0>\n<source>\n@type b\n@label @X\n</source>\n\
        </worker>\n<label @X>\n<match **>\n@type null\n</match>\n</label>\n<match **>\n@type null\n</match>\n";

    fn root(text: &str) -> Section {
        load_text("t", text, &LoadOptions::new(Surroundings::default())).unwrap().root
    }

    fn shown(root: &Section) -> String {
        let text = root.to_fluentd_text(&|_| false);
        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn collecting_keeps_inputs_and_one_buffer_for_each_label_without_writers() {
        let text = shown(&Mode::Collecting.apply(&root(CONFIG)).unwrap());
        assert!(text.contains("<source> @type a </source> <source> @type b @label @X </source>"), "{text}");
        assert!(!text.contains("@type null"), "{text}");
        assert_eq!(text.matches("flush_thread_count 0 chunk_limit_size 1m").count(), 2, "{text}");
        assert!(text.contains("<label @X> <match **> @type buffer"), "{text}");
        assert!(
            text.contains("path /data/source-only-buffer/_X") && text.contains("path /data/source-only-buffer/_ROOT")
        );
    }

    #[test]
    fn draining_adds_what_gives_the_events_to_their_labels() {
        let text = shown(&Mode::Draining.apply(&root(CONFIG)).unwrap());
        assert!(text.contains("@type null"), "{text}");
        assert!(text.contains("<label @SOURCE_ONLY:@X> <match **> @type buffer @id source_only_X @label @X"), "{text}");
        assert!(text.contains("flush_interval 3s") && !text.contains("flush_thread_count"), "{text}");
    }

    #[test]
    fn a_place_is_required() {
        assert!(Mode::Collecting.apply(&root("")).unwrap_err().contains("root_dir"));
        assert_eq!(sources(&Mode::WithoutSource.apply(&root(CONFIG)).unwrap()).count(), 0);
    }
}
