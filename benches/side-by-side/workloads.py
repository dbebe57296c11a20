"""What is measured. Each function runs one collector once and gives its figures, or raises `Broken` with the reason.

Figures: `mb` and `events` with their `seconds` (rates follow), `cpu` seconds and `gb` of input, `peak` and `rss` megabytes,
`p50` and `p99` in milliseconds, `rate` for the highest rate without loss.
"""

import subprocess
import time

import report
from measure import Broken, Lines, Running, Work, cpu_seconds, free_port, memory, result_of, wait_for_lines

# Rates of datagrams that are tried, in order.
UDP_RATES = (20_000, 50_000, 100_000, 150_000, 200_000, 300_000, 400_000, 500_000)
UDP_SECONDS = 3
# Events a second of the latency workload, events of one request, and its seconds.
LATENCY_RATE, LATENCY_BATCH, LATENCY_SECONDS = 5_000, 10, 8
# How long memory settles before it is read.
SETTLE = 3


class Bench:
    """What all runs share: generated data, the tool, limits."""

    def __init__(self, tool, folder, megabytes, seconds):
        self.tool, self.folder, self.seconds = tool, folder, seconds
        self.bytes = megabytes * 1_000_000
        self.data = {}

    def lines(self, kind):
        """The file of log lines of a kind and its counts; made once."""
        if kind not in self.data:
            path = self.folder / f"{kind}.log"
            self.data[kind] = (path, self.tool.run("lines", kind=kind, bytes=self.bytes, out=path))
        return self.data[kind]


class Run:
    """One collector under one workload, started and stopped."""

    def __init__(self, rival, workload, work, **values):
        self.work = work
        self.values = {"work": work, "port": free_port(), "to": free_port(), **values}
        self.started = time.monotonic()
        self.running = Running(rival.prepare(workload, work, self.values), work, rival.environment)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.running.stop()

    def ready(self):
        """Waits for the port; gives the processor time until then, which does not count."""
        self.running.wait_for_port(self.values["port"])
        time.sleep(0.3)
        return cpu_seconds(self.running.pid)

    def figures(self, size, events, seconds, before=0.0):
        pid = self.running.pid
        return {"mb": size / 1e6, "gb": size / 1e9, "events": events, "seconds": seconds,
                "cpu": cpu_seconds(pid) - before, "peak": memory(pid, "VmHWM")}


def in_turns(title, rivals, runs, figures_of, skipped=()):
    """All runs of one workload: title, rows of figures, and who was skipped and why. One that fails once is out."""
    figures, skipped = {rival.name: [] for rival in rivals}, list(skipped)
    for _ in range(runs):
        for rival in rivals:
            if rival.name not in figures:
                continue
            try:
                figures[rival.name].append(figures_of(rival))
            except (Broken, subprocess.TimeoutExpired) as why:
                skipped.append((rival.name, " ".join(str(why).split())[:400]))
                del figures[rival.name]
    rows = [(name, report.spread(found)) for name, found in figures.items() if found]
    for name, found in rows:
        print(report.line(name, found), flush=True)
    for name, why in skipped:
        print(f"  {name:15} skipped: {why}", flush=True)
    return title, rows, skipped


# ---- from files ----


def tail_to_file(bench, rival, workload, kind):
    """Lines of a file that is there, to a file of JSON lines; from the start of the process to the last line."""
    path, counts = bench.lines(kind)
    expected = counts["lines"] - (counts["debug"] if workload == "json" else 0)
    with Work() as work, Run(rival, workload, work, input=path) as run:
        lines = Lines(work)
        end = wait_for_lines(run.running, lines, expected, bench.seconds)
        if lines.count != expected:
            raise Broken(f"{lines.count} lines instead of {expected}")
        return run.figures(counts["bytes"], counts["lines"], end - run.started)


def tail_to_tcp(bench, rival, workload, kind):
    """Raw lines to a TCP port."""
    path, counts = bench.lines(kind)
    to = free_port()
    sink = bench.tool.start("sink", port=to, kind="lines", expect=counts["lines"], seconds=bench.seconds)
    time.sleep(0.2)
    with Work() as work:
        wall = time.time()
        with Run(rival, workload, work, input=path, to=to) as run:
            got = result_of(sink, bench.seconds + 10)
            if got["events"] != counts["lines"]:
                raise Broken(f"{got['events']} lines instead of {counts['lines']}")
            return run.figures(counts["bytes"], counts["lines"], got["last"] / 1e9 - wall)


def idle(bench, rival, workload, files):
    """Memory of a collector that tails files in which nothing happens."""
    with Work() as work:
        logs = work / "logs"
        logs.mkdir()
        for number in range(files):
            (logs / f"{number}.log").write_text("a line\n")
        with Run(rival, workload, work, input=logs / "*.log", directory=logs) as run:
            time.sleep(SETTLE + files / 2_000)
            run.running.alive()
            before = cpu_seconds(run.running.pid)
            time.sleep(SETTLE)
            return {"rss": memory(run.running.pid, "VmRSS"), "idle_cpu": (cpu_seconds(run.running.pid) - before) / SETTLE}


# ---- from senders ----


