//! A warehouse in a store of S3, with answers that are lost and a kill.

use tempfile::TempDir;

use super::*;
use crate::objects::proxy::{Conduct, Proxy};
use crate::objects::servers::{self, KEY, SECRET, Server};

fn output(port: u16, dir: &Path) -> String {
    format!(
        "url s3://lake/tables\nendpoint http://127.0.0.1:{port}\nregion us-east-1\nauto_create_bucket true\n\
         compact_min_files 3\nmaintenance_interval 1\n{}",
        buffer(dir, "flush_mode immediate")
    )
}

fn launch(config: &str, dir: &Path) -> Daemon {
    let command = format!("export AWS_ACCESS_KEY_ID={KEY} AWS_SECRET_ACCESS_KEY={SECRET}");
    Daemon::start_behind(&command, config, dir)
}

fn ask(port: u16, statement: &str) -> String {
    let endpoint = format!("http://127.0.0.1:{port}");
    let output = suiro()
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .args(["sql", "--url", "s3://lake/tables", "--endpoint", &endpoint, "--region", "us-east-1"])
        .args(["--format", "csv", statement])
        .output()
        .unwrap();
    text(&output)
}

fn on_each(test: impl Fn(&Server)) {
    for server in servers::s3() {
        test(&server);
    }
}

#[test]
fn lost_answers_and_kills_double_nothing_in_a_store() {
    on_each(|server| {
        let (dir, port) = (TempDir::new().unwrap(), free_port());
        let proxy = Proxy::before(server.port);
        let text = config(port, &output(proxy.port, dir.path()));
        let mut daemon = launch(&text, dir.path());
        for part in 0..12 {
            if part % 3 == 1 {
                proxy.next(&[Conduct::Swallow]);
            }
            assert!(post(port, "t", &numbered(part * 10..part * 10 + 10)));
            if part == 6 {
                daemon.kill();
                daemon = launch(&text, dir.path());
            }
        }
        let statement = "select count(n), count(distinct n), sum(n) from t";
        let mut last = String::new();
        let all = wait_at_most(PATIENCE, || {
            last = ask(server.port, statement);
            last.ends_with("\n120,120,7140\n").then_some(())
        });
        assert!(all.is_some(), "{}: {last}: {}", server.name, daemon.log());
        assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
        assert!(ask(server.port, statement).ends_with("\n120,120,7140\n"), "{}", server.name);
    });
}
