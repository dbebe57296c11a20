//! What is made before documents are written, who asks, and what a configuration is told.

use tempfile::TempDir;

use super::standin::StandIn;
use super::*;
use crate::daemon::{Daemon, free_port, suiro, wait_for};
use crate::databases::{checked, config, eventually, post};

/// Starts an output, posts an event, and gives the running daemon once the event is there.
fn with_one(kind: &str, target: &StandIn, more: &str, index: &str) -> (TempDir, Daemon) {
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let output = output(kind, target.port, more, dir.path());
    let daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    assert!(post(port, "app.web?time=1700000000", "{\"id\":1}"));
    eventually(&vec![1], &daemon, || target.numbers(index));
    (dir, daemon)
}

#[test]
fn templates_policies_and_aliases_are_there_before_the_first_document() {
    let target = StandIn::start();
    let files = TempDir::new().unwrap();
    let template = files.path().join("template.json");
    std::fs::write(&template, r#"{"index_patterns":["mock"],"settings":{"number_of_shards":<<shards>>}}"#).unwrap();
    let more = format!(
        "index_name shop\ntemplate_name shop_template\ntemplate_file {}\ncustomize_template {{\"<<shards>>\": \"3\"}}\n\
         enable_ilm true\nilm_policy_id shop-policy\nilm_policy {{\"policy\":{{\"phases\":{{}}}}}}\n\
         application_name web",
        template.display()
    );
    let (_dir, mut daemon) = with_one("elasticsearch", &target, &more, "shop");
    assert_eq!(target.thing("/_ilm/policy/shop-policy").unwrap()["policy"]["phases"], serde_json::json!({}));
    let made = target.thing("/_template/shop").unwrap();
    assert_eq!(made["index_patterns"], serde_json::json!(["shop-*"]));
    assert_eq!(made["settings"]["number_of_shards"], 3);
    assert_eq!(made["settings"]["index.lifecycle.name"], "shop-policy");
    assert_eq!(made["settings"]["index.lifecycle.rollover_alias"], "shop");
    let first = target.thing("/<shop-web-{now/d}-000001>").unwrap();
    assert_eq!(first["aliases"]["shop"]["is_write_index"], true);
    assert_eq!(daemon.end().code(), Some(0));
}

#[test]
fn what_is_there_already_stays_unless_it_is_to_be_replaced() {
    let files = TempDir::new().unwrap();
    let template = files.path().join("t.json");
    std::fs::write(&template, "{\"index_patterns\":[\"a*\"]}").unwrap();
    for (more, replaced) in [("", false), ("template_overwrite true\n", true)] {
        let target = StandIn::start();
        target.put("/_template/t", serde_json::json!({ "mine": true }));
        let more = format!(
            "{more}template_name t\ntemplate_file {}\ntemplates {{\"u\":\"{}\"}}\nindex_name logs",
            template.display(),
            template.display()
        );
        let (_dir, _daemon) = with_one("opensearch", &target, &more, "logs");
        assert_eq!(target.thing("/_template/t").unwrap()["mine"] != true, replaced);
        assert!(target.thing("/_template/u").is_some());
    }
}

#[test]
fn data_streams_get_their_policy_template_and_stream() {
    let target = StandIn::start();
    let (_dir, _daemon) = with_one("elasticsearch_data_stream", &target, "data_stream_name logs-web", "logs-web");
    assert_eq!(
        target.thing("/_ilm/policy/logs-web_policy").unwrap()["policy"]["phases"]["hot"]["actions"]["rollover"]["max_size"],
        "50gb"
    );
    let template = target.thing("/_index_template/logs-web_template").unwrap();
    assert_eq!(template["index_patterns"], serde_json::json!(["logs-web*"]));
    assert_eq!(template["template"]["settings"]["index.lifecycle.name"], "logs-web_policy");
    assert!(target.thing("/_data_stream/logs-web").is_some());
    let (id, document) = target.documents("logs-web").remove(0);
    assert!(id.ends_with("-0"), "{id}");
    assert!(document["@timestamp"].as_str().unwrap().starts_with("2023-11-1"), "{document}");
    let target = StandIn::start();
    let more = "data_stream_name ${tag[1]}-x\nism_policy_id keep\nism_policy {\"policy\":{\"states\":[]}}";
    let (_dir, _daemon) = with_one("opensearch_data_stream", &target, more, "web-x");
    assert_eq!(target.thing("/_index_template/web-x_template").unwrap()["data_stream"], serde_json::json!({}));
    let policy = target.thing("/_plugins/_ism/policies/keep").unwrap();
    assert_eq!(policy["policy"]["ism_template"][0]["index_patterns"], serde_json::json!(["web-x*"]));
    assert!(target.heads().iter().any(|head| head.starts_with("POST /web-x/_bulk?")));
}

#[test]
fn a_cluster_names_its_hosts_where_it_is_asked() {
    let (seed, other) = (StandIn::start(), StandIn::start());
    let address = format!("127.0.0.1:{}", other.port);
    seed.put("/_nodes/http", serde_json::json!({ "nodes": { "x": { "http": { "publish_address": address } } } }));
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let more = "index_name logs\nreload_connections true\nreload_after 3";
    let output = output("elasticsearch", seed.port, more, dir.path());
    let mut daemon = Daemon::start(&config(port, dir.path(), &output), dir.path());
    let mut sent = 0;
    wait_for("the other host", || {
        assert!(post(port, "app.web", &format!("{{\"id\":{sent}}}")));
        sent += 1;
        (!other.numbers("logs").is_empty()).then_some(())
    });
    eventually(&sent, &daemon, || seed.numbers("logs").len() + other.numbers("logs").len());
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn who_asks_is_said_in_every_form_and_a_refused_login_is_said_at_the_start() {
    for (more, value) in [
        ("user u\npassword p%w", "Basic dTpwJXc="),
        ("api_key id:key", "ApiKey aWQ6a2V5"),
        ("api_key aWQ6a2V5", "ApiKey aWQ6a2V5"),
        ("custom_headers {\"Authorization\":\"Bearer t\"}", "Bearer t"),
    ] {
        let target = StandIn::start();
        target.want_login(value);
        let (_dir, _daemon) = with_one("elasticsearch", &target, &format!("index_name logs\n{more}"), "logs");
    }
    let target = StandIn::start();
    target.want_login("Basic x");
    let dir = TempDir::new().unwrap();
    let output = output("opensearch", target.port, "user u\npassword wrong-word", dir.path());
    let mut daemon = Daemon::launch(suiro(), &config(free_port(), dir.path(), &output), dir.path());
    assert_ne!(daemon.wait_for_end().code(), Some(0), "{}", daemon.log());
    assert!(daemon.log().contains("look at user and password"), "{}", daemon.log());
    assert!(!daemon.log().contains("wrong-word"), "{}", daemon.log());
}

#[test]
fn requests_to_aws_are_signed() {
    let target = StandIn::start();
    let (dir, port) = (TempDir::new().unwrap(), free_port());
    let endpoint = format!(
        "@type opensearch\n@id out\nindex_name logs\n<endpoint>\nregion eu-west-1\nurl http://127.0.0.1:{}\n\
         access_key_id AKID\nsecret_access_key not-to-be-seen\naws_service_name aoss\n</endpoint>\n{}",
        target.port,
        buffer(dir.path(), "tag")
    );
    let mut daemon = Daemon::start(&config(port, dir.path(), &endpoint), dir.path());
    assert!(post(port, "app.web", "{\"id\":1}"));
    eventually(&vec![1], &daemon, || target.numbers("logs"));
    let head = target.heads().into_iter().find(|head| head.starts_with("POST")).unwrap();
    assert!(head.contains("Credential=AKID/"), "{head}");
    assert!(head.contains("/eu-west-1/aoss/aws4_request"), "{head}");
    assert!(head.to_lowercase().contains("x-amz-content-sha256"), "{head}");
    assert!(!daemon.log().contains("not-to-be-seen"));
    assert_eq!(daemon.end().code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_target_before_version_seven_gets_types() {
    let target = StandIn::start();
    target.be_version("6.8.23");
    let (_dir, _daemon) = with_one("elasticsearch", &target, "index_name logs\nrouting_key id", "logs");
    assert_eq!(target.documents("logs")[0].1["_type"], "fluentd");
    let target = StandIn::start();
    target.be_version("8.15.0");
    let (_dir, _daemon) = with_one("elasticsearch", &target, "index_name logs\nrouting_key id", "logs");
    let document = &target.documents("logs")[0].1;
    assert!(document["_type"].is_null());
    assert_eq!(document["_routing"], "1");
}

#[test]
fn configurations_that_can_not_work_say_what_to_write() {
    for (output, wanted) in [
        ("@type elasticsearch\nuser u\n", "`password` must be present"),
        ("@type elasticsearch\ncloud_id x\n", "`cloud_auth` must be present"),
        ("@type elasticsearch\ncloud_id x\napi_key a:b\n", "no id of Elastic Cloud"),
        ("@type opensearch\ncloud_id x\n", "parameter of elasticsearch"),
        ("@type opensearch\nenable_ilm true\n", "write ism_policy_id"),
        ("@type elasticsearch\n<endpoint>\nregion r\nurl u\n</endpoint>\n", "parameter of opensearch"),
        ("@type elasticsearch\nhost es-${tag}\n", "a placeholder can't choose the host"),
        ("@type elasticsearch\nindex_name logs-%Y\n", "chunk key 'time' is not configured"),
        ("@type elasticsearch\nindex_name _all\n", "begins with -, _ or +"),
        ("@type elasticsearch\nwrite_operation upsert\n", "need id_key"),
        ("@type elasticsearch\ntarget_index_affinity true\n", "target_index_affinity is not supported"),
        ("@type elasticsearch\nindex_prefix x\n", "gone since 4.0"),
        ("@type elasticsearch\ntemplate_name t\n", "template_file"),
        ("@type elasticsearch\nenable_ilm true\n", "needs template_name"),
        (
            "@type elasticsearch\nilm_policy {\"a\":1}\nenable_ilm true\ntemplate_name t\ntemplate_file f\n",
            "has no \"policy\"",
        ),
        ("@type elasticsearch\nbulk_requests_at_once 99\n", "bulk_requests_at_once is 1 to 16"),
        ("@type elasticsearch_data_stream\n", "'data_stream_name' parameter is required"),
        ("@type elasticsearch_data_stream\ndata_stream_name d\nwrite_operation index\n", "takes only create"),
        ("@type elasticsearch\ndata_stream_name d\n", "outputs into data streams"),
        ("@type elasticsearch\nlogstash_dateformat ${tag}\n", "write them into logstash_prefix"),
        ("@type elasticsearch\nca_file /x\n", "no host is https"),
        ("@type elasticsearch\nreconnect_on_error true\n", "reconnect_on_error has no effect here"),
        ("@type opensearch\nselector_class_name X\n", "selector_class_name has no effect here"),
        ("@type opensearch\nssl_version TLSv1_1\nscheme https\n", "TLSv1_2"),
    ] {
        let said = checked(output);
        assert!(said.contains(wanted), "{output}: {said}");
    }
}
