//! What a plugin's constructor sees: its section, the process around it, and the plugins inside its section.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::contract::{Configure, Formatter, Parser};
use super::inject::{Extract, Inject};
use super::inspect::Inspect;
use super::registry::{Plugin, Registry};
use super::render::Render;
use super::timed::Timed;
use crate::config::{Diagnostic, Diagnostics, Options, Section, TimeSpan, from_section, nearest, permission};
use crate::event::timefmt::Zone;
use crate::net::Sockets;
use crate::net::tls::Transport;

/// Sections that the engine and this context read themselves; a plugin's parameters do not name them.
const SECTIONS_READ_ELSEWHERE: &[&str] = &["parse", "format", "buffer", "inject", "extract", "secondary"];

/// Parameters of `<buffer>` that a plugin's paths depend on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SliceParams {
    timekey: Option<TimeSpan>,
    timekey_use_utc: Option<bool>,
    timekey_zone: Option<String>,
    flush_interval: Option<TimeSpan>,
}

/// Where the chunks of a `<buffer>` are.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PlaceParams {
    path: Option<PathBuf>,
}

/// The directory for a buffer path: Fluentd's paths may be a pattern of file names (`/buf/app.*.log`); then the part
/// before the star names the directory.
pub fn directory_of(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    match text.split_once('*') {
        Some((before, _)) => PathBuf::from(before.trim_end_matches(['.', '/'])),
        None => path.to_owned(),
    }
}

/// What belongs to a plugin below `root_dir`.
pub fn home(root: &Path, process: &Process, id: &str) -> PathBuf {
    root.join(format!("worker{}", process.worker_id)).join(id)
}

/// The parameter of `<parse>` that the parser's user obeys.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EstimateParams {
    estimate_current_event: Option<bool>,
}

/// Permissions of files and directories of outputs: Fluentd's.
const OUTPUT_MODES: (u32, u32) = (0o644, 0o755);
/// Permissions of files and directories of buffers: what they hold is nobody else's business.
const BUFFER_MODES: (u32, u32) = (0o600, 0o700);

/// Writes whole lines to the process's log file.
pub type LogFile = Box<dyn Fn(&[u8]) -> std::io::Result<()> + Send + Sync>;

/// What is the same for every plugin of the process.
pub struct Process {
    /// Name of the host, as `hostname` prints it.
    pub hostname: String,
    /// Number of this worker.
    pub worker_id: u32,
    /// Number of workers that the configuration asks for.
    pub workers: u32,
    /// `<system> root_dir`: where buffers and storages without a path of their own live.
    pub root_dir: Option<PathBuf>,
    /// `<system> file_permission`: of files that outputs and buffers create, where the plugin has none of its own.
    pub file_permission: Option<u32>,
    /// `<system> dir_permission`: of their directories.
    pub dir_permission: Option<u32>,
    /// Whether unknown parameters are faults.
    pub strict: bool,
    /// Whether loose values are faults.
    pub strict_values: bool,
    /// Least time between two lines about refused emits.
    pub emit_error_log_interval: Option<Duration>,
    /// Writes whole lines to the log, where the log is a file.
    pub log_file: Option<LogFile>,
    /// The process's listening sockets.
    pub sockets: Sockets,
    /// The running plugins, once they run.
    pub view: Mutex<Option<Arc<dyn Inspect>>>,
}

impl Process {
    /// Permissions of a file and a directory that an output creates where nothing else is said.
    pub fn output_modes(&self) -> (u32, u32) {
        (self.file_permission.unwrap_or(OUTPUT_MODES.0), self.dir_permission.unwrap_or(OUTPUT_MODES.1))
    }

    /// As [`output_modes`](Self::output_modes), of a buffer.
    pub fn buffer_modes(&self) -> (u32, u32) {
        (self.file_permission.unwrap_or(BUFFER_MODES.0), self.dir_permission.unwrap_or(BUFFER_MODES.1))
    }

