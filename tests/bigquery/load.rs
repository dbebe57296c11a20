//! Load jobs: exactly once through kills and lost answers, bad rows apart, quotas kept.

use std::time::Duration;

use super::standin::{Kind, StandIn, Trick};
use super::*;
use crate::faults::Chance;

#[test]
fn a_table_is_made_and_each_event_is_loaded_once() {
    let service = StandIn::start();
    service.take_time(2);
    let more = format!(
        "{}auto_create_table true\ntime_partitioning_type hour\ntime_partitioning_field at\nrequire_partition_filter true\n\
         time_partitioning_expiration 1d\nclustering_fields n,text\n<inject>\ntag_key tag\n</inject>\n",
        columns().replace("[{", "[{\"name\":\"at\",\"type\":\"TIMESTAMP\"},{\"name\":\"tag\",\"type\":\"STRING\"},{")
    );
    let site = Site::load(service.port, &more);
    let mut daemon = site.start();
    site.post(&numbered(0..300));
    wait_for_rows(&service, 300);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    let table = service.table(TABLE).unwrap();
    assert_eq!(service.values(TABLE, "n"), wanted(0..300));
    assert_eq!(table.rows[0]["tag"], "app.web");
    let partitioning = serde_json::json!({"type": "HOUR", "field": "at", "expirationMs": "86400000"});
    assert_eq!(table.made["timePartitioning"], partitioning);
    assert_eq!(table.made["requirePartitionFilter"], true);
    assert_eq!(table.made["clustering"]["fields"], serde_json::json!(["n", "text"]));
    assert!(site.balances().contains("300 in = 300 out"), "{}", site.balances());
}

#[test]
fn lost_answers_refusals_and_failed_jobs_lose_and_double_nothing() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    let tricks = [
        (Kind::Begin, Trick::Lose),
        (Kind::Put, Trick::Lose),
        (Kind::GetJob, Trick::Cut),
        (Kind::Begin, Trick::Say(503, "backendError")),
        (Kind::Put, Trick::Cut),
        (Kind::Begin, Trick::Say(403, "quotaExceeded")),
        (Kind::Put, Trick::Lose),
        (Kind::GetJob, Trick::Say(500, "internalError")),
        (Kind::Put, Trick::Say(502, "")),
    ];
    tricks.into_iter().for_each(|(kind, trick)| service.trick(kind, trick, 1));
    service.fail_jobs(&["backendError", "rateLimitExceeded"]);
    let site = Site::load(service.port, "");
    let mut daemon = site.start();
    for n in 0..20 {
        site.post(&numbered(n * 10..n * 10 + 10));
        std::thread::sleep(Duration::from_millis(60));
    }
    wait_for_rows(&service, 200);
    wait_for("all tricks", || service.has_played().then_some(()));
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..200));
    assert!(site.balances().contains("200 in = 200 out"));
}

#[test]
fn kills_lose_and_double_nothing() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.take_time(1);
    let site = Site::load(service.port, "");
    let mut chance = Chance::new();
    let mut sent = 0;
    for _ in 0..crate::faults::kills() {
        let lost = [Kind::Put, Kind::Begin, Kind::GetJob][chance.below(3) as usize];
        service.trick(lost, Trick::Lose, 1);
        let mut daemon = site.start();
        for _ in 0..3 {
            site.post(&numbered(sent..sent + 20));
            sent += 20;
            std::thread::sleep(Duration::from_millis(chance.below(120)));
        }
        daemon.kill();
    }
    let mut daemon = site.start();
    wait_for_rows(&service, sent);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..sent));
    site.balances();
}

#[test]
fn a_service_that_is_down_for_long_costs_nothing() {
    let target = free_port();
    let site = Site::load(target, &format!("{}auto_create_table true\n", columns()));
    let mut daemon = site.start();
    site.post(&numbered(0..100));
    daemon.wait_for_log("failed to flush the buffer");
    daemon.kill();
    let mut daemon = site.start();
    site.post(&numbered(100..200));
    daemon.wait_for_log("failed to flush the buffer");
    let service = StandIn::start_on(site.target);
    wait_for_rows(&service, 200);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..200));
    assert!(site.balances().contains("200 in = 200 out"));
}

#[test]
fn bad_rows_become_dead_letters_with_the_answer_and_the_rest_is_loaded() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    let site = Site::load(service.port, "");
    let mut daemon = site.start();
    let good = numbered(0..100);
    let bad = good.replace("{\"n\":7,", "{\"n\":\"seven\",").replace("{\"n\":42,", "{\"n\":42,\"unheard\":1,");
    site.post(&bad);
    wait_for_rows(&service, 98);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    let left: Vec<String> = wanted(0..100).into_iter().filter(|n| n != "7" && n != "42").collect();
    assert_eq!(service.values(TABLE, "n"), left);
    let dead = format!("{:?}", site.dead());
    for part in ["Could not convert value", "No such field: unheard", "seven", "event 42", "rejected"] {
        assert!(dead.contains(part), "{part}: {dead}");
    }
    assert!(!dead.contains("event 43"), "{dead}");
    let report = site.balances();
    assert!(report.contains("100 in = 98 out + 2 dropped"), "{report}");
}

