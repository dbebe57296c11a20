#!/usr/bin/env python3
"""suiro beside rsyslog and syslog-ng into a Kafka broker and an OpenSearch node that are running, in turns, checked by count.

    cargo build --release && cargo build --release --example load
    benches/side-by-side/services.py --kafka 127.0.0.1:9092 --opensearch 127.0.0.1:9200
    benches/side-by-side/services.py --kafka 127.0.0.1:9092 --runs 1 --megabytes 50 --write

Each run has a topic or an index of its own; they are left there. Records in Kafka are counted by kcat. The server shares the
cores and takes most of them, so compare CPU seconds, not rates.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import report
from measure import Broken, Tool, Work, cpu_seconds
from rivals import (FILTERS, FLUENTD_RUN, MEMORY, NG, NG_RUN, NG_TAIL, ROOT, RSYSLOG, RSYSLOG_JSON, RSYSLOG_RUN, RSYSLOG_TAIL, TAIL,
                    Rival, built, found)
from workloads import Bench, Run, in_turns

HEADING = "# Into servers\n"
NEXT = "# Cost as the work grows\n"
# A collector that used less of a processor than this for so long has sent what it had.
QUIET, QUIET_SECONDS = 0.03, 2.0
# Documents of a bulk request of the others.
BULK = 2_000

KAFKA_OUT = """
<match t>
  @type kafka2
  brokers {service}
  default_topic {name}
  <format>
    @type json
  </format>
  %s
</match>
"""
SEARCH_OUT = """
<match t>
  @type opensearch
  hosts {service}
  index_name {name}
  %s
</match>
"""
RSYSLOG_TREE = """template(name="whole" type="string" string="%$!%")
module(load="mmjsonparse")
action(type="mmjsonparse" cookie="")
if $!level == "debug" then stop
set $!cluster = "eu1";
set $!env = "prod";
"""
RSYSLOG_KAFKA = """module(load="omkafka")
action(type="omkafka" broker=["{service}"] topic="{name}" template="whole" confParam=["queue.buffering.max.ms=100"]
  queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="4096")
"""
RSYSLOG_SEARCH = """module(load="omelasticsearch")
action(type="omelasticsearch" server="{host}" serverport="{server_port}" template="whole" searchIndex="{name}" searchType=""
  bulkmode="on" maxbytes="8m" queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="%d")
