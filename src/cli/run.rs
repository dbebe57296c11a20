//! Without a subcommand: run the daemon in the foreground, or only check with `--dry-run`.

use std::path::Path;

use tracing::{info, warn};

use super::{FAILED, Flags, OK};
use crate::config::{self, Diagnostic, Diagnostics, LoadOptions, Loaded, Settings, Span, Surroundings};
use crate::daemon::{self, LogOutput, Start};
use crate::engine;
use crate::plugin::Registry;

/// Runs; gives the exit status.
pub fn run(flags: &Flags, registry: &'static Registry) -> u8 {
    if let Some(refused) = refused(flags) {
        eprintln!("suiro: {refused}");
        return FAILED;
    }
    if let Err(e) = set_umask(flags) {
        eprintln!("suiro: {e}");
        return FAILED;
    }
    let loaded = load(&flags.config, flags);
    let system = loaded.as_ref().ok().and_then(|l| l.root.child("system"));
    let settings = match config::load_settings(system, &flags.settings()) {
        Ok(settings) => settings,
        Err(e) => {
            eprintln!("suiro: config error: {e}");
            return FAILED;
        }
    };
    let log = match daemon::init_logging(&settings) {
        Ok(log) => log,
        Err(e) => {
            eprintln!("suiro: config error: {e}");
            return FAILED;
        }
    };
    match loaded {
        Ok(loaded) => start(flags, loaded, settings, log, registry),
        Err(faults) => {
            daemon::report_faults(&faults);
            FAILED
        }
    }
}

/// Flags of Fluentd that can have no meaning here.
fn refused(flags: &Flags) -> Option<String> {
    let ruby = !flags.plugin.is_empty() || !flags.require.is_empty();
    ruby.then(|| "-p and -r load Ruby code, which suiro does not run; 'suiro plugins' lists what is built in".into())
}

fn set_umask(flags: &Flags) -> Result<(), String> {
    let Some(text) = &flags.umask else { return Ok(()) };
    let mask = u32::from_str_radix(text, 8).map_err(|_| format!("--umask {text:?} is not octal"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
    Ok(())
}

/// Reads the configuration with what the flags add to it.
pub fn load(path: &Path, flags: &Flags) -> Result<Loaded, Diagnostics> {
    if !path.exists() {
        let missing = Diagnostic::error(format!("there is no file '{}'", path.display()), &Span::nowhere());
        return Err(missing.with_help("name the configuration with -c PATH or in FLUENT_CONF").into());
    }
    config::load_all(path, &options(flags)?)
}

fn options(flags: &Flags) -> Result<LoadOptions, Diagnostics> {
    let language = flags.config_file_type.parse();
    let mut options = LoadOptions::new(Surroundings::of_process("0"));
    options.language = language.map_err(|e: String| Diagnostics::from(Diagnostic::error(e, &Span::nowhere())))?;
    options.encoding = flags.conf_encoding.clone();
    options.inline = flags.inline_config.clone();
    Ok(options)
}

fn start(flags: &Flags, loaded: Loaded, settings: Settings, log: LogOutput, registry: &'static Registry) -> u8 {
    daemon::report_faults(&loaded.warnings);
    raise_descriptor_limit();
    if flags.dry_run {
        return dry_run(&loaded, &settings, registry);
    }
    let Ok(options) = options(flags) else { return FAILED };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.threads > 0 {
        runtime.worker_threads(settings.threads);
    }
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
    let ended_well = runtime.block_on(daemon::run(Start { path, options, loaded, settings, registry, log }));
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
    match engine::check(&loaded.root, registry, &daemon::process(settings)) {
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
