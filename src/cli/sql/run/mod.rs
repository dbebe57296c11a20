//! `suiro-sql`: running a statement.

mod place;
mod print;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use super::{Format, SqlArgs};
use crate::cli::flags::Command;
use crate::cli::{FAILED, Flags, OK};
use crate::query::{Limits, Query};

/// Reads the command line of `suiro sql` and runs its statement.
pub fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = match &flags.command {
        Some(Command::Sql(args)) => query(args, &flags),
        _ => Err("this is what 'suiro sql' runs: ask that".into()),
    };
    ExitCode::from(match done {
        Ok(()) => OK,
        Err(why) => {
            eprintln!("suiro sql: {why}");
            FAILED
        }
    })
}

fn query(args: &SqlArgs, flags: &Flags) -> Result<(), String> {
    let address = place::address(args, flags)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let limits = Limits { memory: bytes(&args.memory)?, threads };
    if args.format == Format::Parquet && args.output.is_none() && io::stdout().is_terminal() {
        return Err(
            "a Parquet file is nothing for a terminal: name a file with -o, or send the output somewhere".into()
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(threads).build();
    runtime.map_err(|e| e.to_string())?.block_on(async {
        let query = Query::open(&address, &limits).await?;
        let rows = query.run(&args.statement).await?;
        match &args.output {
            None => print::rows(&query, rows, args.format, io::BufWriter::new(io::stdout())).await,
            Some(path) => {
                let shown = |e: io::Error| format!("{}: {e}", path.display());
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
                let file = tempfile::Builder::new().prefix(".suiro-sql").tempfile_in(parent).map_err(shown)?;
                let out = io::BufWriter::new(file.reopen().map_err(shown)?);
                print::rows(&query, rows, args.format, out).await?;
                give(file, path).map_err(shown)
            }
        }
    })
}

/// Puts a file that is whole under its name, with the permissions that a new file has.
fn give(file: tempfile::NamedTempFile, path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    let mode = 0o666 & !mask.as_raw_mode();
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    let kept: File = file.persist(path).map_err(|e| e.error)?;
    drop(kept);
    Ok(())
}

/// A size as the configuration writes it.
fn bytes(text: &str) -> Result<usize, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, shift) = match lower.strip_suffix(['k', 'm', 'g']) {
        Some(digits) if lower.ends_with('k') => (digits, 10),
        Some(digits) if lower.ends_with('m') => (digits, 20),
        Some(digits) => (digits, 30),
        None => (&lower[..], 0),
    };
    let size = digits.parse::<usize>().ok().and_then(|size| size.checked_mul(1 << shift)).filter(|size| *size > 0);
    size.ok_or_else(|| format!("--memory {text:?} is no size: write bytes, or 64k, 512m, 2g"))
}

/// Says that a reader has gone away, which ends the work but is no fault.
fn is_gone(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::BrokenPipe
}

/// Writes what is left.
fn flushed(mut out: impl Write) -> Result<(), String> {
    match out.flush() {
        Err(e) if !is_gone(&e) => Err(e.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_in_a_configuration() {
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("2G"), Ok(2 << 30));
        assert_eq!(bytes("100"), Ok(100));
        for bad in ["", "0", "m", "-1", "1x", "99999999999g"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