    /// How sections are read.
    pub fn strictness(&self) -> Options<'static> {
        Options { strict_values: self.strict_values, strict_names: self.strict, elsewhere: &[] }
    }

    /// Shows the running plugins to whoever asks.
    pub fn publish(&self, view: Arc<dyn Inspect>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
    }

    /// Writes what `stdout` plugins print: to standard output; as Fluentd's logger does, to the log where that is a file.
    pub fn print(&self, lines: &[u8], by_logger: bool) -> std::io::Result<()> {
        if let (true, Some(log)) = (by_logger, &self.log_file) {
            return log(lines);
        }
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(lines)?;
        stdout.flush()
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
    /// A file buffer, even where there is no path.
    pub file: bool,
    /// A file buffer on this path; memory where there is none.
    pub path: Option<PathBuf>,
    /// Chunk keys.
    pub keys: &'static [&'static str],
    /// `timekey`.
    pub timekey: Option<Duration>,
    /// Slices are cut in UTC where nothing is said of a zone.
    pub utc: bool,
    /// `flush_interval`, where the output's differs from the common default.
    pub flush_interval: Option<Duration>,
    /// `flush_mode interval`, although there is a chunk key `time`.
    pub by_interval: bool,
    /// `chunk_limit_size` and `total_limit_size` in bytes, where they differ from the common defaults.
    pub limits: Option<(u64, u64)>,
    /// `chunk_limit_records`.
    pub chunk_limit_records: Option<u64>,
    /// `flush_thread_count`, where one is too few: writes that mostly wait.
    pub flush_threads: Option<usize>,
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
    format: Option<&'static str>,
}

