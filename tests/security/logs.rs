//! suiro's own log: forged lines, secrets, floods (checklist 41, 42, 44).

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use super::harness::{
    Suiro, answer, connect, exchange, files, get, port, post, post_json, size, source, to_file, wait_for,
};
use super::wire::{entry, packed, record, send_event};

const EVIL: &str = "x\n2024-01-01 00:00:00 +0000 [error]: forged\r\u{1b}[2J\u{9b}31m\u{7f}\u{8}";

#[test]
fn no_client_forges_a_line_or_reaches_the_terminal() {
    for format in ["text", "json"] {
        let (forward, http, syslog, tcp) = (port(), port(), port(), port());
        let suiro = Suiro::start(|dir| {
            format!("<system>\nlog_level trace\n<log>\nformat {format}\n</log>\n</system>\n")
                + &source("forward", forward, "")
                + &source("http", http, "")
                + &source("syslog", syslog, "tag s\nprotocol_type tcp")
                + &source("tcp", tcp, "tag t\n<parse>\n@type json\n</parse>")
                + &to_file(dir)
        });
        let event = entry(&record(&[("m", EVIL)]));
        exchange(forward, &packed(EVIL.as_bytes(), &event, &[]), Duration::from_millis(300));
        exchange(forward, &packed(b"t", &entry(&[0xc0]), &[("chunk", EVIL)]), Duration::from_millis(300));
        exchange(forward, format!("[\"{EVIL}\"").as_bytes(), Duration::from_millis(300));
        let encoded = EVIL.replace('\n', "%0a").replace('\u{1b}', "%1b");
        post(http, "/t", "Content-Type: application/json\r\n", EVIL.as_bytes());
        post(
            http,
            &format!("/{}", encoded.replace(|c: char| c.is_control() || c == ' ', "_")),
            "Content-Type: application/json\r\n",
            b"{}",
        );
        post(http, "/t", "Origin: http://a\u{9b}b\r\nContent-Type: text/plain\r\n", b"x");
        exchange(http, EVIL.as_bytes(), Duration::from_millis(300));
        connect(syslog).write_all(format!("{EVIL}\n").as_bytes()).unwrap();
        connect(tcp).write_all(format!("{EVIL}\n").as_bytes()).unwrap();
        send_event(forward, "t", "last", "id-last");
        suiro.wait_delivered("last");
        let log = suiro.log();
        assert!(
            !log.lines().any(|l| l.starts_with("2024-01-01") || l.contains("[error]: forged") && l.starts_with('x')),
            "{log}"
        );
        assert!(log.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{log:?}");
        suiro.end();
    }
}

/// Every place of a configuration that a secret can stand in.
fn full_of_secrets(path: &str, forward: u16, http: u16, rpc: u16, monitor: u16) -> String {
    format!(
        "<system>\nlog_level trace\nrpc_endpoint 127.0.0.1:{rpc}\nenable_get_dump true\n</system>\n\
         <source>\n@type forward\nbind 127.0.0.1\nport {forward}\n<security>\nself_hostname s\nshared_key CANARY-01\nuser_auth true\n\
         <user>\nusername u\npassword CANARY-02\n</user>\n<client>\nnetwork 10.0.0.0/8\nshared_key CANARY-03\n</client>\n</security>\n</source>\n\
         <source>\n@type http\nbind 127.0.0.1\nport {http}\n</source>\n\
         <source>\n@type monitor_agent\nbind 127.0.0.1\nport {monitor}\n</source>\n\
         <match a.**>\n@type http\nendpoint http://u:CANARY-04@127.0.0.1:1/x?token=CANARY-05&a=b\nproxy http://u:CANARY-06@127.0.0.1:1\n\
         headers {{\"Authorization\":\"Bearer CANARY-07\",\"X-Api-Key\":\"CANARY-08\"}}\n\
         headers_from_placeholders {{\"X-Auth-Token\":\"CANARY-09\"}}\n\
         <auth>\nmethod basic\nusername u\npassword CANARY-10\n</auth>\n\
         <buffer tag>\n@type file\npath {path}/buffer\nflush_mode immediate\nretry_wait 0.1\n</buffer>\n</match>\n\
         <match b.**>\n@type forward\n<server>\nhost 127.0.0.1\nport 1\nshared_key CANARY-11\nusername u\npassword CANARY-12\n</server>\n\
         <security>\nself_hostname c\nshared_key CANARY-13\n</security>\n<buffer tag>\n@type file\npath {path}/buffer2\nflush_mode immediate\nretry_wait 0.1\n</buffer>\n</match>\n\
         <match **>\n@type null\naws_sec_key CANARY-14\napi_key \"#{{ENV['SECRET']}}\"\n</match>\n"
    )
}

fn no_canary(what: &str, text: &str) {
    let found: Vec<&str> = text.lines().filter(|l| l.contains("CANARY")).collect();
    assert!(found.is_empty(), "{what}: {found:#?}");
}

#[test]
fn no_output_of_a_run_holds_a_secret() {
    let (forward, http, rpc, monitor) = (port(), port(), port(), port());
    let suiro = Suiro::start_by("export SECRET=CANARY-15", |dir| {
        full_of_secrets(&dir.display().to_string(), forward, http, rpc, monitor)
    });
    for tag in ["a.x", "b.x"] {
        assert_eq!(post_json(http, &format!("/{tag}"), r#"{"a":1}"#), 200);
    }
    exchange(forward, &[0x91, 0xa1, b'x'], Duration::from_millis(300));
    wait_for("failures", || (suiro.log().matches("failed to flush").count() >= 2).then_some(()));
    for path in [
        "/api/plugins.json",
        "/api/plugins.json?debug=1&with_config=yes",
        "/api/plugins",
        "/api/config.json",
        "/api/config",
    ] {
        no_canary(path, &get(monitor, path));
    }
    let dump = get(rpc, "/api/config.getDump");
    assert!(dump.contains("shared_key"), "{dump}");
    no_canary("the dump", &dump);
    suiro.signal("HUP");
    wait_for("the reload", || suiro.log().contains("in force").then_some(()));
    no_canary("the log", &suiro.log());
    let (log, dir) = suiro.end();
    no_canary("the log of the end", &log);
    for file in files(dir.path()).iter().filter(|f| !f.ends_with("suiro.conf")) {
        no_canary(&file.display().to_string(), &String::from_utf8_lossy(&fs::read(file).unwrap()));
    }
    let checked = crate::daemon::suiro()
        .arg("check")
        .arg(dir.path().join("suiro.conf"))
        .env("SECRET", "CANARY-15")
        .output()
        .unwrap();
    no_canary("the check", &crate::daemon::text(&checked));
}

#[test]
fn faults_beside_secrets_do_not_show_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.conf");
    let faulty = [
        "<match **>\n@type http\nendpoint ftp://u:CANARY@h/\n</match>\n",
        "<match **>\n@type http\nendpoint http://h/\nproxy gopher://u:CANARY@h:x\n</match>\n",
        "<match **>\n@type http\nendpoint http://h/\n<auth>\nmethod wrong\npassword CANARY\n</auth>\n</match>\n",
        "<source>\n@type forward\n<security>\nself_hostname s\nshared_key \"#{CANARY\"\n</security>\n</source>\n",
        "<source>\n@type forward\n<security>\nself_hostname s\nshared_key \"CANARY\n</security>\n</source>\n",
        "<source>\n@type forward\nunknown_password CANARY\nshared_key CANARY\n</source>\n",
        "<match **>\n@type http\nendpoint http://h/\nheaders {\"Authorization\":\"CANARY\n</match>\n",
        "<match **>\n@type http\nendpoint http://h/\nheaders {\"(Authorization\":\"Bearer CANARY\"}\n</match>\n",
        "<match **>\n@type forward\n<server>\nhost h\npassword [\"CANARY\"]\nport CANARY_IS_NO_PORT\n</server>\n</match>\n",
    ];
    for (n, text) in faulty.iter().enumerate() {
        fs::write(&path, text).unwrap();
        for (arguments, name) in
            [(vec!["check"], "check"), (vec!["--dry-run", "-c"], "dry run"), (vec!["check", "--strict"], "strict")]
        {
            let output = crate::daemon::suiro().args(arguments).arg(&path).output().unwrap();
            let shown = crate::daemon::text(&output).replace("CANARY_IS_NO_PORT", "");
            no_canary(&format!("{name} of {n}"), &shown);
        }
    }
}

#[test]
fn ten_thousand_bad_requests_make_few_lines() {
    let (forward, http, syslog) = (port(), port(), port());
    let suiro = Suiro::start(|dir| {
        source("forward", forward, "")
            + &source("http", http, "")
            + &source("syslog", syslog, "tag s\nprotocol_type tcp")
            + "<match fluent.**>\n@type forward\n<server>\nhost 127.0.0.1\nport 1\n</server>\n<buffer>\n@type memory\n</buffer>\n</match>\n"
            + &to_file(dir)
    });
    let many = size(2_000, 10_000);
    let mut kept: Option<TcpStream> = None;
    for n in 0..many {
        let mut stream = kept.take().unwrap_or_else(|| connect(http));
        let bad = b"POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\nbad!";
        if stream.write_all(bad).is_ok() && n % 10 != 0 {
            kept = Some(stream);
        }
        if let Some(stream) = kept.as_mut()
            && n % 50 == 0
        {
            answer(stream, Duration::from_millis(1));
        }
    }
    for _ in 0..many / 10 {
        let _ = connect(forward).write_all(&[0x91; 200]);
    }
    connect(syslog).write_all("bad\n".repeat(many).as_bytes()).unwrap();
    let tags: Vec<u8> = (0..many).flat_map(|n| packed(format!("t{n}\n").as_bytes(), &entry(&[0xc0]), &[])).collect();
    connect(forward).write_all(&tags).unwrap();
    send_event(forward, "t", "last", "id-last");
    suiro.wait_delivered("last");
    let (log, lines) = (suiro.log(), suiro.log().lines().count());
    assert!(lines < 300 && log.len() < 256 << 10, "{lines} lines, {} bytes", log.len());
    suiro.end();
}
