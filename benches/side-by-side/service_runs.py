"""Runs of the workloads of `services.py`: each function runs one collector once and gives its figures or raises `Broken`."""

import gzip
import io
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request

from measure import Broken, Lines, Work, cpu_seconds, free_port, result_of, wait_for_lines
from rivals import FLUENTD_RUN, Rival
from service_texts import OTLP_IN, of_suiro
from workloads import Run

# A collector that used less of a processor than this for so long has sent what it had.
QUIET, QUIET_SECONDS = 0.03, 2.0
# What each event has once, whatever the format.
NEEDLE = "duration_ms"
# Records of an OTLP request, and senders.
OTLP_BATCH, OTLP_CONNECTIONS = 1_000, 4
# Events of an HTTP request.
HTTP_BATCH = 100
# Pause between two looks at a collector's own count.
LOOK = 0.1
# What collectors count themselves: names of metrics, of suiro and of the OTel Collector.
COUNTED = re.compile(
    r"^(?:suiro_events_in_total|otelcol_receiver_accepted_log_records(?:_total)?)\{[^}]*\} ([0-9.e+]+)$", re.M)


# ---- what arrived, by who got it ----


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


def in_s3(service, prefix):
    """Events of the objects below a prefix: lines of JSON, or rows of Parquet."""
    # Only here, so that everything else runs without them.
    import boto3
    import pyarrow.parquet

    bucket, events = s3(boto3, service), 0
    for found in bucket.objects.filter(Prefix=f"{prefix}/"):
        body = found.get()["Body"].read()
        events += (pyarrow.parquet.ParquetFile(io.BytesIO(body)).metadata.num_rows if body.startswith(b"PAR1")
                   else gzip.decompress(body).count(b"\n"))
    return events


def s3(boto3, service):
    """The bucket; made where it is not there."""
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "testsecret", "region_name": "us-east-1"}
    bucket = boto3.resource("s3", endpoint_url=f"http://{service}", **keys).Bucket("bench")
    if not bucket.creation_date:
        bucket.create()
    return bucket


