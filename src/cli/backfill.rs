//! `suiro backfill`: objects of a range of time once more through a configuration.
//!
//! The configuration's filters, labels and outputs run as they are; in place of its sources there is one that reads the objects
//! and ends. An object's events come under the same ids each time (place, name, etag, position), so buffers that have them
//! from an earlier run pass over them.

use std::time::Duration;

use clap::Args;

use super::{FAILED, Flags, OK, run};
use crate::config::{self, Section, Settings, Span};
use crate::daemon;
use crate::engine::{Engine, EngineError};
use crate::plugin::Registry;

/// Pause between two looks at how much is undelivered.
const PAUSE: Duration = Duration::from_millis(100);
/// The source's `@id`.
const ID: &str = "backfill";

/// What to read.
#[derive(Clone, Debug, Args)]
pub struct BackfillArgs {
    /// Only objects that were written at this time or later (2026-05-06T07:00:00Z).
    #[arg(long, value_name = "TIME")]
    pub from: String,
    /// Only objects that were written before.
    #[arg(long, value_name = "TIME")]
    pub to: String,
    /// Where they are: s3://bucket/prefix or file:///directory. By default the `object` or `s3` source of the configuration
    /// says that, and how they are read.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Tag of the events, where the configuration has no such source.
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// End after this many seconds without a delivery; what is left stays in file buffers.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub patience: u64,
}

/// Runs; gives the exit status.
pub fn run(args: &BackfillArgs, flags: &Flags, registry: &'static Registry) -> u8 {
    let loaded = match run::load(&flags.config, flags) {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprintln!("{}", faults.render());
            return FAILED;
        }
    };
    let settings = config::load_settings(loaded.root.child("system"), &flags.settings()).map_err(|e| e.to_string());
    let prepared = settings.and_then(|settings| Ok((root(args, &loaded.root)?, settings)));
    let done = prepared.and_then(|(root, settings)| start(args, &root, &settings, registry));
    match done {
        Ok(true) => OK,
        Ok(false) => FAILED,
        Err(why) => {
            eprintln!("suiro: {why}");
            FAILED
        }
    }
}

/// The configuration with one source.
///
/// Errors: nothing says what to read.
fn root(args: &BackfillArgs, root: &Section) -> Result<Section, String> {
    let is_object = |source: &&Section| matches!(source.plugin_type(), Some("object" | "s3"));
    let written = root.children_named("source").find(is_object);
    let mut source = match (written, &args.url) {
        (Some(written), _) => written.clone(),
        (None, Some(_)) => Section::new("source", Span::nowhere()),
        (None, None) => {
            return Err(
                "nothing says what to read: give --url, or a <source> of type object to the configuration".into()
            );
        }
    };
    let parameters = [
        ("@type", Some("object")),
        ("@id", Some(ID)),
        ("@log_level", Some("error")),
        ("url", args.url.as_deref()),
        ("tag", args.tag.as_deref()),
        ("from", Some(args.from.as_str())),
        ("to", Some(args.to.as_str())),
        ("once", Some("true")),
        ("progress", Some("true")),
    ];
    // Every object of the range is read; what buffers have of it, they know.
    source.params.retain(|p| p.name != "position_file" && (args.url.is_none() || p.name != "s3_bucket"));
    // What a queue announces is one thing, what there is another.
    source.children.retain(|section| section.name != "sqs");
    for (name, text) in parameters {
        if let Some(text) = text {
            source.set_text(name, text);
        }
    }
    let mut root = root.clone();
    root.children.retain(|s| s.name != "source");
    root.children.iter_mut().filter(|s| s.name == "worker").for_each(|w| w.children.retain(|s| s.name != "source"));
    root.children.push(source);
    Ok(root)
}

fn start(
    args: &BackfillArgs,
    root: &Section,
    settings: &Settings,
    registry: &'static Registry,
) -> Result<bool, String> {
    let log = daemon::init_logging(settings)?;
    let process = daemon::process(settings, Some(&log));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let engine = match Engine::start(root, registry, process).await {
            Ok(engine) => engine,
            Err(EngineError::Config(faults)) => return Err(faults.render()),
            Err(EngineError::Open(why)) => return Err(why),
        };
        let work = async {
            let read = engine.inputs_ended().await;
            engine.flush_all();
            (read, drained(&engine, Duration::from_secs(args.patience)).await)
        };
        let interrupted = tokio::signal::ctrl_c();
        let outcome = tokio::select! {
            outcome = work => Some(outcome),
            _ = interrupted => None,
        };
        let left = engine.undelivered();
        let taken = engine.taken_in();
        engine.stop(settings.shutdown_timeout()).await;
        println!("{taken} events were read");
        match outcome {
            Some((read, true)) => return Ok(read),
            Some((_, false)) => eprintln!("suiro: no delivery for {} s; {left} chunks are undelivered", args.patience),
            None => eprintln!("suiro: interrupted; {left} chunks are undelivered"),
        }
        eprintln!("suiro: what file buffers hold is sent when this is run again, and nothing is doubled");
        Ok(false)
    })
}

/// Waits until buffers are empty; gives `false` where nothing was delivered for so long.
async fn drained(engine: &Engine, patience: Duration) -> bool {
    let (mut left, mut since) = (usize::MAX, tokio::time::Instant::now());
    loop {
        let now = engine.undelivered();
        if now == 0 {
            return true;
        }
        if now < left {
            (left, since) = (now, tokio::time::Instant::now());
        }
        if since.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
