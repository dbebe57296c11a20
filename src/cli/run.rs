//! Without a subcommand: run the daemon in the foreground, or only check with `--dry-run`.

use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};

use super::daemonize::{self, PidFile, Role};
use super::{FAILED, Flags, OK, privilege, setup};
use crate::config::{self, Diagnostic, Diagnostics, Language, LoadOptions, Loaded, Settings, Span, Surroundings};
use crate::daemon::{self, Log, Start};
use crate::engine;
use crate::plugin::Registry;

/// Runs; gives the exit status.
pub fn run(flags: &Flags, registry: &'static Registry) -> u8 {
    if let Some(directory) = &flags.setup {
        return setup::run(directory);
    }
    match prepared(flags) {
        Ok(Role::Parent(status)) => status,
        Ok(Role::Runs(pid_file)) => load_and_start(flags, pid_file, registry),
        Err(e) => {
            eprintln!("suiro: {e}");
            FAILED
        }
    }
}

/// What comes before the configuration is read: whose rights, which process.
fn prepared(flags: &Flags) -> Result<Role, String> {
    if let Some(refused) = flags.fluentd.refused() {
        return Err(refused);
    }
    privilege::change(flags.user.as_deref(), flags.group.as_deref())?;
    let background = flags.daemon.as_deref().filter(|_| !flags.dry_run);
    daemonize::daemonize(background, flags.daemon_stage)
}

fn load_and_start(flags: &Flags, pid_file: Option<PidFile>, registry: &'static Registry) -> u8 {
    let loaded = load(&flags.config, flags);
    let system = loaded.as_ref().ok().and_then(|l| l.root.child("system"));
    let ready = config::load_settings(system, &flags.settings()).map_err(|e| e.to_string()).and_then(|settings| {
        set_umask(&settings);
        Ok((daemon::init_logging(&settings)?, settings))
    });
    let (log, settings) = match ready {
        Ok(ready) => ready,
        Err(e) => {
            eprintln!("suiro: config error: {e}");
            return FAILED;
        }
    };
    if let Some(name) = &settings.process_name {
        name_process(name);
    }
    flags.fluentd.warnings().iter().for_each(|warning| warn!("{warning}"));
    match loaded {
        Ok(loaded) => start(flags, loaded, settings, log, pid_file, registry),
        Err(faults) => {
            daemon::report_faults(&faults);
            FAILED
        }
    }
}

fn set_umask(settings: &Settings) {
    // The settings were refused where it is not octal.
    if let Some(mask) = settings.umask.as_deref().and_then(|text| config::permission(text).ok()) {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    }
}

/// The name that `ps` and `top` show; the system keeps its first 15 bytes.
fn name_process(name: &str) {
    if let Err(e) = std::fs::write("/proc/self/comm", name) {
        warn!("process_name {name:?} can't be set: {e}");
    }
}

/// Reads the configuration with what the flags add to it.
pub fn load(path: &Path, flags: &Flags) -> Result<Loaded, Diagnostics> {
    if !path.exists() {
        let missing = Diagnostic::error(format!("there is no file '{}'", path.display()), &Span::nowhere());
        return Err(missing.with_help("name the configuration with -c PATH or in FLUENT_CONF").into());
    }
    if path.extension().is_some_and(|e| e == "rb") {
        let message = "a configuration in Ruby is code, which suiro does not run. Write it as fluent.conf or in YAML";
        return Err(Diagnostic::error(format!("{}: {message}", path.display()), &Span::nowhere()).into());
    }
    config::load_all(path, &options(flags)?)
}

fn options(flags: &Flags) -> Result<LoadOptions, Diagnostics> {
    let language = flags.config_file_type.parse();
    let mut options = LoadOptions::new(Surroundings::of_process("0"));
    options.language = language.map_err(|e: String| Diagnostics::from(Diagnostic::error(e, &Span::nowhere())))?;
    if flags.use_v0_config {
        options.language = Language::FluentdV0;
    }
    options.encoding = flags.conf_encoding.clone();
    options.inline = flags.inline_config.clone();
    Ok(options)
}

/// Least threads that tasks run on, unless set: on one core an output that formats a chunk must not keep inputs from handing
/// How long the end of the process waits for what nobody waits for any more.
const LEFT_BEHIND: Duration = Duration::from_millis(200);
/// on what they read, or the disk has nothing to do meanwhile.
const LEAST_THREADS: usize = 2;

fn start(
    flags: &Flags,
    loaded: Loaded,
    settings: Settings,
    log: Log,
    pid_file: Option<PidFile>,
    registry: &'static Registry,
) -> u8 {
    daemon::report_faults(&loaded.warnings);
    raise_descriptor_limit();
    if flags.dry_run {
        return dry_run(&loaded, &settings, registry);
    }
    let Ok(options) = options(flags) else { return FAILED };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(match settings.threads {
        0 => std::thread::available_parallelism().map_or(LEAST_THREADS, |cores| cores.get().max(LEAST_THREADS)),
        threads => threads,
    });
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("suiro: can't start threads: {e}");
            return FAILED;
        }
    };
    if settings.workers > 1 {
        info!("workers {}: one process with as many threads as cores does the work of all", settings.workers);
    }
    let path = flags.config.clone();
    if pid_file.is_some() && !log.output.is_file() {
        warn!("-d without -o: once suiro runs in the background its log goes nowhere. Give a log file");
    }
    let on_running = || pid_file.as_ref().map_or(Ok(()), PidFile::ready);
    let start = Start { path, options, loaded, settings, registry, log };
    let ended_well = runtime.block_on(daemon::run(start, on_running));
    // What is still waiting for the disk was not waited for: it is of no use any more.
    runtime.shutdown_timeout(LEFT_BEHIND);
    if ended_well { OK } else { FAILED }
}

/// Connections and files are bounded by named limits of their own; the process may have as many as the system allows.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(e) = setrlimit(Resource::Nofile, wanted) {
        warn!("the limit of descriptors stays at {:?}: {e}", limit.current);
    }
}

fn dry_run(loaded: &Loaded, settings: &Settings, registry: &'static Registry) -> u8 {
    match engine::check(&loaded.root, registry, &daemon::process(settings, None)) {
        Ok(warnings) => {
            warnings.iter().for_each(|w| warn!("{}", w.one_line()));
            info!("finished dry run mode");
            OK
        }
        Err(faults) => {
            daemon::report_faults(&faults);
            FAILED
        }
    }
}
