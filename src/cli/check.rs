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
    match warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".into(),
        n => format!(", {n} warnings"),
    }
}

fn faults(path: &Path, strict: bool, flags: &Flags, registry: &'static Registry) -> Result<Diagnostics, Diagnostics> {
    let loaded = super::run::load(path, flags)?;
    let Loaded { root, warnings, .. } = loaded;
    let settings = config::load_settings(root.child("system"), &flags.settings());
    let settings = settings.map_err(|e| Diagnostics::from(Diagnostic::error(e.to_string(), &root.span)))?;
    let settings = Settings { strict_config_value: strict, ..settings };
    let process = crate::daemon::process(&settings);
    let mut all = warnings;
    match engine::check(&root, registry, &process) {
        Ok(more) => {
            all.extend(more);
            Ok(all.by_place())
        }
        Err(faults) => {
            all.extend(faults);
            Err(all.by_place())
        }
    }
}
