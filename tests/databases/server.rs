//! A real PostgreSQL that a test starts, stops, kills and asks.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{free_port, skip};
use crate::daemon::wait_at_most;

/// Who runs it where the tests run as root, which it refuses to run as.
const USER: &str = "postgres";

/// A server with a database of its own: user `postgres` without a password, `app` with the password `secret`; TLS with a
/// certificate for 127.0.0.1 that is in `ca.pem`.
pub struct Postgres {
    pub port: u16,
    programs: PathBuf,
    dir: TempDir,
}

/// The newest version's programs below Debian's directory, or those in `PATH`.
fn programs() -> Option<PathBuf> {
    let complete = |dir: &PathBuf| ["initdb", "pg_ctl", "psql"].iter().all(|name| dir.join(name).is_file());
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|e| e.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.filter(complete).max().or_else(|| std::env::split_paths(&path).find(complete))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| String::from_utf8_lossy(&id.stdout).trim() == "0")
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(said) }
}

impl Postgres {
    /// A new server; `None` where there is none, which is said.
    pub fn start() -> Option<Postgres> {
        let Some(programs) = programs() else {
            skip("PostgreSQL", "no initdb: apt-get install postgresql");
            return None;
        };
        let server = Postgres { port: free_port(), programs, dir: TempDir::new().unwrap() };
        match server.make().and_then(|()| server.up()) {
            Ok(()) => Some(server),
            Err(why) => {
                skip("PostgreSQL", &format!("does not start: {why}"));
                None
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    /// The authority of its certificate.
    pub fn authority(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]).arg(path);
        command.current_dir(self.dir.path());
        command
    }

    fn make(&self) -> Result<(), String> {
        let dir = self.dir.path();
        let owner = |path: &Path| match is_root() {
            true => run(Command::new("chown").arg("-R").arg(USER).arg(path)).map(drop),
            false => Ok(()),
        };
        owner(dir)?;
        run(self.program("initdb").args(["-A", "trust", "-N", "-U", "postgres", "-D"]).arg(self.data()))?;
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        fs::write(self.authority(), certificate.pem()).unwrap();
        fs::write(self.data().join("server.crt"), certificate.pem()).unwrap();
        fs::write(self.data().join("server.key"), key.serialize_pem()).unwrap();
        run(Command::new("chmod").arg("600").arg(self.data().join("server.key")))?;
        let hba = self.data().join("pg_hba.conf");
        let rules = fs::read_to_string(&hba).unwrap();
        fs::write(&hba, format!("host all app 127.0.0.1/32 scram-sha-256\n{rules}")).unwrap();
        owner(dir)
    }

    /// Starts it, again after a stop.
    pub fn up(&self) -> Result<(), String> {
        let socket = self.dir.path().display();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -p {} -k {socket} -c shared_buffers=16MB -c ssl=on -c max_connections=30",
            self.port
        );
        let log = self.dir.path().join("log");
        run(self
            .program("pg_ctl")
            .args(["-w", "-s", "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(&log)
            .args(["-o", &options, "start"]))
        .map_err(|why| format!("{why}{}", fs::read_to_string(&log).unwrap_or_default()))?;
        let listens = || TcpStream::connect(("127.0.0.1", self.port)).ok();
        wait_at_most(Duration::from_secs(30), listens).map(drop).ok_or_else(|| "it does not listen".to_owned())
    }

    /// Stops it as a crash would: nothing is finished, nobody is told.
    pub fn crash(&self) {
        run(self.program("pg_ctl").args(["-w", "-s", "-m", "immediate", "-D"]).arg(self.data()).arg("stop")).unwrap();
    }

    /// Lines of a query's answer.
    pub fn ask(&self, sql: &str) -> Vec<String> {
        let said = self.try_ask(sql);
        said.unwrap_or_else(|why| panic!("{sql}: {why}")).lines().map(str::to_owned).collect()
    }

    /// As [`ask`](Self::ask), where it may fail.
    pub fn try_ask(&self, sql: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-tAc", sql]);
        run(&mut psql)
    }

    /// Numbers of a query's answer; none where it fails.
    pub fn numbers(&self, sql: &str) -> Vec<u64> {
        let said = self.try_ask(sql).unwrap_or_default();
        said.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It fails where it was stopped already.
        let _ = run(self.program("pg_ctl").args(["-w", "-s", "-m", "immediate", "-D"]).arg(self.data()).arg("stop"));
    }
}
