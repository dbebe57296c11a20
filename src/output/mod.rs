//! Outputs: the table of `<match> @type`. `copy`, `relabel` and `roundrobin` are targets of the engine's routes.

mod azurestorage;
mod bigquery;
mod buffer;
mod clickhouse;
mod exec;
mod exec_filter;
mod fields;
mod file;
pub(crate) mod forward;
mod gcs;
mod http;
mod kafka;
mod null;
pub mod object;
mod object_url;
mod pg;
mod postgresql;
mod redshift;
mod s3;
mod secondary_file;
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
    output::<exec::Exec>(&["exec"]),
    output::<exec_filter::ExecFilter>(&["exec_filter"]),
    output::<file::File>(&["file"]),
    output::<forward::Forward>(&["forward"]),
    output::<gcs::Gcs>(&["gcs"]),
    output::<http::Http>(&["http"]),
    output::<kafka::Kafka>(&["kafka", "kafka2", "rdkafka2"]),
    output::<null::Null>(&["null"]),
    output::<object_url::ObjectUrl>(&["object"]),
    output::<postgresql::Postgresql>(&["postgresql"]),
    output::<redshift::Redshift>(&["redshift"]),
    output::<s3::S3>(&["s3"]),
    output::<secondary_file::SecondaryFile>(&["secondary_file"]),
    output::<stdout::Stdout>(&["stdout"]),
    output::<warehouse::Warehouse>(&["warehouse"]),
];