impl<'a> BuildContext<'a> {
    /// A view of `section`.
    pub fn new(
        section: &'a Section,
        process: &'a Arc<Process>,
        registry: &'a Registry,
        diagnostics: &'a mut Diagnostics,
    ) -> BuildContext<'a> {
        BuildContext { section, process, registry, diagnostics, buffer: None, format: None }
    }

    /// Reads the parameters and makes the plugin; faults go to the diagnostics.
    pub fn configure<P: Configure>(&mut self) -> Option<P> {
        let elsewhere = [SECTIONS_READ_ELSEWHERE, P::READ_ELSEWHERE].concat();
        let options = Options { elsewhere: &elsewhere, ..self.process.strictness() };
        let outcome = from_section::<P::Config>(self.section, options);
        self.diagnostics.extend(outcome.faults);
        let config = outcome.value?;
        match P::new(config, self) {
            Ok(plugin) => Some(plugin),
            Err(fault) => {
                self.diagnostics.push(fault);
                None
            }
        }
    }

    /// Reads parameters that several plugins share from the same section.
    pub fn shared<T: DeserializeOwned>(&mut self) -> Result<T, Diagnostic> {
        self.read(self.section)
    }

    /// Reads another section into a struct; names that it does not have are somebody else's.
    pub(super) fn read<T: DeserializeOwned>(&mut self, section: &Section) -> Result<T, Diagnostic> {
        let options = Options { strict_names: false, ..self.process.strictness() };
        let outcome = from_section::<T>(section, options);
        let faults = outcome.faults.into_iter().filter(Diagnostic::is_error).collect();
        self.settle(outcome.value, faults, || Diagnostic::error("this section can't be read", &section.span))
    }

    /// Reports faults and warnings; where there is no value, one of the faults is left for the caller to report.
    fn settle<T>(
        &mut self,
        value: Option<T>,
        faults: Diagnostics,
        other: impl FnOnce() -> Diagnostic,
    ) -> Result<T, Diagnostic> {
        let (mut errors, warnings): (Vec<_>, Vec<_>) = faults.into_iter().partition(Diagnostic::is_error);
        let last = errors.pop();
        self.diagnostics.extend(warnings);
        self.diagnostics.extend(errors);
        value.ok_or_else(|| last.unwrap_or_else(other))
    }

    /// Reads a section inside the plugin's own that `Config` takes as it stands.
    ///
    /// Errors: the last fault; the others, and warnings, are reported here.
    pub fn child<T: DeserializeOwned>(&mut self, section: &Section) -> Result<T, Diagnostic> {
        let options = self.process.strictness();
        let outcome = from_section::<T>(section, options);
        self.settle(outcome.value, outcome.faults, || Diagnostic::error("this section can't be read", &section.span))
    }

    /// As [`child`](Self::child), and makes something of the parameters; what is at fault is pointed at within that section.
    pub fn within<T: DeserializeOwned, R>(
        &mut self,
        section: &Section,
        make: impl FnOnce(T, &mut BuildContext<'_>) -> Result<R, Diagnostic>,
    ) -> Result<R, Diagnostic> {
        let params = self.child::<T>(section)?;
        make(params, &mut BuildContext::new(section, self.process, self.registry, self.diagnostics))
    }

    /// What `<inject>` puts into records.
    pub fn inject(&mut self) -> Result<Option<Inject>, Diagnostic> {
        self.section.child("inject").map(|section| Inject::build(section, self)).transpose()
    }

    /// What `<extract>` takes out of records.
    pub fn extract(&mut self) -> Result<Option<Extract>, Diagnostic> {
        self.section.child("extract").map(|section| Extract::build(section, self)).transpose()
    }

    /// As [`render`](Self::render), with other defaults for what `<inject>` does not say.
    pub fn render_with(&mut self, default: &'static str, inject: &[(&str, &str)]) -> Result<Render, Diagnostic> {
        self.format = Some(default);
        let formatter = self.formatter(default)?;
        let section = self.section.child("inject").is_some().then(|| self.child_with("inject", inject));
        Ok(Render::new(formatter, section.map(|section| Inject::build(&section, self)).transpose()?))
    }

    /// Formatter and injection together.
    pub fn render(&mut self, default: &'static str) -> Result<Render, Diagnostic> {
        self.format = Some(default);
        Ok(Render::new(self.formatter(default)?, self.inject()?))
    }

    /// The formatter that [`render`](Self::render) takes where the configuration names none; `None` where the output does not
    /// format.
    pub fn default_format(&self) -> Option<&'static str> {
        self.format
    }

    /// As [`render`](Self::render), for an output that writes whole files. `kind`: the one format that it may be, whatever
    /// `<format>` names, with defaults for what that does not say.
    pub fn render_whole(
        &mut self,
        default: &'static str,
        kind: Option<(&str, &[(&str, &str)])>,
    ) -> Result<Render, Diagnostic> {
        self.format = Some(default);
        let formatter = match kind {
            None => self.inner("format", "formatter", Some(default), |r| r.formatters)?,
            Some((kind, defaults)) => {
                let other = |section: &&Section| section.plugin_type().is_some_and(|written| written != kind);
                let mut section = match self.section.child("format").filter(other) {
                    None => self.child_with("format", defaults),
                    Some(other) => {
                        let mut section = Section::new("format", other.span.clone());
                        defaults.iter().for_each(|(name, text)| section.set_text(name, *text));
                        section
                    }
                };
                section.set_text("@type", kind);
                self.inner_of(&section, "format", "formatter", None, |r| r.formatters)?
            }
        };
        Ok(Render::new(formatter, self.inject()?))
    }

    /// A permission in octal, or the default.
    pub fn octal(&self, parameter: &str, text: Option<&str>, default: u32) -> Result<u32, Diagnostic> {
        text.map_or(Ok(default), permission).map_err(|e| self.fault(parameter, e))
    }

    /// `timekey` of the `<buffer>` section.
    pub fn timekey(&self) -> Result<Option<Duration>, String> {
        let Some(buffer) = self.section.child("buffer") else { return Ok(None) };
        let times = from_section::<SliceParams>(buffer, Options::default());
        Ok(times.value.and_then(|t| t.timekey).map(TimeSpan::duration))
    }

    /// `flush_interval` of the `<buffer>` section, where it is written and can be read.
    pub fn flush_interval(&self) -> Option<Duration> {
        let times = from_section::<SliceParams>(self.section.child("buffer")?, Options::default());
        times.value.and_then(|t| t.flush_interval).map(TimeSpan::duration)
    }

    /// The zone that time slices are cut and printed in.
    pub fn buffer_zone(&self) -> Result<Zone, String> {
        let section = self.section.child("buffer");
        let times = section.and_then(|buffer| from_section::<SliceParams>(buffer, Options::default()).value);
        let times = times.unwrap_or_default();
        let utc = self.buffer.as_ref().is_some_and(|defaults| defaults.utc) && times.timekey_zone.is_none();
        Zone::of_timekey(times.timekey_use_utc.unwrap_or(utc), times.timekey_zone.as_deref())
    }

    /// A fault that points at a parameter, or at the section where it is not written.
    pub fn fault(&self, parameter: &str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message, self.section.span_of(parameter))
    }

    /// A warning that points at a parameter, or at the section where it is not written.
    pub fn warn(&mut self, parameter: &str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(message, self.section.span_of(parameter)));
    }

    /// Looks at the parameters of `<transport>` alone; warns of what is odd.
    ///
    /// Errors: parameters that can't be obeyed.
    pub fn check_transport(&mut self, transport: &Transport) -> Result<(), Diagnostic> {
        let warnings = transport.check().map_err(|f| self.fault("transport", f.to_string()))?;
        warnings.into_iter().for_each(|w| self.warn("transport", w.to_string()));
        Ok(())
    }

    /// Warns of a parameter that is written and changes nothing here, with the reason.
    pub fn without_effect(&mut self, parameter: &str, why: &str) {
        if self.section.has(parameter) {
            self.warn(parameter, format!("{parameter} has no effect here: {why}"));
        }
    }

    /// Says where the output's chunks are kept by default. Only an output calls it, once.
    pub fn buffer_defaults(&mut self, defaults: BufferDefaults) {
        self.buffer = Some(defaults);
    }

    /// What [`buffer_defaults`](Self::buffer_defaults) was told.
    pub fn take_buffer_defaults(&mut self) -> Option<BufferDefaults> {
        self.buffer.take()
    }

    /// The directory of the output's file buffer; `None` where its chunks are in memory. To be asked behind
    /// [`buffer_defaults`](Self::buffer_defaults).
    pub fn buffer_directory(&self) -> Option<PathBuf> {
        let section = self.section.child("buffer");
        let defaults = self.buffer.as_ref();
        let default = if defaults.is_some_and(|d| d.file || d.path.is_some()) { "file" } else { "memory" };
        if section.and_then(Section::plugin_type).unwrap_or(default) == "memory" {
            return None;
        }
        let params = section.and_then(|section| from_section::<PlaceParams>(section, Options::default()).value);
        let written = params.and_then(|params| params.path).map(|path| directory_of(&path));
        let root = || Some(home(self.process.root_dir.as_deref()?, self.process, self.section.id()?).join("buffer"));
        written.or_else(|| defaults.and_then(|d| d.path.clone())).or_else(root)
    }

    /// The chunk keys in force: those of `<buffer>`, else the defaults told so far.
    pub fn chunk_keys(&self) -> Vec<String> {
        chunk_key_names(self.section.child("buffer"), self.buffer.as_ref().map_or(&[], |d| d.keys))
    }

    /// The plugin of the `<parse>` section; where there is none, that of the default type with no parameters.
    pub fn parser(&mut self, default: Option<&'static str>) -> Result<Arc<dyn Parser>, Diagnostic> {
        self.inner("parse", "parser", default, |r| r.parsers)
    }

    /// The parser of a section that stands for a `<parse>`.
    pub fn parser_of(&mut self, section: &Section) -> Result<Arc<dyn Parser>, Diagnostic> {
        self.inner_of(section, &section.name, "parser", None, |r| r.parsers)
    }

    /// Whether a text without a time has the present one: `<parse> estimate_current_event`.
    pub fn estimates_time(&mut self) -> Result<bool, Diagnostic> {
        let Some(section) = self.section.child("parse") else { return Ok(true) };
        let params: EstimateParams = self.read(section)?;
        Ok(params.estimate_current_event.unwrap_or(true))
    }

    /// A parser whose texts without a time count as unmatched where `estimate_current_event` is false.
    pub fn timed(&mut self, parser: Arc<dyn Parser>) -> Result<Arc<dyn Parser>, Diagnostic> {
        Ok(if self.estimates_time()? { parser } else { Arc::new(Timed(parser)) })
    }

    /// As [`parser`](Self::parser), with other defaults for what `<parse>` does not say, its type among them.
    pub fn parser_with(
        &mut self,
        default: &'static str,
        defaults: &[(&str, &str)],
    ) -> Result<Arc<dyn Parser>, Diagnostic> {
        let section = self.child_with("parse", defaults);
        self.inner_of(&section, "parse", "parser", Some(default), |r| r.parsers)
    }

    /// As [`extract`](Self::extract), with other defaults for what `<extract>` does not say.
    pub fn extract_with(&mut self, defaults: &[(&str, &str)]) -> Result<Option<Extract>, Diagnostic> {
        if self.section.child("extract").is_none() {
            return Ok(None);
        }
        let section = self.child_with("extract", defaults);
        Extract::build(&section, self).map(Some)
    }

    /// As [`inject`](Self::inject), with other defaults for what `<inject>` does not say.
    pub fn inject_with(&mut self, defaults: &[(&str, &str)]) -> Result<Option<Inject>, Diagnostic> {
        if self.section.child("inject").is_none() {
            return Ok(None);
        }
        let section = self.child_with("inject", defaults);
        Inject::build(&section, self).map(Some)
    }

    /// As [`inject_with`](Self::inject_with), where there is no `<inject>` too.
    pub fn inject_always(&mut self, defaults: &[(&str, &str)]) -> Result<Inject, Diagnostic> {
        let section = self.child_with("inject", defaults);
        Inject::build(&section, self)
    }

    fn child_with(&self, name: &str, defaults: &[(&str, &str)]) -> Section {
        let empty = || Section::new(name, self.section.span.clone());
        let mut section = self.section.child(name).cloned().unwrap_or_else(empty);
        for (parameter, text) in defaults {
            section.set_default(parameter, *text);
        }
        section
    }

    /// The plugin of the `<format>` section; where there is none, that of the default type with no parameters.
    pub fn formatter(&mut self, default: &'static str) -> Result<Arc<dyn Formatter>, Diagnostic> {
        let formatter = self.inner("format", "formatter", Some(default), |r| r.formatters)?;
        if formatter.whole().is_some() {
            let kind = self.section.child("format").and_then(Section::plugin_type).unwrap_or(default);
            let message = format!("{kind} is a format of whole files: object, s3, gcs and azurestorage write them");
            return Err(Diagnostic::error(
                message,
                self.section.child("format").map_or(&self.section.span, |f| &f.span),
            ));
        }
        Ok(formatter)
    }

    /// A formatter by type, with no parameters but those of this section.
    pub fn formatter_of_type(&mut self, kind: &str) -> Result<Arc<dyn Formatter>, Diagnostic> {
        let mut section = self.section.clone();
        section.set_text("@type", kind);
        let plugin = find(self.registry.formatters, kind, "formatter", &section)?;
        let mut faults = Diagnostics::new();
        let built = (plugin.build)(&mut BuildContext::new(&section, self.process, self.registry, &mut faults));
        // The outer type's own parameters are unknown to the inner one; only faults count.
        let fault = faults.into_iter().find(Diagnostic::is_error);
        built.ok_or_else(|| fault.unwrap_or_else(|| self.fault("output_type", format!("{kind} can't be used"))))
    }

    fn inner<T: ?Sized + 'static>(
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
        self.inner_of(section, name, kind, default, table)
    }

    fn inner_of<T: ?Sized + 'static>(
        &mut self,
        section: &Section,
        name: &str,
        kind: &str,
        default: Option<&'static str>,
        table: impl FnOnce(&Registry) -> &'static [Plugin<T>],
    ) -> Result<Arc<T>, Diagnostic> {
        let Some(wanted) = section.plugin_type().or(default) else {
            return Err(Diagnostic::error(format!("<{name}> with '@type' is required"), &section.span));
        };
        if kind == "parser" && wanted.len() > 1 && wanted.starts_with('/') && wanted.ends_with('/') {
            // `@type /pattern/` is short for the regexp parser with that expression.
            let mut named = section.clone();
            named.set_text("expression", wanted);
            named.set_text("@type", "regexp");
            return self.inner_of(&named, name, kind, None, table);
        }
        let plugin = find(table(self.registry), wanted, kind, section)?;
        let mut faults = Diagnostics::new();
        let built = (plugin.build)(&mut BuildContext::new(section, self.process, self.registry, &mut faults));
        self.settle(built, faults, || Diagnostic::error(format!("<{name}> can't be used"), &section.span))
    }
}

/// Names of chunk keys: those that a `<buffer>` section names, else the output's own.
pub fn chunk_key_names(buffer: Option<&Section>, defaults: &[&str]) -> Vec<String> {
    match buffer.map(Section::arg) {
        Some(written) if !written.is_empty() => {
            written.split(',').map(|k| k.trim().to_owned()).filter(|k| !k.is_empty() && k != "[]").collect()
        }
        _ => defaults.iter().map(|k| (*k).to_owned()).collect(),
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
    if let Some(why) = super::absent::reason(kind, wanted) {
        return Diagnostic::error(format!("{kind} plugin '{wanted}' is not here: {why}"), span);
    }
    let fault =
        Diagnostic::error(format!("Unknown {kind} plugin '{wanted}'. 'suiro plugins' lists those there are"), span);
    match nearest(wanted, names) {
        Some(near) => fault.with_help(format!("did you mean '{near}'?")),
        None => fault,
    }
}
