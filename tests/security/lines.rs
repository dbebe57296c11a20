//! Hostile text: lines without end, lengths, dates, expressions (checklist 13 to 15, 17, 25, 29).

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::harness::{MIB, PATIENCE, Suiro, connect, exchange, port, size, source, to_file};

fn growth(suiro: &Suiro, before: u64, most: u64) {
    let growth = suiro.peak().saturating_sub(before);
    assert!(growth < most * MIB, "grew by {} MiB", growth / MIB);
}

#[test]
fn a_line_without_end_over_tcp_is_left_out_and_the_rest_is_read() {
    let port = port();
    let suiro = Suiro::start(|dir| {
        source("syslog", port, "tag s\nprotocol_type tcp\nemit_unmatched_lines true") + &to_file(dir)
    });
    let before = suiro.rss();
    let mut stream = connect(port);
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..size(100, 300) {
        stream.write_all(&piece).unwrap();
    }
    stream.write_all(b"\n<13>Oct 11 22:14:15 box app: last\n").unwrap();
    suiro.wait_delivered("last");
    growth(&suiro, before, 100);
    assert_eq!(suiro.delivered().len(), 1);
    let told = suiro.log().matches("message_length_limit").count();
    assert_eq!(told, 1, "{}", suiro.log());
    suiro.end();
}

#[test]
fn a_huge_line_in_a_file_is_left_out_and_the_rest_is_read() {
    let suiro = Suiro::start(|dir| {
        let path = dir.display();
        format!(
            "<source>\n@type tail\ntag t\npath {path}/in.log\npos_file {path}/pos\nread_from_head true\nrefresh_interval 1s\n<parse>\n@type none\n</parse>\n</source>\n"
        ) + &to_file(dir)
    });
    let before = suiro.rss();
    let mut file = fs::File::create(suiro.dir.path().join("in.log")).unwrap();
    file.write_all(b"first\n").unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..100).for_each(|_| file.write_all(&piece).unwrap());
    file.write_all(b"\nlast\n").unwrap();
    drop(file);
    suiro.wait_delivered("last");
    growth(&suiro, before, 64);
    assert!(suiro.delivered().iter().all(|l| l.len() < 32 << 20));
    suiro.end();
}

#[test]
fn odd_octet_counts_end_the_connection_or_are_left_out() {
    let port = port();
    let suiro = Suiro::start(|dir| {
        source("syslog", port, "tag s\nframe_type octet_count\n<transport tcp>\n</transport>") + &to_file(dir)
    });
    let before = suiro.rss();
    let digits = "9".repeat(200_000);
    for count in [&digits, "4294967295", "18446744073709551615", "-1", "0", "00000000000", "+5", "0x10", "", " "] {
        exchange(port, format!("{count} <13>Oct 11 22:14:15 box app: odd").as_bytes(), Duration::from_millis(100));
    }
    let message = "<13>Oct 11 22:14:15 box app: last";
    let mut stream = connect(port);
    stream.write_all(format!("{} {message}", message.len()).as_bytes()).unwrap();
    suiro.wait_delivered("last");
    growth(&suiro, before, 32);
    assert_eq!(suiro.delivered().len(), 1, "{:?}", suiro.delivered());
    suiro.end();
}

/// Messages around the two standards, none of them quite right.
fn odd_messages() -> Vec<String> {
    let whole3164 = "<34>Oct 11 22:14:15 mymachine su[10]: 'su root' failed";
    let whole5424 = r#"<165>1 2003-10-11T22:14:15.003Z host app 8710 ID47 [a@1 b="c\"d\]"][e f="g"] BOMtext"#;
    let mut odd: Vec<String> = Vec::new();
    for whole in [whole3164, whole5424] {
        odd.extend((0..whole.len()).map(|n| whole[..n].to_owned()));
        odd.extend((0..whole.len()).map(|n| format!("{}{}", &whole[..n], &whole[n + 1..])));
    }
    let dates = [
        "Feb 30 25:61:61",
        "Oct 99 99:99:99",
        "0000-00-00T00:00:00Z",
        "9999-12-31T23:59:60.999999999999999Z",
        "-001-01-01T00:00:00Z",
        "2003-10-11T22:14:15+99:99",
        "2003-10-11T22:14:15.",
        "Oct",
        "Oct ",
        "Oct  1",
        "\u{e9}ct 11 22:14:15",
        "292277026596-01-01T00:00:00Z",
    ];
    for date in dates {
        odd.push(format!("<13>{date} host app: text"));
        odd.push(format!("<13>1 {date} host app - - - text"));
    }
    odd.push(format!("<13>1 2003-10-11T22:14:15Z h a p m [x {}", "a=\"b\" ".repeat(5_000)));
    odd.push(format!("<13>1 2003-10-11T22:14:15Z h a p m {}", "[".repeat(20_000)));
    odd.extend(
        ["<>", "<-1>x", "<999999999999999999999>x", "<13", "<13>", "<13>1", "<13>1 ", "\0", ""].map(str::to_owned),
    );
    odd
}