#[test]
fn bad_rows_that_nobody_names_are_found_by_halving() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.keep_secret();
    let site = Site::load(service.port, "");
    let mut daemon = site.start();
    site.post(&numbered(0..64).replace("{\"n\":13,", "{\"n\":\"no\",").replace("{\"n\":50,", "{\"n\":\"no\","));
    wait_for_rows(&service, 62);
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    let left: Vec<String> = wanted(0..64).into_iter().filter(|n| n != "13" && n != "50").collect();
    assert_eq!(service.values(TABLE, "n"), left);
    let dead = format!("{:?}", site.dead());
    assert!(dead.contains("event 13") && dead.contains("event 50") && !dead.contains("event 14"), "{dead}");
    assert!(site.balances().contains("64 in = 62 out + 2 dropped"));
}

#[test]
fn a_field_that_appears_gets_a_column_although_others_change_the_table() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    let site = Site::load(service.port, "auto_add_columns true\n");
    let mut daemon = site.start();
    site.post(&numbered(0..5));
    wait_for_rows(&service, 5);
    service.trick(Kind::PatchTable, Trick::Say(412, "conditionNotMet"), 1);
    site.post(r#"[{"n":5,"city":"Osaka","at":{"lat":1.5}},{"n":6,"no-column":1}]"#);
    wait_for_rows(&service, 6);
    daemon.end();
    let columns = service.table(TABLE).unwrap().columns();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["n", "text", "city", "at"]);
    assert!(service.has_played());
    assert_eq!(service.values(TABLE, "n"), wanted(0..6));
    // No column can have that name: the row is the service's to refuse.
    assert!(format!("{:?}", site.dead()).contains("no-column"));
}

#[test]
fn jobs_wait_for_their_turn_over_restarts_and_failed_ones_count() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.fail_jobs(&["backendError"]);
    // Half of them may come at once: one that fails, one that does not.
    let site = Site::load(service.port, "");
    let site =
        Site { output: site.output.replace("jobs_per_table_per_day 100000", "jobs_per_table_per_day 4"), ..site };
    let mut daemon = site.start();
    site.post(&numbered(0..5));
    wait_for_rows(&service, 5);
    site.post(&numbered(5..10));
    daemon.wait_for_log("waits 21");
    daemon.end();
    let mut daemon = site.start();
    daemon.wait_for_log("waits 21");
    assert_eq!(service.jobs().len(), 2);
    assert!(!daemon.log().contains("failed to flush"), "{}", daemon.log());
    daemon.end();
    site.balances();
}

#[test]
fn files_lie_in_a_bucket_until_their_jobs_are_done() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    let more = format!("gcs_bucket stage\ngcs_endpoint http://127.0.0.1:{}\n", service.port);
    let tricks = [Kind::Stage, Kind::Put, Kind::MakeJob, Kind::GetJob].map(|kind| (kind, Trick::Lose));
    tricks.into_iter().for_each(|(kind, trick)| service.trick(kind, trick, 1));
    let site = Site::load(service.port, &more);
    let mut daemon = site.start();
    for n in 0..5 {
        site.post(&numbered(n * 10..n * 10 + 10));
        wait_for_rows(&service, n * 10 + 10);
    }
    wait_for("the end", || is_drained(site.path()).then_some(()));
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..50));
    assert_eq!(service.asked(Kind::Begin), 0);
    assert!(service.objects().is_empty(), "{:?}", service.objects());
}

#[test]
fn csv_rows_and_partitions_of_a_table_are_loaded() {
    let service = StandIn::start();
    service.make("p.d.t", &["n:INTEGER", "text:STRING"]);
    let more = "source_format csv\n<format>\n@type csv\nfields n,text\n</format>\n";
    let site = Site::load(service.port, more);
    let site = Site { output: site.output.replace("table t\n", "table t$20261129\n"), ..site };
    let mut daemon = site.start();
    site.post(&numbered(0..10));
    wait_for_rows(&service, 10);
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..10));
}

/// A key as Google gives them out; none, with a line that says so, where `openssl` is not there.
fn rsa_key() -> Option<String> {
    let args = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    match std::process::Command::new("openssl").args(args).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        other => {
            eprintln!("SKIPPED: keys of service accounts, since openssl makes none: {other:?}");
            None
        }
    }
}

