//! `suiro check FILE`: every fault at once, each with its line, a caret and a remedy.

use std::path::Path;

use super::{FAILED, Flags, OK};
use crate::config::{self, Diagnostic, Diagnostics, Loaded, Settings};
use crate::engine;
use crate::plugin::Registry;

/// Checks a file; gives the exit status.
pub fn run(file: Option<&Path>, strict: bool, flags: &Flags, registry: &'static Registry) -> u8 {
    let path = file.unwrap_or(&flags.config);
    match faults(path, strict || flags.strict, flags, registry) {
        Ok(warnings) => {
            show(&warnings);
            println!("{}: no fault{}", path.display(), counted(&warnings));
            OK
        }
        Err(faults) => {
            show(&faults);
            eprintln!("{}: {}", path.display(), summary(&faults));
            FAILED
        }
    }
}

/// All of them, with a blank line behind.
fn show(faults: &Diagnostics) {
    if !faults.is_empty() {
        eprintln!("{}\n", faults.render());
    }
}

/// `2 faults, 1 warning`
fn summary(all: &Diagnostics) -> String {
    let (errors, warnings): (Vec<_>, Vec<_>) = all.iter().cloned().partition(Diagnostic::is_error);
    let plural = if errors.len() == 1 { "" } else { "s" };
    format!("{} fault{plural}{}", errors.len(), counted(&warnings.into_iter().collect()))
}

fn counted(warnings: &Diagnostics) -> String {
    let notes = warnings.iter().filter(|w| w.is_note()).count();
    let count = |n: usize, what: &str| match n {
        0 => String::new(),
        1 => format!(", 1 {what}"),
        n => format!(", {n} {what}s"),
    };
    count(warnings.len() - notes, "warning") + &count(notes, "note")
}

fn faults(path: &Path, strict: bool, flags: &Flags, registry: &'static Registry) -> Result<Diagnostics, Diagnostics> {
    let loaded = super::run::load(path, flags)?;
    let Loaded { root, warnings, .. } = loaded;
    let mut all = warnings;
    // Settings at fault hide none of the other faults.
    let settings = config::load_settings(root.child("system"), &flags.settings()).unwrap_or_else(|e| {
        let span = root.child("system").map_or(&root.span, |s| &s.span);
        all.push(Diagnostic::error(e.to_string(), span));
        Settings::default()
    });
    let settings = Settings { strict: strict || settings.strict, ..settings };
    let process = crate::daemon::process(&settings, None);
    match engine::check_with_notes(&root, registry, &process) {
        Ok(more) => {
            all.extend(more);
            let all = all.by_place();
            if all.has_errors() { Err(all) } else { Ok(all) }
        }
        Err(faults) => {
            all.extend(faults);
            Err(all.by_place())
        }
    }
}
