//! For tests of the languages: what a text comes to, in Fluentd's form, and the faults in it.

use std::path::Path;
use std::sync::Arc;

use super::diagnostic::Diagnostics;
use super::ruby::Surroundings;
use super::section::Section;
use super::session::Session;
use super::span::Source;

/// Reads a text as the file `name`, with `X` in the environment.
pub(super) fn read(
    parse: impl Fn(&Arc<Source>, &Path, &mut Session<'_>) -> Section,
    name: &str,
    text: &str,
    base: &Path,
) -> (Section, Diagnostics) {
    let around = Surroundings {
        env: [("X".to_owned(), "xval".to_owned())].into(),
        hostname: "web1".into(),
        worker_id: "0".into(),
    };
    let mut session = Session::new(&around, encoding_rs::UTF_8);
    let root = parse(&Source::new(name, text), base, &mut session);
    (root, session.faults)
}

/// Without the root's own lines and the indentation.
pub(super) fn flat(root: &Section) -> String {
    let text: String = root.children.iter().map(|child| child.to_fluentd_text(&|_| false)).collect();
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Faults as `line:column message`.
pub(super) fn placed(faults: &Diagnostics) -> Vec<String> {
    faults.iter().map(|fault| format!("{}:{} {}", fault.span.line(), fault.span.column(), fault.message)).collect()
}