#[test]
fn a_key_signs_and_a_wrong_one_is_named_with_its_parameter() {
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.want_token();
    let Some(key) = rsa_key() else { return };
    let site = Site::load(service.port, "auth_method json_key\njson_key KEY\n");
    let path = site.path().join("key.json");
    let site = Site { output: site.output.replace("KEY", &path.display().to_string()), ..site };
    let written = |email: &str| {
        let json = serde_json::json!({"type": "service_account", "client_email": email, "private_key": key});
        std::fs::write(&path, json.to_string()).unwrap();
    };
    written("stranger@p.iam.gserviceaccount.com");
    let mut daemon = site.start();
    site.post(&numbered(0..3));
    daemon.wait_for_log("look at json_key");
    daemon.end();
    written("loader@p.iam.gserviceaccount.com");
    let mut daemon = site.start();
    wait_for_rows(&service, 3);
    daemon.end();
    std::fs::write(&path, "{}").unwrap();
    let config = Daemon::configure(&site.config(), site.path());
    let refused = suiro().arg("-c").arg(config).output().unwrap();
    assert!(text(&refused).contains("json_key: the key has no client_email"), "{}", text(&refused));
    // The same account by a key in a file of its own.
    let pem = site.path().join("key.pem");
    std::fs::write(&pem, key).unwrap();
    let by_pem = format!(
        "auth_method private_key\nemail loader@p.iam.gserviceaccount.com\nprivate_key_path {}\n",
        pem.display()
    );
    let by_json = format!("auth_method json_key\njson_key {}\n", path.display());
    let site = Site { output: site.output.replace(&by_json, &by_pem), ..site };
    let mut daemon = site.start();
    site.post(&numbered(3..5));
    wait_for_rows(&service, 5);
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..5));
}

#[test]
fn the_machine_and_the_environment_tell_who_asks() {
    let Some(key) = rsa_key() else { return };
    let service = StandIn::start();
    service.make(TABLE, &["n:INTEGER", "text:STRING"]);
    service.want_token();
    let site = Site::load(service.port, "auth_method compute_engine\n");
    let machine = format!("export GCE_METADATA_HOST=127.0.0.1:{}", service.port);
    let mut daemon = Daemon::start_behind(&machine, &site.config(), site.path());
    site.post(&numbered(0..3));
    wait_for_rows(&service, 3);
    daemon.end();
    let path = site.path().join("key.json");
    let email = "loader@p.iam.gserviceaccount.com";
    let json = serde_json::json!({
        "type": "service_account", "client_email": email, "private_key": key, "private_key_id": "",
    });
    std::fs::write(&path, json.to_string()).unwrap();
    let output = site.output.replace("auth_method compute_engine", "auth_method application_default");
    let site = Site { output, ..site };
    let environment = format!("export GOOGLE_APPLICATION_CREDENTIALS={}", path.display());
    let mut daemon = Daemon::start_behind(&environment, &site.config(), site.path());
    site.post(&numbered(3..5));
    wait_for_rows(&service, 5);
    daemon.end();
    assert_eq!(service.values(TABLE, "n"), wanted(0..5));
}

#[test]
fn what_can_not_be_meant_is_refused_with_its_parameter() {
    let faults = [
        ("", "table other\n", "tables a,b\n", "both are invalid"),
        ("bigquery_load", "", "source_format avro\n", "source_format avro is not written here"),
        ("bigquery_load", "", "auth_method json_key\n", "'json_key' must be specified"),
        ("bigquery_load", "", "auth_method private_key\n", "'email' and 'private_key_path' must be specified"),
        ("bigquery_load", "", "auto_create_table true\n", "auto_create_table needs the columns"),
        ("bigquery_load", "", "schema [{\"name\":\"a\",\"type\":\"frog\"}]\n", "\"frog\" is none of"),
        ("bigquery_load", "", "schema []\nfetch_schema true\n", "only one can be meant"),
        ("bigquery_load", "", "auto_create_table true\nfetch_schema true\n", "fetch_schema asks a table that is there"),
        ("bigquery_load", "", "fetch_schema_table x\n", "fetch_schema_table needs fetch_schema"),
        ("bigquery_load", "", "root_url http://x\n", "write one"),
        ("bigquery_load", "", "gcs_path x/\n", "gcs_path needs gcs_bucket"),
        ("bigquery_load", "", "max_columns 0\n", "1 to 10000 columns"),
        ("bigquery_load", "", "clustering_fields a,b,c,d,e\n", "at most 4"),
        ("bigquery_load", "", "jobs_per_table_per_day 0\n", "must be at least 1"),
        ("bigquery_load", "", "time_partitioning_type week\n", "week"),
        ("bigquery_insert", "", "insert_id_field $[\n", "no record accessor"),
        ("bigquery_insert", "", "<format>\n@type csv\nfields a\n</format>\n", "supports only json"),
        ("bigquery_load", "", "json_key {\"a\":1}\nauth_method json_key\n", "the key has no client_email"),
    ];
    for (kind, extra, more, why) in faults {
        let kind = if kind.is_empty() { "bigquery_load" } else { kind };
        let site = Site::new(1, &format!("@type {kind}\n{more}{extra}"), "");
        let (good, text) = site.run(&["check"]);
        assert!(!good && text.contains(why), "{more}: {text}");
    }
    let site = Site::new(1, "@type bigquery_load\nprevent_duplicate_load false\nclustering_fields a\n", "");
    let (good, text) = site.run(&["check"]);
    assert!(good, "{text}");
    for part in
        ["prevent_duplicate_load has no effect", "clustering_fields has no effect", "chunks will wait for their turn"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
