#!/usr/bin/env python3
"""suiro beside others to and from services: OTLP, Loki, Splunk, HTTP, syslog, Kafka, OpenSearch. In turns, checked by count.

    cargo build --release && cargo build --release --example load
    benches/side-by-side/services.py --kafka 127.0.0.1:9092 --opensearch 127.0.0.1:9200 --write
    benches/side-by-side/services.py --only loki,splunk --runs 1 --megabytes 50

rsyslog and syslog-ng are taken where they are installed, of the OTel Collector a path is asked for. Kafka, OpenSearch and an
S3 server (key `test`, secret `testsecret`; counting there needs boto3 and pyarrow) must run already; each run there has a
topic, an index or a prefix of its own, which is left. The other targets are stand-ins that
count and answer as the service does. Every wait is bounded. `--write` replaces the tables that were measured and keeps the
rest.
"""

import argparse
import pathlib
import sys
import tempfile

import report
from measure import Tool
from rivals import FLUENTD_RUN, NG_RUN, ROOT, RSYSLOG_RUN, Rival, built, found
from service_runs import (NEEDLE, grpc_to_null, http_to_s3, in_kafka, in_opensearch, kafka_to_file, kafka_to_null,
                          otlp_to_null, tail_to_grpc, tail_to_server, tail_to_sink)
from service_texts import lack, of_otelcol, of_rsyslog, of_suiro, of_syslog_ng
from workloads import Bench, in_turns

HEADING = "# To and from services\n"
NEXT = "# Cost as the work grows\n"
TAIL = "tail, JSON parsed, 20 % dropped, two fields added → "


def http(answer):
    """The options of a target over HTTP."""
    return {"kind": "http", "needle": NEEDLE, "answer": answer}


# Name, title, function, its options, and the server that it needs.
ALL = (
    ("otlp-out", TAIL + "OTLP over HTTP", tail_to_sink, http("otlp"), None),
    ("otlp-grpc-out", TAIL + "OTLP over gRPC", tail_to_grpc, {}, None),
    ("loki", TAIL + "Loki, JSON", tail_to_sink, http("loki"), None),
    ("splunk", TAIL + "Splunk HEC", tail_to_sink, http("splunk"), None),
    ("http-out", TAIL + "HTTP, JSON lines", tail_to_sink, http("json"), None),
    ("syslog-out", TAIL + "syslog RFC 5424 over TCP, octet counting", tail_to_sink, {"kind": "frames"}, None),
    ("udp-out", TAIL + "syslog RFC 5424 over UDP", tail_to_sink, {"kind": "datagrams"}, None),
    ("kafka", TAIL + "Kafka", tail_to_server, {"count": in_kafka}, "kafka"),
    ("opensearch", TAIL + "OpenSearch, bulk requests", tail_to_server, {"count": in_opensearch}, "opensearch"),
    ("s3-json", "HTTP, 100 events a request, answered behind the sync → S3, gzip JSON", http_to_s3, {}, "s3"),
    ("s3-parquet", "HTTP, 100 events a request, answered behind the sync → S3, Parquet", http_to_s3, {}, "s3"),
    ("otlp-in", "OTLP over HTTP, 1,000 records a request, 4 connections → null", otlp_to_null, {}, None),
    ("otlp-grpc-in", "OTLP over gRPC from a suiro that reads a file → null", grpc_to_null, {}, None),
    ("kafka-in", "Kafka, a topic from its start → file of its messages", kafka_to_file, {}, "kafka"),
    ("kafka-in-json", "Kafka, a topic from its start, JSON parsed → null", kafka_to_null, {}, "kafka"),
)


