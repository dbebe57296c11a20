//! Sends prepared requests over several connections and measures how long each answer takes.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Waits;
use crate::{Options, Outcome};

/// Longest wait of one read or write.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause before a request is sent again that was refused or broke.
const PAUSE: Duration = Duration::from_millis(2);
/// Seconds that a command runs at most, where it is not told.
pub const SECONDS: u64 = 60;
/// Requests that are prepared; they are sent in turns.
const PREPARED: usize = 400;

/// Bytes of a request, with events and the bytes of their lines.
pub struct Request {
    /// What goes over the wire.
    pub wire: Vec<u8>,
    /// Events in it.
    pub events: u64,
    /// Bytes of the lines that it was made of.
    pub raw: u64,
}

/// Cuts the lines of a file into groups of `batch` and makes a request of each.
pub fn prepared(options: &Options, make: impl Fn(&[&[u8]]) -> Vec<u8>) -> Result<Vec<Request>, Box<dyn Error>> {
    let text = std::fs::read(options.text("file")?)?;
    let batch = usize::try_from(options.number("batch")?)?;
    let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).take(PREPARED * batch).collect();
    let groups = lines.chunks_exact(batch);
    let requests: Vec<Request> = groups
        .map(|group| Request {
            wire: make(group),
            events: group.len() as u64,
            raw: group.iter().map(|l| l.len() as u64 + 1).sum(),
        })
        .collect();
    if requests.is_empty() { Err("the file has too few lines".into()) } else { Ok(requests) }
}

/// A connection to a port of this host.
pub fn dial(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What one connection did.
#[derive(Default)]
struct Tally {
    events: u64,
    raw: u64,
    errors: u64,
    waits: Waits,
}

/// How a run goes: where to, how many events, how fast, how long.
struct Plan<'a> {
    port: u16,
    total: u64,
    /// Requests a second; as fast as answers come where there is none.
    rate: Option<f64>,
    start: Instant,
    end: Instant,
    next: AtomicU64,
    requests: &'a [Request],
}

/// Sends requests until `events` are out, each by `send`, which waits for the answer: `Ok(false)` is a refusal.
/// `send` gets the connection, the request and its number.
pub fn run<F>(options: &Options, requests: &[Request], send: F) -> Outcome
where
    F: Fn(&mut TcpStream, &[u8], u64) -> io::Result<bool> + Sync,
{
    let batch = requests.first().map_or(1, |r| r.events);
    let rate = options.number_or("rate", 0)?;
    let start = Instant::now();
    let plan = Plan {
        port: options.port()?,
        total: options.number("events")? / batch,
        rate: (rate > 0).then(|| rate as f64 / batch as f64),
        start,
        end: start + Duration::from_secs(options.number_or("seconds", SECONDS)?),
        next: AtomicU64::new(0),
        requests,
    };
    let connections = options.number("connections")?;
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(|| connection(&plan, &send))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_default()).collect()
    });
    Ok(report(tallies, start.elapsed()))
}

fn report(tallies: Vec<Tally>, took: Duration) -> String {
    let mut sum = Tally::default();
    for tally in tallies {
        sum.events += tally.events;
        sum.raw += tally.raw;
        sum.errors += tally.errors;
        sum.waits.extend(tally.waits);
    }
    format!(
        r#"{{"events":{},"bytes":{},"errors":{},"seconds":{:.6},{}}}"#,
        sum.events,
        sum.raw,
        sum.errors,
        took.as_secs_f64(),
        sum.waits.json()
    )
}

fn connection<F>(plan: &Plan<'_>, send: &F) -> Tally
where
    F: Fn(&mut TcpStream, &[u8], u64) -> io::Result<bool>,
{
    let (mut tally, mut stream) = (Tally::default(), None);
    loop {
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.total || !in_time(plan, number) {
            return tally;
        }
        let request = &plan.requests[usize::try_from(number).unwrap_or(0) % plan.requests.len()];
        let mut attempts = 0;
        while !attempt(plan, request, number, &mut stream, &mut tally, send) {
            tally.errors += 1;
            attempts += 1;
            if Instant::now() > plan.end {
                return tally;
            }
            thread::sleep(PAUSE * attempts.min(50));
        }
    }
}

/// Waits for the request's turn; false when the time is up.
fn in_time(plan: &Plan<'_>, number: u64) -> bool {
    if let Some(rate) = plan.rate {
        let due = plan.start + Duration::from_secs_f64(number as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Instant::now() < plan.end
}

/// One try of one request; a connection that broke is made anew the next time.
fn attempt<F>(
    plan: &Plan<'_>,
    request: &Request,
    number: u64,
    stream: &mut Option<TcpStream>,
    tally: &mut Tally,
    send: &F,
) -> bool
where
    F: Fn(&mut TcpStream, &[u8], u64) -> io::Result<bool>,
{
    let mut open = match stream.take().map_or_else(|| dial(plan.port), Ok) {
        Ok(open) => open,
        Err(_) => return false,
    };
    let sent = Instant::now();
    let Ok(taken) = send(&mut open, &request.wire, number) else { return false };
    *stream = Some(open);
    if taken {
        tally.waits.add(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
        tally.events += request.events;
        tally.raw += request.raw;
    }
    taken
}