""" % BULK
NG_JSON = "$(format-json --scope nv-pairs --key j.* --shift-levels 1 cluster=eu1 env=prod)"
NG_FILTERS = 'parser { json-parser(prefix("j.")); }; filter { not "${j.level}" eq "debug" };'
NG_KAFKA = 'kafka-c(bootstrap-servers("{service}") topic("{name}") message("' + NG_JSON + '"));'
NG_SEARCH = (
    'http(url("http://{service}/{name}/_bulk") method("POST") headers("Content-Type: application/x-ndjson") '
    'body("{\\"index\\":{}}\\n' + NG_JSON + '\\n") delimiter("") workers(2) batch-lines(%d) batch-timeout(1000));' % BULK
)


def texts_of_fluentd():
    tail = TAIL % "@type json" + FILTERS
    return {"kafka": tail + KAFKA_OUT % MEMORY, "opensearch": tail + SEARCH_OUT % MEMORY}


def texts_of_rsyslog():
    tail = RSYSLOG + RSYSLOG_JSON + RSYSLOG_TAIL + RSYSLOG_TREE
    return {"kafka": tail + RSYSLOG_KAFKA, "opensearch": tail + RSYSLOG_SEARCH}


def texts_of_syslog_ng():
    return {"kafka": NG % (NG_TAIL, NG_KAFKA, NG_FILTERS), "opensearch": NG % (NG_TAIL, NG_SEARCH, NG_FILTERS)}


def rivals(given, suiro):
    """The collectors that are there."""
    rsyslog, syslog_ng = found(given.rsyslog, "rsyslogd"), found(given.syslog_ng, "syslog-ng")
    candidates = [
        Rival("suiro", suiro, FLUENTD_RUN, texts_of_fluentd()),
        Rival("rsyslog", rsyslog, RSYSLOG_RUN, texts_of_rsyslog()),
        Rival("syslog-ng", syslog_ng, NG_RUN, texts_of_syslog_ng()),
    ]
    return [rival for rival in candidates if rival.program and pathlib.Path(rival.program).exists()]


def in_kafka(service, name):
    done = subprocess.run(["kcat", "-b", service, "-C", "-t", name, "-e", "-q", "-o", "beginning", "-f", "."],
                          capture_output=True, timeout=120, check=False)
    return len(done.stdout)


def in_opensearch(service, name):
    def ask(path, method):
        request = urllib.request.Request(f"http://{service}/{name}/{path}", method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    ask("_refresh", "POST")
    return ask("_count", "GET")["count"]


def until_quiet(run, seconds):
    """Waits until the collector has done something and then next to nothing for a while; the time of its last work."""
    deadline, looks = time.monotonic() + seconds, []
    while time.monotonic() < deadline and run.running.alive():
        looks.append((time.monotonic(), cpu_seconds(run.running.pid)))
        while looks[-1][0] - looks[0][0] > QUIET_SECONDS:
            then, used = looks.pop(0)
            if used > 0.2 and looks[-1][1] - used < QUIET * QUIET_SECONDS:
                return then
        time.sleep(0.1)
    raise Broken(f"still at work after {seconds} s: {run.running.last_lines()}")


def tail_to_service(bench, rival, workload, service, count):
    """JSON lines of a file, parsed, filtered, widened, to a server; from the start of the process to its last work."""
    path, counts = bench.lines("json")
    expected = counts["lines"] - counts["debug"]
    name = f"bench-{os.getpid()}-{time.time_ns()}"
    host, _, port = service.rpartition(":")
    with Work() as work:
        with Run(rival, workload, work, input=path, service=service, host=host, server_port=port, name=name) as run:
            end = until_quiet(run, bench.seconds)
            # A collector that waits for a slow answer is quiet too.
            while (arrived := count(service, name)) < expected and time.monotonic() < run.started + bench.seconds:
                time.sleep(0.5)
                end = time.monotonic()
            if arrived != expected:
                raise Broken(f"{arrived} of {expected}: {run.running.last_lines()}")
            return run.figures(counts["bytes"], counts["lines"], end - run.started)


# Name, title, how what arrived is counted.
ALL = (
    ("kafka", "tail, JSON parsed, 20 % dropped, two fields added → Kafka", in_kafka),
    ("opensearch", "tail, JSON parsed, 20 % dropped, two fields added → OpenSearch, bulk requests", in_opensearch),
)


def measured(bench, collectors, workload, service, runs):
    """All runs of one workload, in turns: title, rows, who was skipped and why."""
    key, title, count = workload
    print(f"\n{title}", flush=True)
    return in_turns(title, collectors, runs, lambda rival: tail_to_service(bench, rival, key, service, count))


def section(results, given):
    """This part of the document."""
    about = [
        "Written by `benches/side-by-side/services.py --write`: a Kafka broker and an OpenSearch node on the same two cores,",
        f"the collectors in turns, what arrived counted there. Medians of {given.runs} runs with the range behind them; "
        f"{given.megabytes} MB of input a run,",
        "memory buffers. The server takes most of the processor, so rates are its own; the advantage compares CPU seconds.",
    ]
    tables = report.markdown(results, [], about).split("\n", 1)[1]
    return HEADING + tables.rstrip() + "\n\n"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for key, title, _ in ALL:
        parser.add_argument(f"--{key}", default="", metavar="HOST:PORT", help=f"where it listens, for: {title}")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turns")
    parser.add_argument("--megabytes", type=int, default=100, help="input of each run")
    parser.add_argument("--seconds", type=int, default=120, help="longest run")
    parser.add_argument("--write", action="store_true", help="write this part of docs/performance.md")
    for name in ("suiro", "load", "rsyslog", "syslog-ng"):
        parser.add_argument(f"--{name}", default="", help="path of the program")
    return parser.parse_args()


def main():
    given = options()
    suiro, load = built(given)
    chosen = [(workload, getattr(given, workload[0])) for workload in ALL if getattr(given, workload[0])]
    if not chosen:
        sys.exit("no server: give --kafka or --opensearch")
    collectors = rivals(given, str(suiro))
    with tempfile.TemporaryDirectory(prefix="services-data-") as folder:
        pathlib.Path(folder).chmod(0o755)
        bench = Bench(Tool(load), pathlib.Path(folder), given.megabytes, given.seconds)
        results = [measured(bench, collectors, workload, service, given.runs) for workload, service in chosen]
    if given.write:
        report.write_part(ROOT / "docs" / "performance.md", HEADING, section(results, given), NEXT)


if __name__ == "__main__":
    main()