def counted(port):
    """Events that a collector says it has taken in."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return sum(int(float(number)) for number in COUNTED.findall(answer.read().decode()))
    except (urllib.error.URLError, ConnectionError):
        return 0


def until_counted(running, port, expected, end):
    """Waits until a collector has counted what is expected; the time of that."""
    seen = 0
    while time.monotonic() < end and running.alive():
        now = time.monotonic()
        if (seen := counted(port)) >= expected:
            return now
        time.sleep(LOOK)
    raise Broken(f"{seen} of {expected} counted: {running.last_lines()}")


def exactly(port, expected):
    """That no more was counted in the end than what is expected."""
    if (seen := counted(port)) != expected:
        raise Broken(f"{seen} counted instead of {expected}")


# ---- from a file ----


def kept(counts):
    """Lines that are not dropped."""
    return counts["lines"] - counts["debug"]


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


def tail_to_server(bench, rival, workload, service, count):
    """To a server that counts what it has; from the start of the process to its last work."""
    path, counts = bench.lines("json")
    name = f"bench-{os.getpid()}-{time.time_ns()}"
    host, _, port = service.rpartition(":")
    with Work() as work:
        with Run(rival, workload, work, input=path, service=service, host=host, server_port=port, name=name) as run:
            end = until_quiet(run, bench.seconds)
            # A collector that waits for a slow answer is quiet too.
            while (arrived := count(service, name)) < kept(counts) and time.monotonic() < run.started + bench.seconds:
                time.sleep(0.5)
                end = time.monotonic()
            if arrived != kept(counts):
                raise Broken(f"{arrived} of {kept(counts)}: {run.running.last_lines()}")
            return run.figures(counts["bytes"], counts["lines"], end - run.started)


def tail_to_sink(bench, rival, workload, kind, **options):
    """To a target that counts and answers as the service does; from the start of the process to the last event."""
    path, counts = bench.lines("json")
    to = free_port()
    sink = bench.tool.start("sink", port=to, kind=kind, expect=kept(counts), seconds=bench.seconds, **options)
    time.sleep(0.2)
    with Work() as work:
        wall = time.time()
        with Run(rival, workload, work, input=path, to=to) as run:
            got = result_of(sink, bench.seconds + 10)
            if got["events"] != kept(counts):
                raise Broken(f"{got['events']} events instead of {kept(counts)}: {run.running.last_lines()}")
            return run.figures(counts["bytes"], counts["lines"], got["last"] / 1e9 - wall)


def suiro(bench, text):
    """suiro as the other side of a connection, the same for every collector."""
    return Rival("suiro", bench.suiro, FLUENTD_RUN, {"": text})


def tail_to_grpc(bench, rival, workload):
    """To an OTLP receiver over gRPC, suiro for each collector; from the start of the process to the last event."""
    path, counts = bench.lines("json")
    with Work() as there, Run(suiro(bench, OTLP_IN % ("grpc", "grpc")), "", there, count=free_port()) as receiver:
        receiver.ready()
        with Work() as work, Run(rival, workload, work, input=path, to=receiver.values["port"]) as run:
            end = until_counted(run.running, receiver.values["count"], kept(counts), run.started + bench.seconds)
            time.sleep(0.5)
            exactly(receiver.values["count"], kept(counts))
            return run.figures(counts["bytes"], counts["lines"], end - run.started)


# ---- from senders ----


def otlp_to_null(bench, rival, workload):
    """Log records by OTLP over HTTP from senders that wait for each answer; figures of the senders."""
    path, counts = bench.lines("json")
    events = counts["lines"] // OTLP_BATCH * OTLP_BATCH
    with Work() as work, Run(rival, workload, work, count=free_port()) as run:
        before = run.ready()
        sent = bench.tool.run("otlp", port=run.values["port"], file=path, batch=OTLP_BATCH,
                              connections=OTLP_CONNECTIONS, events=events, seconds=bench.seconds)
        if sent["events"] != events or sent["errors"]:
            raise Broken(f"{sent['events']} of {events} records, {sent['errors']} errors: {run.running.last_lines()}")
        until_counted(run.running, run.values["count"], events, time.monotonic() + 10)
        exactly(run.values["count"], events)
        figures = run.figures(sent["bytes"], sent["events"], sent["seconds"], before)
        return {**figures, "p50": sent["p50_us"] / 1e3, "p99": sent["p99_us"] / 1e3}


def grpc_to_null(bench, rival, workload):
    """Log records by OTLP over gRPC from suiro, which reads them from a file; from its start to the last record."""
    path, counts = bench.lines("json")
    with Work() as work, Run(rival, workload, work, count=free_port()) as run:
        before = run.ready()
        sender = suiro(bench, of_suiro()["otlp-grpc-out"])
        with Work() as there, Run(sender, "", there, input=path, to=run.values["port"]) as sending:
            end = until_counted(run.running, run.values["count"], kept(counts), sending.started + bench.seconds)
            time.sleep(0.5)
            exactly(run.values["count"], kept(counts))
            size = counts["bytes"] * kept(counts) / counts["lines"]
            return run.figures(size, kept(counts), end - sending.started, before)


def http_to_s3(bench, rival, workload, service):
    """Events by HTTP, answered behind the sync, to objects; from the first request to the last work."""
    import boto3

    s3(boto3, service)
    path, counts = bench.lines("json")
    events = counts["lines"] // HTTP_BATCH * HTTP_BATCH
    name = f"bench-{time.time_ns()}"
    with Work() as work, Run(rival, workload, work, service=service, name=name) as run:
        before, start = run.ready(), time.monotonic()
        sent = bench.tool.run("http", port=run.values["port"], file=path, batch=HTTP_BATCH, connections=8, events=events,
                              path="/bench.app", seconds=bench.seconds)
        end = until_quiet(run, bench.seconds)
        if (arrived := in_s3(service, name)) != events:
            raise Broken(f"{arrived} of {events}, {sent['errors']} errors: {run.running.last_lines()}")
        figures = run.figures(sent["bytes"], events, end - start, before)
        return {**figures, "p50": sent["p50_us"] / 1e3, "p99": sent["p99_us"] / 1e3}


# ---- from Kafka ----


def filled(bench, service):
    """The topic with all lines, a message each; made once."""
    if not (name := bench.topics.get(service)):
        path, _ = bench.lines("json")
        name = bench.topics[service] = f"bench-in-{os.getpid()}-{time.time_ns()}"
        subprocess.run(["kcat", "-b", service, "-P", "-t", name, "-l", path], timeout=300, check=True)
    return name


def values(bench, service):
    """What a configuration needs to read that topic from its start, with a group of its own."""
    group = f"bench-{time.time_ns()}"
    return {"service": service, "name": filled(bench, service), "group": group, "count": free_port()}


def kafka_to_file(bench, rival, workload, service):
    """A topic from its start to a file of its messages; from the start of the process to the last line."""
    _, counts = bench.lines("json")
    with Work() as work, Run(rival, workload, work, **values(bench, service)) as run:
        lines = Lines(work)
        end = wait_for_lines(run.running, lines, counts["lines"], bench.seconds)
        if lines.count != counts["lines"] or lines.size() != counts["bytes"]:
            raise Broken(f"{lines.count} lines, {lines.size()} bytes instead of {counts['lines']}, {counts['bytes']}")
        return run.figures(counts["bytes"], counts["lines"], end - run.started)


def kafka_to_null(bench, rival, workload, service):
    """A topic from its start, each message parsed; from the start of the process to the last one."""
    _, counts = bench.lines("json")
    with Work() as work, Run(rival, workload, work, **values(bench, service)) as run:
        end = until_counted(run.running, run.values["count"], counts["lines"], run.started + bench.seconds)
        time.sleep(0.5)
        exactly(run.values["count"], counts["lines"])
        return run.figures(counts["bytes"], counts["lines"], end - run.started)
