//! How soon it ends when it is told to, whatever holds it up.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::free_port;
use super::logs::Writing;
use super::place::{Place, QUICK, http_output, http_source, matching, tail_source};
use super::senders::Http;
use super::target::{Conduct, Protocol, Target};

/// The goal for a stop, and what shutdown_timeout says by default.
const GOAL: Duration = Duration::from_secs(5);

#[test]
fn an_input_that_does_not_end_leaves_buffers_in_memory_their_time() {
    let (place, target, port) = (Place::new(), Target::start(Protocol::Http, Conduct::Slow(GOAL / 10)), free_port());
    let stubborn = "<source>\n@type exec\n@id in_exec\ntag t\nkeys a\ncommand trap '' TERM; sleep 1000\n</source>\n";
    let memory = http_output(target.port, "", "<buffer>\n@type memory\nflush_interval 1000\n</buffer>\n");
    let mut daemon = place.start(&(http_source(port) + stubborn + &matching(&memory)));
    let ids = vec!["in-memory".to_owned()];
    assert_eq!(Http::new(port).post("t", &ids, None).unwrap(), 200);
    daemon.end_within(GOAL);
    assert!(daemon.log().contains("input plugin_id=\"in_exec\" did not stop in time"), "{}", daemon.log());
    target.seen().ids.assert_exactly(&ids);
}

/// What others do to the machine meanwhile: they compute, and sync files of 200 kB.
struct Load {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(dir: &Path, computing: usize, syncing: usize) -> Load {
        let ended = Arc::new(AtomicBool::new(false));
        let worker = |work: Box<dyn Fn() + Send>| {
            let ended = ended.clone();
            std::thread::spawn(move || {
                while !ended.load(SeqCst) {
                    work();
                }
            })
        };
        let compute = || Box::new(|| _ = std::hint::black_box((0..1_000_000_u64).sum::<u64>())) as Box<dyn Fn() + Send>;
        let sync = |number: usize| {
            let path = dir.join(format!("load{number}"));
            Box::new(move || {
                let mut file = std::fs::File::create(&path).unwrap();
                file.write_all(&[b'x'; 200_000]).unwrap();
                file.sync_all().unwrap();
            }) as Box<dyn Fn() + Send>
        };
        let computing = (0..computing).map(|_| worker(compute()));
        let threads = computing.chain((0..syncing).map(|number| worker(sync(number)))).collect();
        Load { ended, threads }
    }

    fn end(self) {
        self.ended.store(true, SeqCst);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
#[ignore = "a figure, to be taken by hand: SUIRO_BINARY names the binary"]
fn tail_ends_soon_on_a_busy_machine() {
    let place = Place::new();
    let config = tail_source(place.path(), "logs/*.log", "rotate_wait 1") + &matching(&place.file("all", QUICK));
    // What was rotated before the first start is no file of the path.
    let mut log = place.log("a.log");
    log.write(1);
    let mut daemon = place.start(&config);
    place.wait_for_all(&log.written);
    daemon.end_within(GOAL);
    let writing = Writing::start(log, 100);
    let load = Load::start(place.path(), 4, 2);
    let mut times = Vec::new();
    for life in 0..20 {
        let mut daemon = place.start(&config);
        std::thread::sleep(Duration::from_millis(500 + 100 * life % 1000));
        let told = Instant::now();
        assert_eq!(daemon.end().code(), Some(0));
        times.push(told.elapsed());
    }
    load.end();
    let written = writing.finish();
    times.sort_unstable();
    println!("| stops of tail under load | {} | half in {:?} | longest {:?} |", times.len(), times[10], times[19]);
    let mut daemon = place.start(&config);
    place.wait_for_all(&written);
    daemon.end_within(GOAL);
    place.landed().assert_exactly(&written);
    assert!(times[19] <= GOAL, "{times:?}");
}
