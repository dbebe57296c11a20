//! What clients can do to files: names, links, permissions (checklist 21 to 24, 26, 27).

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use super::harness::{Suiro, connect, exchange, files, port, post_json, source, wait_for};
use super::wire::{entry, packed, record, send_event};

/// Tags and values that try to leave a directory.
fn escapes() -> Vec<String> {
    let fixed = [
        "../../escaped",
        "..",
        ".",
        "/escaped",
        "//escaped",
        "a/../../../escaped",
        "..%2f..%2fescaped",
        "%2e%2e/escaped",
        "a\0b",
        "a\nb",
        "..\\..\\escaped",
        "",
        " ",
        "~/escaped",
        "${tag}",
        "%Y/../../escaped",
        "....//escaped",
        "./../../escaped",
    ];
    let mut all: Vec<String> = fixed.map(str::to_owned).to_vec();
    all.push("n".repeat(900));
    all.push("../".repeat(300) + "escaped");
    all.push("d/".repeat(400));
    all
}

/// Outputs that put tags and fields into directories and names of files.
fn named_outputs(dir: &Path) -> String {
    let dir = dir.display();
    let format = "<format>\n@type json\n</format>";
    format!(
        "<match **>\n@type copy\n\
         <store>\n@type file\npath {dir}/root/in/${{tag}}/x\nappend true\n{format}\n<buffer tag>\n@type memory\nflush_mode immediate\n</buffer>\n</store>\n\
         <store>\n@type file\npath {dir}/root/name/${{tag}}\n{format}\n<buffer tag>\n@type memory\nflush_mode immediate\n</buffer>\n</store>\n\
         <store>\n@type file\npath {dir}/root/field/${{key}}/y\n{format}\n<buffer key>\n@type memory\nflush_mode immediate\n</buffer>\n</store>\n\
         <store>\n@type file\npath {dir}/root/part/${{tag[1]}}/z\n{format}\n<buffer tag>\n@type memory\nflush_mode immediate\n</buffer>\n</store>\n\
         </match>\n"
    )
}

#[test]
fn no_tag_path_or_field_creates_a_file_outside_of_the_root() {
    let (forward, http) = (port(), port());
    let suiro = Suiro::start(|dir| {
        let dir = dir.join("deep/er");
        fs::create_dir_all(&dir).unwrap();
        format!("<system>\nroot_dir {}/state\n</system>\n", dir.display())
            + &source("forward", forward, "")
            + &source("http", http, "")
            + &named_outputs(&dir)
    });
    let root = suiro.dir.path().join("deep/er");
    for escape in escapes() {
        let event = entry(&record(&[("key", &escape), ("message", "m")]));
        let tag = format!("a.{escape}.b");
        for tag in [&escape, &tag] {
            let mut stream = connect(forward);
            stream.write_all(&packed(tag.as_bytes(), &event, &[])).unwrap();
        }
        let line: String = escape
            .chars()
            .map(|c| if c.is_ascii_graphic() { c.to_string() } else { format!("%{:02x}", c as u32 as u8) })
            .collect();
        let line = line.replace("${", "%24%7b");
        let request = format!(
            "POST /{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{\"key\":1}}"
        );
        exchange(http, request.as_bytes(), Duration::from_secs(5));
    }
    send_event(forward, "good.tag", "last", "id-last");
    let expected = root.join("root/in/good.tag/x.log");
    wait_for("the good file", || expected.exists().then_some(()));
    let allowed = |p: &Path| p.starts_with(root.join("root")) || p.starts_with(root.join("state")) || suiro.owns(p);
    let outside: Vec<_> = files(suiro.dir.path()).into_iter().filter(|p| !allowed(p)).collect();
    assert!(outside.is_empty(), "{outside:?}");
    for part in ["/tmp/escaped", "/escaped", "/tmp/escaped.log", "/escaped.log"] {
        assert!(!Path::new(part).exists(), "{part}");
    }
    // What no file can be named after is kept with its reason.
    wait_for("set aside", || (files(&root.join("state")).len() > 2).then_some(()));
    assert!(suiro.log().contains("can't stand in"), "{}", suiro.log());
    suiro.end();
}

#[test]
fn a_tag_from_a_field_is_compared_whole() {
    let port = port();
    let suiro = Suiro::start(|dir| {
        let path = dir.display();
        source("tcp", port, "tag default\n<parse>\n@type json\n</parse>\n<extract>\ntag_key tag\n</extract>")
            + &format!(
                "<match admin>\n@type file\npath {path}/admin\n<buffer []>\nflush_mode immediate\n@type memory\n</buffer>\n</match>\n"
            )
            + &super::harness::to_file(dir)
    });
    let mut stream = connect(port);
    for line in [
        r#"{"t":"admin"}"#,
        r#"{"tagg":"admin"}"#,
        r#"{"Tag":"admin"}"#,
        r#"{"tag":"a"}"#,
        r#"{"tag":"administrator"}"#,
        r#"{"tag":"admin\n"}"#,
        r#"{"tag":["admin"]}"#,
        r#"{"m":"last"}"#,
    ] {
        stream.write_all(line.as_bytes()).unwrap();
        stream.write_all(b"\n").unwrap();
    }
    suiro.wait_delivered("last");
    assert!(
        !fs::read_dir(suiro.dir.path()).unwrap().any(|e| e
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with("admin."))
    );
    suiro.end();
}

