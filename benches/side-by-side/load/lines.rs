//! Log lines: nginx access lines, flat JSON objects of which a fifth are of level debug, and RFC 5424 messages.

use std::fs::File;
use std::io::{BufWriter, Write};

use crate::{Options, Outcome};

const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "GET", "POST", "PUT", "HEAD"];
const PATHS: &[&str] = &[
    "/",
    "/index.html",
    "/api/v1/items/#",
    "/api/v1/users/#/orders?page=2&size=50",
    "/static/js/app.#.js",
    "/static/css/main.css",
    "/downloads/product_#",
    "/search?q=lorem+ipsum&p=#",
    "/healthz",
    "/img/banner-#.png",
];
const REFERERS: &[&str] = &["-", "-", "https://www.example.com/", "https://shop.example.org/cart/view?item=3"];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15",
    "curl/8.5.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "kube-probe/1.30",
];
const CODES: &[&str] = &["200", "200", "200", "200", "200", "304", "404", "301", "500", "206"];
/// One in five is `debug`.
const LEVELS: &[&str] = &["debug", "info", "info", "warn", "error"];
const SERVICES: &[&str] = &["checkout", "cart", "search", "gateway", "auth", "billing"];
const TEXTS: &[&str] = &[
    "request completed",
    "upstream responded within budget",
    "cache miss, fetched from origin",
    "user session refreshed",
    "retrying after transient failure, attempt 2 of 5",
];

/// Numbers that look random and are the same in each run (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap_or(0)]
    }
}

/// One line into `out`, with its line end; whether it is of level debug.
fn line(kind: &str, number: u64, dice: &mut Dice, out: &mut Vec<u8>) -> std::io::Result<bool> {
    let second = number / 97;
    let clock = format!("{:02}:{:02}:{:02}", second / 3600 % 24, second / 60 % 60, second % 60);
    match kind {
        "nginx" => nginx(&clock, dice, out).map(|()| false),
        "json" => json(&clock, dice, out),
        _ => syslog(&clock, number, dice, out).map(|()| false),
    }
}

fn nginx(clock: &str, dice: &mut Dice, out: &mut Vec<u8>) -> std::io::Result<()> {
    let address = [223, 255, 255, 254].map(|bound| dice.below(bound) + 1);
    let user = if dice.below(8) == 0 { "alice" } else { "-" };
    let path = dice.pick(PATHS).replace('#', &dice.below(99_999).to_string());
    writeln!(
        out,
        "{}.{}.{}.{} - {user} [24/Nov/2026:{clock} +0000] \"{} {path} HTTP/1.1\" {} {} \"{}\" \"{}\"",
        address[0],
        address[1],
        address[2],
        address[3],
        dice.pick(METHODS),
        dice.pick(CODES),
        dice.below(65_536),
        dice.pick(REFERERS),
        dice.pick(AGENTS)
    )
}

fn json(clock: &str, dice: &mut Dice, out: &mut Vec<u8>) -> std::io::Result<bool> {
    let level = dice.pick(LEVELS);
    write!(
        out,
        r#"{{"ts":"2026-11-24T{clock}.{:06}Z","level":"{level}","service":"{}","host":"web-{:02}","trace_id":"{:016x}{:016x}","#,
        dice.below(1_000_000),
        dice.pick(SERVICES),
        dice.below(64),
        dice.roll(),
        dice.roll()
    )?;
    writeln!(
        out,
        r#""method":"{}","path":"/api/v1/items/{}","status":{},"duration_ms":{}.{},"bytes":{},"msg":"{}"}}"#,
        dice.pick(METHODS),
        dice.below(99_999),
        dice.pick(CODES),
        dice.below(900),
        dice.below(9) + 1,
        dice.below(65_536),
        dice.pick(TEXTS)
    )?;
    Ok(level == "debug")
}

fn syslog(clock: &str, number: u64, dice: &mut Dice, out: &mut Vec<u8>) -> std::io::Result<()> {
    writeln!(
        out,
        "<{}>1 2026-11-24T{clock}.{:06}Z host-{:02} {} {} ID{:02} [meta@32473 seq=\"{number}\" zone=\"a\"] {} for item {} in {} ms",
        128 + dice.below(8),
        dice.below(1_000_000),
        dice.below(64),
        dice.pick(SERVICES),
        dice.below(30_000) + 2,
        dice.below(50),
        dice.pick(TEXTS),
        dice.below(99_999),
        dice.below(900)
    )
}

/// Writes lines until there are `bytes` of them.
pub fn run(options: &Options) -> Outcome {
    let (kind, wanted) = (options.text("kind")?, options.number("bytes")?);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(options.text("out")?)?);
    let (mut dice, mut out) = (Dice(88_172_645_463_325_252), Vec::new());
    let (mut lines, mut bytes, mut debug) = (0_u64, 0_u64, 0_u64);
    while bytes < wanted {
        out.clear();
        debug += u64::from(line(kind, lines, &mut dice, &mut out)?);
        file.write_all(&out)?;
        lines += 1;
        bytes += out.len() as u64;
    }
    file.flush()?;
    Ok(format!(r#"{{"lines":{lines},"bytes":{bytes},"debug":{debug}}}"#))
}