def rivals(given, program):
    """The collectors that are there."""
    candidates = [
        Rival("suiro", program, FLUENTD_RUN, of_suiro()),
        Rival("rsyslog", found(given.rsyslog, "rsyslogd"), RSYSLOG_RUN, of_rsyslog()),
        Rival("syslog-ng", found(given.syslog_ng, "syslog-ng"), NG_RUN, of_syslog_ng()),
        Rival("OTel Collector", found(given.otelcol, "otelcol-contrib", "otelcol"), ["--config", "{file}"],
              of_otelcol(), file="conf.yaml"),
    ]
    wanted = [name for name in given.rivals.split(",") if name]
    there = [rival for rival in candidates if rival.program and pathlib.Path(rival.program).exists()]
    return [rival for rival in there if not wanted or any(rival.name.startswith(name) for name in wanted)]


def measured(bench, collectors, workload, given):
    """All runs of one workload, in turns: title, rows, who was skipped and why."""
    key, title, function, options, server = workload
    print(f"\n{title}", flush=True)
    if server:
        options = {**options, "service": getattr(given, server)}
    able = [rival for rival in collectors if key in rival.texts]
    skipped = [(rival.name, lack(rival.name, key)) for rival in collectors if rival not in able]
    return in_turns(title, able, given.runs, lambda rival: function(bench, rival, key, **options), skipped)


def section(tables):
    """This part of the document, with the tables in their order."""
    about = [
        "Written by `benches/side-by-side/services.py --write`: the collectors in turns, what arrived counted by who got it.",
        "Kafka, OpenSearch and S3 (SeaweedFS) are real and take most of the same two cores; OTLP over gRPC ends in another",
        "suiro; the other targets are stand-ins that count and answer as the service does. Memory buffers, nothing compressed,",
        "batches as large as the manuals advise; into S3 file buffers and gzip or Snappy. Medians with the range behind them.",
        "Target, collector and other work share the cores, so rates",
        "move by a factor of two; the advantage compares CPU seconds for a GB of input.",
    ]
    return "\n".join([HEADING, *about, "", *(tables[title] for _, title, *_ in ALL if title in tables), ""])


def tables_of(results, given):
    """Title to table."""
    how = f"{given.runs} runs of {given.megabytes} MB."
    return {result[0]: "\n".join(report.table(*result, how)) for result in results}


def tables_before(page):
    """The tables that the document has, title to table."""
    part = page.read_text().partition(HEADING)[2].partition(NEXT)[0]
    return {table.partition("\n")[0]: "## " + table.rstrip() + "\n" for table in part.split("\n## ")[1:]}


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for server in ("kafka", "opensearch", "s3"):
        parser.add_argument(f"--{server}", default="", metavar="HOST:PORT", help="where it listens; left out without")
    parser.add_argument("--only", default="", help="workloads, divided by commas: " + ", ".join(w[0] for w in ALL))
    parser.add_argument("--rivals", default="", help="collectors, divided by commas, as they are named in the output")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turns")
    parser.add_argument("--megabytes", type=int, default=100, help="input of each run")
    parser.add_argument("--seconds", type=int, default=120, help="longest run")
    parser.add_argument("--write", action="store_true", help="write this part of docs/performance.md")
    for name in ("suiro", "load", "rsyslog", "syslog-ng", "otelcol"):
        parser.add_argument(f"--{name}", default="", help="path of the program")
    return parser.parse_args()


def main():
    given = options()
    program, load = built(given)
    wanted = [name for name in given.only.split(",") if name]
    chosen = [w for w in ALL if (not wanted or w[0] in wanted) and (not w[4] or getattr(given, w[4]))]
    if not chosen:
        sys.exit("nothing to do: see --only; Kafka, OpenSearch and S3 need --kafka, --opensearch and --s3")
    collectors = rivals(given, str(program))
    with tempfile.TemporaryDirectory(prefix="services-data-") as folder:
        pathlib.Path(folder).chmod(0o755)
        bench = Bench(Tool(load), pathlib.Path(folder), given.megabytes, given.seconds)
        bench.suiro, bench.topics = str(program), {}
        results = [measured(bench, collectors, workload, given) for workload in chosen]
    if given.write:
        page = ROOT / "docs" / "performance.md"
        tables = {**tables_before(page), **tables_of(results, given)}
        report.write_part(page, HEADING, section(tables), NEXT)


if __name__ == "__main__":
    main()
