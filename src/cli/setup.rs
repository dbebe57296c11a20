//! `-s`, `--setup`: a first configuration in a directory.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{FAILED, OK};

/// What is written.
const SAMPLE: &str = include_str!("../../conf/setup.conf");
/// Its name in the directory.
const NAME: &str = "fluent.conf";

/// Writes the configuration unless there is one; gives the exit status.
pub fn run(directory: &Path) -> u8 {
    match write(directory) {
        Ok(said) => {
            println!("{said}");
            OK
        }
        Err(e) => {
            eprintln!("suiro: can't set up {}: {e}", directory.display());
            FAILED
        }
    }
}

fn write(directory: &Path) -> std::io::Result<String> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(NAME);
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => {
            file.write_all(SAMPLE.as_bytes())?;
            Ok(format!("Installed {}.", path.display()))
        }
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(format!("{} already exists.", path.display())),
        Err(e) => Err(e),
    }
}
