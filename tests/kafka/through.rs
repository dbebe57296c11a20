//! From Kafka through suiro to Kafka, each message once.

use super::broker::Broker;
use super::*;

/// From `from` to `to`.
fn pipe(port: u16, proxy: u16, dir: &Path) -> String {
    let buffer = buffer(dir, "").replace("<buffer >", "<buffer>").replace("flush_interval 0.1", "flush_interval 0.02");
    let out = output(proxy, &format!("topic to\ntransactional_id pipe\n{buffer}"), dir);
    loader(port, "consumer_group pipe\ntopics from\ngroup_instance_id pipe\nsession_timeout 6", dir, &out)
}

#[test]
fn kills_of_suiro_and_of_the_broker_lose_and_double_nothing() {
    let Some(broker) = Broker::start() else { return };
    broker.create("from", 3, &[]);
    broker.create("to", 3, &[]);
    let dir = TempDir::new().unwrap();
    let config = pipe(broker.port, broker.port, dir.path());
    let (count, step) = (40_000, 5_000);
    let mut put = 0;
    for life in 0..6u64 {
        let mut daemon = Daemon::start(&config, dir.path());
        broker.put("from", numbered(put..put + step));
        put += step;
        std::thread::sleep(Duration::from_millis(60 * life));
        if life == 3 {
            broker.kill();
            broker.up().unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        daemon.kill();
    }
    broker.put("from", numbered(put..count));
    let mut daemon = Daemon::start(&config, dir.path());
    let all: Vec<u64> = (0..count).collect();
    assert_once(&all, || broker.ids("to"), &daemon);
    daemon.end_within(END);
}
