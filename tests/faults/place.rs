//! A test's directory, and the pieces of configurations that tests put together.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::logs::Log;
use super::{Daemon, Tally};

/// Flushes at once and retries soon.
pub const QUICK: &str =
    "flush_interval 0.1\nretry_type periodic\nretry_wait 0.2\nretry_max_interval 1\nretry_forever true";

/// A directory that goes with its test; `SUIRO_TEST_KEEP` keeps it.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        let mut dir = TempDir::new().unwrap();
        if std::env::var_os("SUIRO_TEST_KEEP").is_some() {
            dir.disable_cleanup(true);
            eprintln!("kept: {}", dir.path().display());
        }
        Place(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Starts a configuration whose `**` means the test's events alone: suiro's own log goes nowhere.
    pub fn start(&self, config: &str) -> Daemon {
        let own_log = "<label @FLUENT_LOG>\n<match **>\n@type null\n</match>\n</label>\n";
        Daemon::start(&format!("{config}{own_log}"), self.path())
    }

    /// A log file in the folder `logs`.
    pub fn log(&self, name: &str) -> Log {
        let dir = self.join("logs");
        std::fs::create_dir_all(&dir).unwrap();
        Log::open(&dir, name)
    }

    /// How often the logs of all processes hold a text.
    pub fn logged(&self, text: &str) -> usize {
        let files = std::fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).matches(text).count()).sum()
    }

    /// Ids in the files of the folder `out`.
    pub fn landed(&self) -> Tally {
        Tally::of_files(&self.join("out"))
    }

    /// Waits until the folder `out` holds all of these.
    pub fn wait_for_all(&self, ids: &[String]) {
        let whole = super::wait_at_most(super::PATIENCE, || self.landed().has_all(ids).then_some(()));
        assert!(whole.is_some(), "of {} not written: {:?}", ids.len(), self.landed().missing(ids));
    }

    /// Where chunks are set aside: the folder `root`.
    pub fn system(&self) -> String {
        format!("<system>\nroot_dir {}\n</system>\n", self.join("root").display())
    }

    /// A file buffer in the folder `name`.
    pub fn buffer(&self, name: &str, more: &str) -> String {
        format!("<buffer>\n@type file\npath {}\n{more}\n</buffer>\n", self.join(name).display())
    }

    /// An `out_file` that appends to one file in the folder `out`, with its parameters and its buffer.
    pub fn file(&self, name: &str, more: &str) -> String {
        let path = self.join("out").join(name);
        // By tag: without a key `out_file` waits for the end of the day.
        let buffer = self.buffer(&format!("buffer-{name}"), more).replace("<buffer>", "<buffer tag>");
        format!(
            "@type file\n@id {name}\npath {}\nappend true\n<format>\n@type json\n</format>\n{buffer}",
            path.display()
        )
    }
}

/// An HTTP source.
pub fn http_source(port: u16) -> String {
    format!("<source>\n@type http\n@id in_http\nbind 127.0.0.1\nport {port}\n</source>\n")
}

/// A forward source.
pub fn forward_source(port: u16) -> String {
    format!("<source>\n@type forward\n@id in_forward\nbind 127.0.0.1\nport {port}\n</source>\n")
}

/// A tail source of files below `dir`, read from their heads.
pub fn tail_source(dir: &Path, path: &str, more: &str) -> String {
    let dir = dir.display();
    format!(
        "<source>\n@type tail\n@id in_tail\ntag app.tail\npath {dir}/{path}\npos_file {dir}/pos\nread_from_head true\n{more}\n\
         <parse>\n@type json\n</parse>\n</source>\n"
    )
}

/// A match of everything.
pub fn matching(output: &str) -> String {
    format!("<match **>\n{output}</match>\n")
}

/// An `out_forward` that waits for acknowledgements.
pub fn forward_output(port: u16, more: &str, buffer: &str) -> String {
    format!(
        "@type forward\n@id out_forward\nrequire_ack_response true\nack_response_timeout 2\nheartbeat_type none\n{more}\n\
         <server>\nhost 127.0.0.1\nport {port}\n</server>\n{buffer}"
    )
}

/// An `out_http` that sends JSON lines.
pub fn http_output(port: u16, more: &str, buffer: &str) -> String {
    format!(
        "@type http\n@id out_http\nendpoint http://127.0.0.1:{port}/\nopen_timeout 2\nread_timeout 2\n{more}\n{buffer}"
    )
}