fn file_buffer(dir: &Path, port: u16) -> String {
    let path = dir.display();
    source("forward", port, "")
        + &format!(
            "<match **>\n@type file\npath {path}/out/events\nappend true\n<format>\n@type json\n</format>\n\
             <buffer tag>\n@type file\npath {path}/buffer\nflush_mode immediate\n</buffer>\n</match>\n"
        )
}

#[test]
fn links_and_pipes_in_the_buffers_directory_are_left_alone() {
    let port = port();
    let suiro = Suiro::start(|dir| {
        let buffer = dir.join("buffer");
        fs::create_dir_all(buffer.join("buffer.b5f8a7b9c0d1e2f3a4b5c6d7e8f90a1b.chunk")).unwrap();
        fs::write(dir.join("precious"), "precious").unwrap();
        let chunk = |kind: char, n: u32| format!("buffer.{kind}{n:032x}.chunk");
        for (n, kind) in [(1, 'b'), (2, 'q')] {
            symlink(dir.join("precious"), buffer.join(chunk(kind, n))).unwrap();
            symlink("/nowhere", buffer.join(chunk(kind, n + 2))).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                buffer.join(chunk(kind, n + 4)),
                rustix::fs::FileType::Fifo,
                0o600.into(),
                0,
            )
            .unwrap();
        }
        symlink(dir.join("precious"), buffer.join("origins.log")).unwrap();
        file_buffer(dir, port)
    });
    send_event(port, "t", "last", "id-last");
    suiro.wait_delivered("last");
    let buffer = suiro.dir.path().join("buffer");
    assert!(suiro.log().contains("is no file: ignored"), "{}", suiro.log());
    assert_eq!(fs::read_to_string(suiro.dir.path().join("precious")).unwrap(), "precious");
    let left = fs::read_dir(&buffer).unwrap().filter(|e| !e.as_ref().unwrap().file_type().unwrap().is_file()).count();
    assert!(left >= 7, "{left} of the links, pipes and directories are left");
    suiro.end();
}

#[test]
fn a_lock_or_journal_that_is_a_link_harms_nothing() {
    let port = port();
    let suiro = Suiro::start(|dir| {
        fs::create_dir(dir.join("buffer")).unwrap();
        fs::write(dir.join("precious"), "precious").unwrap();
        symlink(dir.join("precious"), dir.join("buffer/buffer.reserve")).unwrap();
        file_buffer(dir, port)
    });
    send_event(port, "t", "last", "id-last");
    suiro.wait_delivered("last");
    assert_eq!(fs::read_to_string(suiro.dir.path().join("precious")).unwrap(), "precious");
    suiro.end();
}

#[test]
fn buffers_positions_and_dead_letters_are_for_their_owner_alone() {
    let (forward, http) = (port(), port());
    let suiro = Suiro::start_by("umask 0", |dir| {
        let path = dir.display();
        fs::write(dir.join("in.log"), "line\n").unwrap();
        format!("<system>\nroot_dir {path}/state\n</system>\n")
            + &format!(
                "<source>\n@type tail\n@id t\ntag t\npath {path}/in.log\npos_file {path}/positions/pos\nread_from_head true\n<parse>\n@type none\n</parse>\n</source>\n"
            )
            + &source("forward", forward, "")
            + &source("http", http, "")
            + &format!(
                "<match bad.**>\n@type file\n@id bad\npath {path}/root/${{tag}}\n<buffer tag>\nflush_mode immediate\n</buffer>\n</match>\n"
            )
            + &format!(
                "<match **>\n@type file\npath {path}/out/events\nappend true\n<format>\n@type json\n</format>\n<buffer tag>\n@type file\npath {path}/buffer\nflush_interval 1h\n</buffer>\n</match>\n"
            )
    });
    send_event(forward, "bad./../x", "set aside", "id-bad");
    assert_eq!(post_json(http, "/kept", r#"{"a":1}"#), 200);
    let places = ["state", "positions", "buffer"].map(|n| suiro.dir.path().join(n));
    wait_for("all files", || places.iter().all(|p| !files(p).is_empty()).then_some(()));
    wait_for("the dead letter", || suiro.log().contains("unrecoverable").then_some(()));
    std::thread::sleep(Duration::from_millis(1500));
    let mut all = places.iter().flat_map(|p| files(p)).collect::<Vec<_>>();
    all.extend(files(&suiro.dir.path().join("root")).into_iter().filter(|p| p.to_string_lossy().contains("buffer")));
    assert!(all.len() >= 4, "{all:?}");
    for file in &all {
        let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}: {mode:o}", file.display());
        let folder = fs::metadata(file.parent().unwrap()).unwrap();
        assert_eq!(folder.mode() & 0o777, 0o700, "{}: {:o}", file.parent().unwrap().display(), folder.mode() & 0o777);
    }
    suiro.end();
}
