//! What a plugin's constructor sees: its section, the process around it, and the plugins inside its section.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::contract::{Configure, Formatter, Parser};
use super::inspect::Inspect;
use super::registry::{Plugin, Registry};
use crate::config::{Diagnostic, Diagnostics, Section, from_section, nearest};
use crate::net::Sockets;

/// Sections that the engine and this context read themselves; a plugin's parameters do not name them.
const SECTIONS_READ_ELSEWHERE: &[&str] = &["parse", "format", "buffer", "inject", "extract", "secondary"];

/// What is the same for every plugin of the process.
pub struct Process {
    /// Name of the host, as `hostname` prints it.
    pub hostname: String,
    /// Number of this worker.
    pub worker_id: u32,
    /// `<system> root_dir`: where buffers and storages without a path of their own live.
    pub root_dir: Option<PathBuf>,
    /// Permissions of files that outputs create, where the plugin has none of its own.
    pub file_permission: u32,
    /// Permissions of directories that outputs create, where the plugin has none of its own.
    pub dir_permission: u32,
    /// Whether unknown parameters are faults.
    pub strict: bool,
    /// The process's listening sockets.
    pub sockets: Sockets,
    /// The running plugins, once they run.
    pub view: Mutex<Option<Arc<dyn Inspect>>>,
}

impl Process {
    /// Shows the running plugins to whoever asks.
    pub fn publish(&self, view: Arc<dyn Inspect>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    /// The running plugins; `None` before the start is done.
    pub fn inspect(&self) -> Option<Arc<dyn Inspect>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where an output's chunks are kept unless `<buffer>` says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BufferDefaults {
    /// Whether the output buffers even without a `<buffer>` section; `stdout` and `null` do not.
    pub buffered: bool,
    /// A file buffer on this path; memory where there is none.
    pub path: Option<PathBuf>,
    /// Chunk keys.
    pub keys: &'static [&'static str],
    /// `timekey`.
    pub timekey: Option<Duration>,
    /// `flush_interval`, where the output's differs from the common default.
    pub flush_interval: Option<Duration>,
}

/// The view of one plugin's section while it is built.
pub struct BuildContext<'a> {
    /// The section.
    pub section: &'a Section,
    /// The process around it.
    pub process: &'a Arc<Process>,
    registry: &'a Registry,
    diagnostics: &'a mut Diagnostics,
    buffer: Option<BufferDefaults>,
}

impl<'a> BuildContext<'a> {
    /// A view of `section`.
    pub fn new(
        section: &'a Section,
        process: &'a Arc<Process>,
        registry: &'a Registry,
        diagnostics: &'a mut Diagnostics,
    ) -> BuildContext<'a> {
        BuildContext { section, process, registry, diagnostics, buffer: None }
    }

    /// Reads the parameters and makes the plugin; faults go to the diagnostics.
    pub fn configure<P: Configure>(&mut self) -> Option<P> {
        let outcome = from_section::<P::Config>(self.section, self.process.strict, SECTIONS_READ_ELSEWHERE);
        let config = self.diagnostics.take_outcome(outcome)?;
        match P::new(config, self) {
            Ok(plugin) => Some(plugin),
            Err(fault) => {
                self.diagnostics.push(fault);
                None
            }
        }
    }

    /// A fault that points at a parameter, or at the section where it is not written.
    pub fn fault(&self, parameter: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message, self.section.span_of(parameter))
    }

    /// A warning that points at a parameter, or at the section where it is not written.
    pub fn warn(&mut self, parameter: &str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(message, self.section.span_of(parameter)));
    }

    /// Says where the output's chunks are kept by default. Only an output calls it, once.
    pub fn buffer_defaults(&mut self, defaults: BufferDefaults) {
        self.buffer = Some(defaults);
    }

    /// What [`buffer_defaults`](Self::buffer_defaults) was told.
    pub fn take_buffer_defaults(&mut self) -> Option<BufferDefaults> {
        self.buffer.take()
    }

    /// The chunk keys in force: those of `<buffer>`, else the defaults told so far.
    pub fn chunk_keys(&self) -> Vec<String> {
        match self.section.child("buffer") {
            Some(buffer) if !buffer.arg().is_empty() => {
                buffer.arg().split(',').map(|k| k.trim().to_owned()).filter(|k| !k.is_empty() && k != "[]").collect()
            }
            _ => self.buffer.iter().flat_map(|d| d.keys).map(|k| (*k).to_owned()).collect(),
        }
    }

    /// The plugin of the `<parse>` section; where there is none, that of the default type with no parameters.
    pub fn parser(&mut self, default: Option<&'static str>) -> Result<Arc<dyn Parser>, Diagnostic> {
        self.inner("parse", "parser", default, |r| r.parsers)
    }

    /// The plugin of the `<format>` section; where there is none, that of the default type with no parameters.
    pub fn formatter(&mut self, default: &'static str) -> Result<Arc<dyn Formatter>, Diagnostic> {
        self.inner("format", "formatter", Some(default), |r| r.formatters)
    }

    fn inner<T: ?Sized>(
        &mut self,
        name: &str,
        kind: &str,
        default: Option<&'static str>,
        table: impl FnOnce(&Registry) -> &'static [Plugin<T>],
    ) -> Result<Arc<T>, Diagnostic> {
        let empty;
        let section = match self.section.child(name) {
            Some(section) => section,
            None => {
                empty = Section::new(name, self.section.span.clone());
                &empty
            }
        };
        let Some(wanted) = section.plugin_type().or(default) else {
            return Err(Diagnostic::error(format!("<{name}> with '@type' is required"), &section.span));
        };
        let plugin = find(table(self.registry), wanted, kind, section)?;
        let mut faults = Diagnostics::new();
        let built = (plugin.build)(&mut BuildContext::new(section, self.process, self.registry, &mut faults));
        let (mut errors, warnings): (Vec<_>, Vec<_>) = faults.into_iter().partition(Diagnostic::is_error);
        self.diagnostics.extend(warnings);
        // The caller reports one of the faults; the others are reported here.
        let last = errors.pop();
        self.diagnostics.extend(errors);
        built.ok_or_else(|| last.unwrap_or_else(|| Diagnostic::error(format!("<{name}> can't be used"), &section.span)))
    }
}

/// The line of a table that has `wanted` among its names.
///
/// Errors: an unknown type, with the nearest name.
pub fn find<'t, T: ?Sized>(
    table: &'t [Plugin<T>],
    wanted: &str,
    kind: &str,
    section: &Section,
) -> Result<&'t Plugin<T>, Diagnostic> {
    let names = || table.iter().flat_map(|p| p.names.iter().copied());
    table.iter().find(|p| p.names.contains(&wanted)).ok_or_else(|| unknown_type(wanted, kind, names(), section))
}

/// The fault of a `@type` that no table has.
pub fn unknown_type<'n>(
    wanted: &str,
    kind: &str,
    names: impl Iterator<Item = &'n str>,
    section: &Section,
) -> Diagnostic {
    let span = section.get("@type").or_else(|| section.get("type")).map_or(&section.span, |p| &p.value_span);
    let fault = Diagnostic::error(format!("Unknown {kind} plugin '{wanted}'. 'suiro plugins' lists those there are"), span);
    match nearest(wanted, names) {
        Some(near) => fault.with_help(format!("did you mean '{near}'?")),
        None => fault,
    }
}
