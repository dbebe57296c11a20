//! `suiro check FILE`: every fault at once, each with its line, a caret and a remedy.

use std::path::Path;

use super::{FAILED, Flags, OK};
use crate::config::{self, Diagnostics, Loaded, Settings};
use crate::engine;
use crate::plugin::Registry;

/// Checks a file; gives the exit status.
pub fn run(file: Option<&Path>, strict: bool, flags: &Flags, registry: &'static Registry) -> u8 {
    let path = file.unwrap_or(&flags.config);
    match faults(path, strict || flags.strict, flags, registry) {
        Ok(warnings) => {
            eprint!("{}", warnings.render());
            println!("{}: no fault{}", path.display(), counted(&warnings));
            OK
        }
        Err(faults) => {
            eprint!("{}", faults.render());
            FAILED
        }
    }
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
        all.push(config::Diagnostic::error(e.to_string(), span));
        Settings::default()
    });
    let settings = Settings { strict: strict || settings.strict, ..settings };
    let process = crate::daemon::process(&settings, None);
    match engine::check_with_notes(&root, registry, &process) {
        Ok(more) => {
            all.extend(more);
            if all.has_errors() { Err(all) } else { Ok(all) }
        }
        Err(faults) => {
            all.extend(faults);
            Err(all)
        }
    }
}
