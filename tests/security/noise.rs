//! Random and mutated bytes on every port (checklist 19).

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::harness::{MIB, Suiro, connect, port, post_json, size, source, to_file};
use super::wire::{entry, event, packed, record, send_event};

/// xorshift64: the same noise in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.next() as usize % most;
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Some of the bytes changed, taken out or doubled.
    fn mutated(&mut self, whole: &[u8]) -> Vec<u8> {
        let mut out = whole.to_vec();
        for _ in 0..1 + self.next() % 8 {
            if out.is_empty() {
                break;
            }
            let at = self.next() as usize % out.len();
            match self.next() % 4 {
                0 => out[at] = self.next() as u8,
                1 => drop(out.remove(at)),
                2 => out.truncate(at),
                _ => out.insert(at, [0, 0xff, b'\n', 0xdd, b'"', b'['][self.next() as usize % 6]),
            }
        }
        out
    }
}

fn good() -> Vec<Vec<u8>> {
    let request = |kind: &str, body: &str| {
        format!("POST /t HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let events = entry(&record(&[("message", "text")])).repeat(5);
    vec![
        event("noise", "text", "id"),
        packed(b"noise", &events, &[("compressed", "gzip")]),
        [&[0x93][..], &super::wire::text(b"noise"), &[0xce, 0x65, 0, 0, 0], &record(&[("a", "b")])].concat(),
        br#"["noise",1700000000,{"a":"b"}]"#.to_vec(),
        request("application/json", r#"[{"a":[1,2.5e3,null,"\u00e9"]},{"time":1}]"#),
        request("application/x-ndjson", "{\"a\":1}\n{\"b\":2}\n"),
        request("application/x-www-form-urlencoded", "json=%7B%22a%22%3A1%7D&time=1"),
        b"POST /t HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n".to_vec(),
        b"<34>Oct 11 22:14:15 host su[1]: text\n<165>1 2003-10-11T22:14:15.003Z host app 1 ID [a b=\"c\"] text\n".to_vec(),
        b"36 <34>Oct 11 22:14:15 host su[1]: text".to_vec(),
        b"host:a\ttime:[11/Oct/2000:13:55:36 -0700]\treq:GET /\n{\"a\":{\"b\":[1]}}\n".to_vec(),
    ]
}

#[test]
fn noise_on_every_port_harms_nothing() {
    let names = ["forward", "http", "syslog", "octets", "json", "msgpack", "ltsv", "monitor", "tls", "udp"];
    let ports: Vec<u16> = names.iter().map(|_| port()).collect();
    let suiro = Suiro::start(|dir| {
        let parse = |kind: &str| format!("tag noise\n<parse>\n@type {kind}\n</parse>");
        source("forward", ports[0], "")
            + &source("http", ports[1], "")
            + &source("syslog", ports[2], "tag noise\nprotocol_type tcp\nemit_unmatched_lines true")
            + &source(
                "syslog",
                ports[3],
                "tag noise\nprotocol_type tcp\nframe_type octet_count\nemit_unmatched_lines true",
            )
            + &source("tcp", ports[4], &parse("json"))
            + &source("tcp", ports[5], &parse("msgpack"))
            + &source("tcp", ports[6], &parse("ltsv"))
            + &source("monitor_agent", ports[7], "")
            + &source("forward", ports[8], "<transport tls>\ninsecure true\n</transport>")
            + &source("udp", ports[9], &parse("json"))
            + "<match noise.**>\n@type null\n</match>\n"
            + &to_file(dir)
    });
    send_event(ports[0], "t", "first", "id-first");
    let before = suiro.rss();
    let good = good();
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let until = Instant::now() + Duration::from_secs(size(3, 30));
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut open: Vec<TcpStream> = Vec::new();
    while Instant::now() < until {
        for port in &ports[..9] {
            let mut stream = connect(*port);
            for _ in 0..1 + random.next() % 3 {
                let whole = &good[random.next() as usize % good.len()];
                let noise = if random.next().is_multiple_of(4) { random.bytes(2_000) } else { random.mutated(whole) };
                let _ = stream.write_all(&noise);
                let _ = udp.send_to(&noise, ("127.0.0.1", ports[9]));
            }
            open.push(stream);
        }
        open.drain(..open.len().saturating_sub(100));
    }
    drop(open);
    let growth = suiro.peak() - before;
    assert!(growth < 200 * MIB, "grew by {} MiB", growth / MIB);
    assert_eq!(post_json(ports[1], "/t", r#"{"a":"last"}"#), 200);
    suiro.wait_delivered("last");
    suiro.end();
}