def senders_to_null(bench, rival, workload, command, batch, connections):
    """Acknowledged events of senders that wait for each answer; figures of the senders."""
    path, counts = bench.lines("json")
    events = counts["lines"] // batch * batch
    with Work() as work, Run(rival, workload, work) as run:
        before = run.ready()
        sent = bench.tool.run(command, port=run.values["port"], file=path, batch=batch, connections=connections,
                              events=events, seconds=bench.seconds, path="/bench.app")
        if sent["events"] != events or sent["errors"]:
            raise Broken(f"{sent['events']} of {events} events, {sent['errors']} errors: {run.running.last_lines()}")
        time.sleep(1.5)
        figures = run.figures(sent["bytes"], sent["events"], sent["seconds"], before)
        return {**figures, "p50": sent["p50_us"] / 1e3, "p99": sent["p99_us"] / 1e3}


def syslog_to_file(bench, rival, workload, connections):
    """RFC 5424 lines over TCP to a file of JSON lines."""
    path, counts = bench.lines("syslog")
    with Work() as work, Run(rival, workload, work) as run:
        before = run.ready()
        lines, start = Lines(work), time.monotonic()
        bench.tool.run("tcp", port=run.values["port"], file=path, connections=connections, seconds=bench.seconds)
        end = wait_for_lines(run.running, lines, counts["lines"], bench.seconds)
        if lines.count != counts["lines"]:
            raise Broken(f"{lines.count} lines instead of {counts['lines']}")
        return run.figures(counts["bytes"], counts["lines"], end - start, before)


def relay(bench, rival, workload, batch, connections):
    """Forward messages in and out, both acknowledged; until the last event has arrived."""
    path, counts = bench.lines("json")
    events, to = counts["lines"] // batch * batch, free_port()
    sink = bench.tool.start("sink", port=to, kind="forward", expect=events, seconds=bench.seconds)
    with Work() as work, Run(rival, workload, work, to=to) as run:
        before, wall = run.ready(), time.time()
        sent = bench.tool.run("forward", port=run.values["port"], file=path, batch=batch, connections=connections,
                              events=events, seconds=bench.seconds)
        got = result_of(sink, bench.seconds + 10)
        if got["events"] != events:
            raise Broken(f"{got['events']} of {events} events: {run.running.last_lines()}")
        return run.figures(sent["bytes"], events, got["last"] / 1e9 - wall, before)


def latency(bench, rival, workload):
    """From the POST of an event to its arrival at an HTTP target, at a steady rate."""
    path, _ = bench.lines("json")
    events, to = LATENCY_RATE * LATENCY_SECONDS, free_port()
    sink = bench.tool.start("sink", port=to, kind="http", expect=events, seconds=LATENCY_SECONDS + 20)
    with Work() as work, Run(rival, workload, work, to=to) as run:
        before = run.ready()
        bench.tool.run("http", port=run.values["port"], file=path, batch=LATENCY_BATCH, connections=8, events=events,
                       rate=LATENCY_RATE, marks=1, path="/bench.app", seconds=LATENCY_SECONDS + 10)
        got = result_of(sink, LATENCY_SECONDS + 30)
        if got["waits"] < events:
            raise Broken(f"{got['waits']} of {events} events arrived: {run.running.last_lines()}")
        pid = run.running.pid
        return {"p50": got["p50_us"] / 1e3, "p99": got["p99_us"] / 1e3, "cpu": cpu_seconds(pid) - before,
                "peak": memory(pid, "VmHWM")}


def datagrams(bench, rival, workload):
    """The highest rate at which every datagram is in the file; past what the sender reaches here, that."""
    path, _ = bench.lines("syslog")
    best = 0
    for rate in UDP_RATES:
        with Work() as work, Run(rival, workload, work) as run:
            time.sleep(1.0)
            run.running.alive()
            sent = bench.tool.run("udp", port=run.values["port"], file=path, rate=rate, seconds=UDP_SECONDS)
            try:
                wait_for_lines(run.running, Lines(work), sent["events"], 8)
            except Broken:
                break
            best = max(best, min(rate, round(sent["events"] / sent["seconds"])))
            if sent["seconds"] > UDP_SECONDS * 1.05:
                break  # the sender can't keep up
    if not best:
        raise Broken(f"loses datagrams at {UDP_RATES[0]} a second")
    return {"rate": best}


# Name, title, function and its arguments.
ALL = (
    ("raw", "tail, raw lines → JSON lines file", tail_to_file, ("nginx",)),
    ("tcp", "tail, raw lines → TCP", tail_to_tcp, ("nginx",)),
    ("json", "tail, JSON parsed, 20 % dropped, two fields added → JSON lines file", tail_to_file, ("json",)),
    ("regexp", "tail, nginx lines by regular expression → JSON lines file", tail_to_file, ("nginx",)),
    ("nginx", "tail, nginx lines by the built-in parser → JSON lines file", tail_to_file, ("nginx",)),
    ("http", "HTTP, JSON arrays of 100 events, 8 connections → null", senders_to_null, ("http", 100, 8)),
    ("http-disk", "HTTP → file buffer → null, answered behind the sync", senders_to_null, ("http", 100, 8)),
    ("syslog", "syslog RFC 5424 over TCP, 4 connections → file", syslog_to_file, (4,)),
    ("forward", "forward, 1,000 events a message, acknowledged → null", senders_to_null, ("forward", 1000, 4)),
    ("relay", "forward → forward, acknowledged on both sides", relay, (1000, 4)),
    ("latency", "HTTP → HTTP at 5,000 events a second, POST to arrival", latency, ()),
    ("udp", "UDP syslog → file, highest rate without loss", datagrams, ()),
    ("idle-100", "idle, 100 tailed files", idle, (100,)),
    ("idle-10000", "idle, 10,000 tailed files", idle, (10_000,)),
)
