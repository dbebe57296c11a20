//! Outputs: the table of `<match> @type`. `copy`, `relabel`, `rewrite_tag_filter` and `roundrobin` are
//! targets of the engine's routes.

mod azurestorage;
mod bigquery;
mod buffer;
mod causes;
mod clickhouse;
mod exec;
mod exec_filter;
mod fields;
mod file;
pub(crate) mod forward;
mod gcs;
mod http;
mod kafka;
mod loki;
mod null;
pub mod object;
mod object_url;
mod opentelemetry;
mod pg;
mod postgresql;
mod redshift;
mod s3;
mod search;
mod secondary_file;
mod service;
mod slack;
mod socket;
mod splunk;
mod stdout;
pub mod warehouse;

use crate::plugin::{DynOutput, Plugin, output};

/// One line per output.
pub const OUTPUTS: &[Plugin<dyn DynOutput>] = &[
    output::<azurestorage::AzureStorage>(&["azurestorage"]),
    output::<bigquery::Insert>(&["bigquery_insert"]),
    output::<bigquery::Load>(&["bigquery_load"]),
    output::<buffer::Buffer>(&["buffer"]),
    output::<clickhouse::Clickhouse>(&["clickhouse"]),
    output::<search::Elasticsearch>(&["elasticsearch"]),
    output::<search::ElasticsearchDataStream>(&["elasticsearch_data_stream"]),
    output::<exec::Exec>(&["exec"]),
    output::<exec_filter::ExecFilter>(&["exec_filter"]),
    output::<file::File>(&["file"]),
    output::<forward::Forward>(&["forward"]),
    output::<gcs::Gcs>(&["gcs"]),
    output::<http::Http>(&["http"]),
    output::<loki::Loki>(&["loki"]),
    output::<kafka::Kafka>(&["kafka", "kafka2", "rdkafka2"]),
    output::<null::Null>(&["null"]),
    output::<object_url::ObjectUrl>(&["object"]),
    output::<search::Opensearch>(&["opensearch"]),
    output::<search::OpensearchDataStream>(&["opensearch_data_stream"]),
    output::<opentelemetry::Opentelemetry>(&["opentelemetry"]),
    output::<postgresql::Postgresql>(&["postgresql"]),
    output::<redshift::Redshift>(&["redshift"]),
    output::<s3::S3>(&["s3"]),
    output::<secondary_file::SecondaryFile>(&["secondary_file"]),
    output::<socket::RemoteSyslog>(&["remote_syslog", "syslog"]),
    output::<slack::Slack>(&["slack", "buffered_slack"]),
    output::<splunk::Splunk>(&["splunk_hec"]),
    output::<stdout::Stdout>(&["stdout"]),
    output::<socket::Tcp>(&["tcp"]),
    output::<socket::Udp>(&["udp"]),
    output::<warehouse::Warehouse>(&["warehouse"]),
];
