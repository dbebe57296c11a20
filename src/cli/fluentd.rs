//! Flags of Fluentd that mean little or nothing here: taken with a word about why, or refused with what to do instead.

use std::path::PathBuf;

use clap::{ArgAction, Args};

/// Fluentd's flags for Ruby, its supervisor and Windows.
#[derive(Debug, Default, Args)]
pub struct FluentdFlags {
    /// Fluentd's flag for directories of Ruby plugins.
    #[arg(short = 'p', long, hide = true, value_name = "DIR")]
    plugin: Vec<PathBuf>,
    /// Fluentd's flag for directories of Ruby libraries.
    #[arg(short = 'I', hide = true, value_name = "DIR")]
    include: Vec<PathBuf>,
    /// Fluentd's flag for Ruby libraries.
    #[arg(short = 'r', hide = true, value_name = "NAME")]
    require: Vec<String>,
    /// Fluentd's flag for a Gemfile.
    #[arg(short = 'g', long, hide = true, value_name = "GEMFILE")]
    gemfile: Option<PathBuf>,
    /// Fluentd's flag for where gems are installed.
    #[arg(short = 'G', long, hide = true, value_name = "PATH")]
    gem_path: Option<PathBuf>,
    /// There is no supervisor here to leave out.
    #[arg(long, hide = true)]
    no_supervisor: bool,
    /// Fluentd's own flag for its workers.
    #[arg(long, hide = true)]
    under_supervisor: bool,
    /// Shows a plugin's parameters in Fluentd.
    #[arg(long, hide = true, value_name = "KIND:NAME")]
    show_plugin_config: Option<String>,
    /// Fluentd's language since version 1, which is taken anyway.
    #[arg(long, hide = true)]
    use_v1_config: bool,
    /// No stack traces are logged here.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    suppress_repeated_stacktrace: Option<String>,
    /// What inputs take is counted anyway.
    #[arg(long, hide = true)]
    enable_input_metrics: bool,
    /// What inputs take is counted anyway.
    #[arg(long, hide = true)]
    disable_input_metrics: bool,
    /// Sizes are counted anyway.
    #[arg(long, hide = true)]
    enable_size_metrics: bool,
    /// There are no workers to share sockets with.
    #[arg(long, hide = true)]
    disable_shared_socket: bool,
    /// Flags of the Windows service.
    #[command(flatten)]
    windows: WindowsFlags,
}

/// Flags that Fluentd has on Windows only.
#[derive(Debug, Default, Args)]
struct WindowsFlags {
    #[arg(short = 'x', long, hide = true)]
    signame: Option<String>,
    #[arg(long, hide = true)]
    reg_winsvc: Option<String>,
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    reg_winsvc_auto_start: bool,
    #[arg(long, hide = true, action = ArgAction::SetTrue)]
    reg_winsvc_delay_start: bool,
    #[arg(long, hide = true)]
    reg_winsvc_fluentdopt: Option<String>,
    #[arg(long, hide = true)]
    winsvc_name: Option<String>,
    #[arg(long, hide = true)]
    winsvc_display_name: Option<String>,
    #[arg(long, hide = true)]
    winsvc_desc: Option<String>,
}

impl WindowsFlags {
    fn any(&self) -> bool {
        let texts = [
            &self.signame,
            &self.reg_winsvc,
            &self.reg_winsvc_fluentdopt,
            &self.winsvc_name,
            &self.winsvc_display_name,
            &self.winsvc_desc,
        ];
        texts.into_iter().any(Option::is_some) || self.reg_winsvc_auto_start || self.reg_winsvc_delay_start
    }
}

impl FluentdFlags {
    /// A flag that can't be obeyed and whose absence would change what the run means.
    pub fn refused(&self) -> Option<String> {
        if !self.require.is_empty() {
            return Some("-r loads Ruby code, which suiro does not run; 'suiro plugins' lists what is built in".into());
        }
        if self.under_supervisor {
            return Some("--under-supervisor is for Fluentd's own workers; there are none here, leave it out".into());
        }
        if let Some(plugin) = &self.show_plugin_config {
            let what = "shows parameters of Ruby plugins; 'suiro plugins' lists the plugins there are";
            return Some(format!("--show-plugin-config {plugin} {what}"));
        }
        self.windows.any().then(|| "-x and the flags of the service are for Windows, where suiro does not run".into())
    }

    /// Flags that are taken and change nothing, each with the reason.
    pub fn warnings(&self) -> Vec<String> {
        let mut out = Vec::new();
        let folders = self.plugin.iter().map(|p| ("-p", p)).chain(self.include.iter().map(|p| ("-I", p)));
        for (flag, folder) in folders {
            let why = "suiro runs no Ruby, so nothing in it is loaded; 'suiro plugins' lists what is built in";
            out.push(format!("{flag} {}: {why}", folder.display()));
        }
        let gems = "suiro runs no Ruby and needs no gems";
        let sizes = [
            ("-g", self.gemfile.is_some(), gems),
            ("-G", self.gem_path.is_some(), gems),
            (
                "--suppress-repeated-stacktrace",
                self.suppress_repeated_stacktrace.is_some(),
                "no stack traces are logged",
            ),
            ("--disable-input-metrics", self.disable_input_metrics, "what inputs take is counted in any case"),
            (
                "--disable-shared-socket",
                self.disable_shared_socket,
                "one process listens, and shares its sockets with nobody",
            ),
        ];
        let given = sizes.into_iter().filter(|(_, given, _)| *given);
        out.extend(given.map(|(flag, _, why)| format!("{flag} has no effect here: {why}")));
        out
    }
}
