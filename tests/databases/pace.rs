//! What each loader takes: events per second of processor time of suiro alone, with everything from the HTTP input to the
//! acknowledged COMMIT. `SUIRO_BINARY=target/release/suiro cargo test --test integration databases::pace -- --ignored
//! --nocapture --test-threads=1` prints a line for each.

use std::io::Read;
use std::path::Path;

use tempfile::TempDir;

use super::cluster::Cluster;
use super::house::House;
use super::server::Postgres;
use super::*;
use crate::daemon::wait_for;

/// Posts, and events of each.
const POSTS: u64 = 100;
const EVENTS: u64 = 2_000;

/// Runs an output in a directory until `count` has seen everything; prints a line.
pub fn measure(name: &str, output: impl Fn(&Path) -> String, count: impl Fn(&Path) -> u64) {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let mut daemon = Daemon::start(&config(port, dir.path(), &output(dir.path())), dir.path());
    let before = daemon.processor_time();
    for post_number in 0..POSTS {
        let ids = post_number * EVENTS..(post_number + 1) * EVENTS;
        let events: Vec<String> = ids
            .map(|id| format!("{{\"id\":{id},\"s\":\"GET /index.html?page={id} HTTP/1.1\",\"n\":{}}}", id % 1000))
            .collect();
        assert!(post(port, "app.web", &format!("[{}]", events.join(","))));
    }
    wait_for(name, || (count(dir.path()) >= POSTS * EVENTS).then_some(()));
    let used = (daemon.processor_time() - before).as_secs_f64();
    println!("| {name} | {:.0} |", (POSTS * EVENTS) as f64 / used);
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

pub fn buffered(dir: &Path) -> String {
    buffer(dir, "tag").replace("flush_interval 0.1", "flush_interval 1s")
}

#[test]
#[ignore = "a measurement"]
fn events_for_each_second_of_processor_time() {
    measure("null", |dir| format!("@type null\n{}", buffered(dir)), |_| POSTS * EVENTS);
    if let Some(server) = Postgres::start() {
        server.ask("CREATE TABLE load (id bigint, s text, n int)");
        let login = format!("host 127.0.0.1\nport {}\ndatabase postgres\nusername postgres\ntable load", server.port);
        let count = |_: &Path| server.numbers("SELECT count(*) FROM load").first().copied().unwrap_or(0);
        measure("postgresql", |dir| format!("@type postgresql\n{login}\n{}", buffered(dir)), count);
    }
    let house = House::start();
    let endpoint = format!("endpoint http://127.0.0.1:{}\ntable load", house.port);
    let count = |_: &Path| house.rows().len() as u64;
    measure("clickhouse, gzip", |dir| format!("@type clickhouse\n{endpoint}\n{}", buffered(dir)), count);
    let house = House::start();
    let endpoint = format!("endpoint http://127.0.0.1:{}\ntable load\ncompress text", house.port);
    let count = |_: &Path| house.rows().len() as u64;
    measure("clickhouse, text", |dir| format!("@type clickhouse\n{endpoint}\n{}", buffered(dir)), count);
    if let Some(cluster) = Cluster::start() {
        // The stand-in takes long for each line, so only the object's part of the work is measured: what suiro does is done
        // once the COPY is asked for.
        cluster.database.ask("CREATE TABLE load (id bigint, s varchar(200), n int)");
        let login = format!(
            "aws_key_id AK\naws_sec_key SK\ns3_bucket logs\ns3_endpoint http://127.0.0.1:{}\nredshift_host 127.0.0.1\n\
             redshift_port {}\nredshift_dbname postgres\nredshift_user postgres\nredshift_tablename load",
            cluster.bucket.port, cluster.port
        );
        let count = |_: &Path| {
            let packed = cluster.bucket.objects();
            let lines = packed.iter().filter(|(name, _)| name.ends_with(".gz")).map(|(_, object)| {
                let mut text = String::new();
                flate2::read::MultiGzDecoder::new(&object.bytes[..]).read_to_string(&mut text).unwrap();
                text.lines().count() as u64
            });
            lines.sum()
        };
        measure("redshift, objects", |dir| format!("@type redshift\n{login}\n{}", buffered(dir)), count);
    }
}