#[test]
fn odd_dates_and_structures_are_parsed_or_passed_on_and_never_end_the_process() {
    let ports: Vec<(u16, &str)> = ["auto", "rfc3164", "rfc5424"].map(|format| (port(), format)).to_vec();
    let suiro = Suiro::start(|dir| {
        let parse = |format: &str| {
            format!(
                "tag s.{format}\nemit_unmatched_lines true\n<parse>\nmessage_format {format}\n</parse>\n<transport tcp>\n</transport>"
            )
        };
        ports.iter().map(|(port, format)| source("syslog", *port, &parse(format))).collect::<String>() + &to_file(dir)
    });
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (port, format) in &ports {
        let mut stream = connect(*port);
        for message in odd_messages() {
            stream.write_all(message.as_bytes()).unwrap();
            stream.write_all(b"\n").unwrap();
        }
        let good = if *format == "rfc5424" {
            "<13>1 2003-10-11T22:14:15Z h a p m - last-rfc5424\n".into()
        } else {
            format!("<13>Oct 11 22:14:15 box app: last-{format}\n")
        };
        stream.write_all(good.as_bytes()).unwrap();
        suiro.wait_delivered(&format!("last-{format}"));
    }
    drop(udp);
    suiro.end();
}

#[test]
fn expressions_take_linear_time_or_give_up() {
    let (apache, back, plain) = (port(), port(), port());
    let suiro = Suiro::start(|dir| {
        let regexp = |e: &str| format!("tag t\n<parse>\n@type regexp\nexpression {e}\n</parse>");
        source("tcp", apache, "tag t\n<parse>\n@type apache2\n</parse>")
            + &source("tcp", back, &regexp(r"/^(?=(?<a>(x+x+)+y))(?<b>.*)$/"))
            + &source("tcp", plain, &regexp(r"/^(?<a>(x+)+)$/"))
            + &to_file(dir)
    });
    let begun = Instant::now();
    let cpu = suiro.cpu();
    let quotes = format!("127.0.0.1 - - [11/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 1 {}", "\"".repeat(60_000));
    let backslashes = format!("127.0.0.1 - - [11/Oct/2000:13:55:36 -0700] \"{}", "\\\"".repeat(30_000));
    for line in [quotes, backslashes] {
        connect(apache).write_all((line + "\n").as_bytes()).unwrap();
    }
    connect(back).write_all(("x".repeat(30_000) + "\n").as_bytes()).unwrap();
    connect(plain).write_all(format!("{}!\n", "x".repeat(60_000)).as_bytes()).unwrap();
    for port in [apache, back, plain] {
        let last = match port {
            p if p == apache => "127.0.0.1 - - [11/Oct/2000:13:55:36 -0700] \"GET /last HTTP/1.0\" 200 1\n",
            p if p == back => "xxxy-last\n",
            _ => "xxx\n",
        };
        connect(port).write_all(last.as_bytes()).unwrap();
    }
    suiro.wait_delivered("xxxy-last");
    suiro.wait_delivered("/last");
    assert!(begun.elapsed() < PATIENCE / 2 && suiro.cpu() - cpu < PATIENCE / 3, "{:?}", suiro.cpu() - cpu);
    suiro.end();
}

#[test]
fn text_is_passed_on_byte_for_byte_and_never_interpreted() {
    let port = port();
    let suiro = Suiro::start(|dir| source("forward", port, "") + &to_file(dir));
    let canary = suiro.dir.path().join("canary");
    let touch = format!("$(touch {0}) `touch {0}` #{{`touch {0}`}}", canary.display());
    let texts = [
        "${jndi:ldap://127.0.0.1:1/a}",
        "%n%s%x%1000000d",
        "${tag} ${record['a']} ${hostname}",
        "{{7*7}} <%= 7*7 %> #{7*7}",
        &touch,
    ];
    for (n, text) in texts.iter().enumerate() {
        super::wire::send_event(port, "a.${tag}.%n.#{1}", text, &format!("id-{n}"));
    }
    for text in texts {
        suiro.wait_delivered(text);
    }
    assert!(!canary.exists());
    suiro.end();
}

#[test]
fn names_from_the_surroundings_may_have_any_length() {
    let long = format!("{}_{}_{}-{}.log", "p".repeat(100), "n".repeat(60), "c".repeat(20), "0".repeat(64));
    let before = format!("export NAME={}", "x".repeat(300));
    let suiro = Suiro::start_by(&before, |dir| {
        let path = dir.display();
        fs::create_dir(dir.join("in")).unwrap();
        fs::write(dir.join("in").join(&long), "last\n").unwrap();
        format!(
            "<source>\n@type tail\ntag \"#{{ENV['NAME']}}.*\"\npath {path}/in/*.log\nread_from_head true\n<parse>\n@type none\n</parse>\n</source>\n"
        ) + &to_file(dir)
    });
    suiro.wait_delivered("last");
    suiro.end();
}
