#!/usr/bin/env python3
"""What suiro's work costs as it grows: tags, routes, chunk keys, cores, a backlog, hops. Each level in turns, checked by count.

    cargo build --release && cargo build --release --example load
    benches/side-by-side/growth.py                     # everything; about 10 minutes
    benches/side-by-side/growth.py --only tags,routes --runs 1
    benches/side-by-side/growth.py --write             # also its part of docs/performance.md

Everything stays on 127.0.0.1; every wait is bounded.
"""

import argparse
import pathlib
import tempfile
import time

import report
from measure import Broken, Lines, Tool, Work, free_port, result_of, wait_for_lines
from rivals import DISK, FILE, FILTERS, FORWARD_IN, HTTP_IN, MEMORY, ROOT, TAIL, Rival, built
from workloads import Bench, Run

HEADING = "# Cost as the work grows\n"
NEXT = "# Part by part\n"
# Events of a forward message, and senders.
BATCH, CONNECTIONS = 100, 4
# Files that are read side by side where cores are compared.
FILES = 4

TAGGED_NULL = """
<match bench.**>
  @type null
  <buffer %s>
    @type %s
    flush_mode interval
    flush_interval 0.2
    chunk_limit_size 8m
    total_limit_size 4g
    overflow_action block
  </buffer>
</match>
"""
ROUTE = """
<filter bench.%05d>
  @type grep
  <exclude>
    key level
    pattern /^never$/
  </exclude>
</filter>
<match bench.%05d>
  @type null
</match>
"""
HELD = """
<match bench.**>
  @type forward
  require_ack_response true
  heartbeat_type none
  <server>
    host 127.0.0.1
    port {to}
  </server>
  <buffer tag>
    @type file
    path {work}/buffer
    flush_mode interval
    flush_interval %s
    flush_at_shutdown false
    flush_thread_count 2
    chunk_limit_size 8m
    total_limit_size 64g
  </buffer>
</match>
"""
HTTP_DISK = """
<match bench.**>
  @type http
  endpoint http://127.0.0.1:{to}/
  content_type application/x-ndjson
  <format>
    @type json
  </format>
  <buffer []>
    @type file
    path {work}/buffer
    flush_mode interval
    flush_interval 0.1
    flush_thread_count 2
    chunk_limit_size 2m
  </buffer>
</match>
"""


def suiro(bench, text, prefix=()):
    """suiro with one configuration, as `Run` starts it."""
    program, *arguments = [*prefix, bench.suiro, "-q", "-c", "{file}"]
    return Rival("suiro", program, arguments, {"": text})


def forwarded(bench, text, tags, share=1.0):
    """Acknowledged forward messages with the tags in turns."""
    path, counts = bench.lines("json")
    events = int(counts["lines"] * share) // BATCH * BATCH
    with Work() as work, Run(suiro(bench, text), "", work) as run:
        before = run.ready()
        sent = bench.tool.run("forward", port=run.values["port"], file=path, batch=BATCH, connections=CONNECTIONS,
                              events=events, seconds=bench.seconds, tags=tags)
        if sent["events"] != events or sent["errors"]:
            raise Broken(f"{sent['events']} of {events} events, {sent['errors']} errors: {run.running.last_lines()}")
        time.sleep(1.5)
        found = run.figures(sent["bytes"], events, sent["seconds"], before)
        return {**found, "p50": sent["p50_us"] / 1e3, "p99": sent["p99_us"] / 1e3}


def tags(bench, number):
    return forwarded(bench, FORWARD_IN + TAGGED_NULL % ("[]", "memory"), number)


def routes(bench, number):
    return forwarded(bench, FORWARD_IN + "".join(ROUTE % (n, n) for n in range(number)), number)


def chunk_keys(bench, number):
    text = FORWARD_IN + TAGGED_NULL % ("tag", "file\n    path {work}/buffer")
    return forwarded(bench, text, number, share=0.3)


def cores(bench, number):
    """JSON lines of several files, parsed, filtered and written; the counter looks at sizes alone until the end."""
    path, counts = bench.lines("json")
    expected = FILES * (counts["lines"] - counts["debug"])
    with Work() as work:
        for n in range(FILES):
            (work / f"in{n}.log").symlink_to(path)
        text = "".join(TAIL.replace("{input}", f"{work}/in{n}.log").replace("/pos", f"/pos{n}") % "@type json"
                       for n in range(FILES))
        text += FILTERS + FILE % MEMORY
        pinned = ("taskset", "-c", ",".join(map(str, range(number))))
        with Run(suiro(bench, text, pinned), "", work) as run:
            lines = Lines(work)
            end = wait_for_lines(run.running, lines, expected, bench.seconds)
            if lines.count != expected:
                raise Broken(f"{lines.count} lines instead of {expected}")
            return run.figures(FILES * counts["bytes"], FILES * counts["lines"], end - run.started)


def backlog(bench, megabytes):
    """Events that wait in a file buffer of an ended process, from the next start to the last acknowledgement."""
    path, counts = bench.lines("json")
    events = int(megabytes * 1e6 / counts["bytes"] * counts["lines"]) // 1000 * 1000
    with Work() as work:
        with Run(suiro(bench, FORWARD_IN + HELD % "1h"), "", work) as run:
            run.ready()
            sent = bench.tool.run("forward", limit=900, port=run.values["port"], file=path, batch=1000,
                                  connections=CONNECTIONS, events=events, seconds=800)
            if sent["events"] != events:
                raise Broken(f"{sent['events']} of {events} events: {run.running.last_lines()}")
        to = free_port()
        sink = bench.tool.start("sink", port=to, kind="forward", expect=events, seconds=800)
        wall = time.time()
        with Run(suiro(bench, FORWARD_IN + HELD % "0.1"), "", work, to=to) as run:
            run.running.wait_for_port(run.values["port"])
            opened = time.monotonic() - run.started
            got = result_of(sink, 900)
            if got["events"] != events:
                raise Broken(f"{got['events']} of {events} events: {run.running.last_lines()}")
            return {**run.figures(sent["bytes"], events, got["last"] / 1e9 - wall), "open": opened}


def chain(bench, level):
    """tail -> forward -> aggregator -> file, acknowledged, with file buffers; costs are those of both daemons."""
    path, counts = bench.lines("nginx")
    with Work() as work:
        near, far = work / "near", work / "far"
        near.mkdir()
        far.mkdir()
        with Run(suiro(bench, FORWARD_IN + FILE % DISK), "", far) as aggregator:
            aggregator.ready()
            text = TAIL % "@type none" + HELD.replace("bench.**", "t") % "0.1"
            with Run(suiro(bench, text), "", near, input=path, to=aggregator.values["port"]) as sender:
                lines = Lines(far)
                end = wait_for_lines(aggregator.running, lines, counts["lines"], bench.seconds, grown=2)
                if lines.count != counts["lines"]:
                    raise Broken(f"{lines.count} lines instead of {counts['lines']}")
                found = sender.figures(counts["bytes"], counts["lines"], end - sender.started)
                other = aggregator.figures(counts["bytes"], counts["lines"], end - sender.started)
                return {**found, **{cost: found[cost] + other[cost] for cost in ("cpu", "peak")}}


def http_to_http(bench, level):
    """HTTP -> file buffer, answered behind the sync -> HTTP, until the last event has arrived."""
    path, counts = bench.lines("json")
    events, to = counts["lines"] // 2 // BATCH * BATCH, free_port()
    sink = bench.tool.start("sink", port=to, kind="http", expect=events, seconds=bench.seconds)
    with Work() as work, Run(suiro(bench, HTTP_IN + HTTP_DISK), "", work, to=to) as run:
        before, wall = run.ready(), time.time()
        sent = bench.tool.run("http", port=run.values["port"], file=path, batch=BATCH, connections=8, events=events,
                              path="/bench.app", seconds=bench.seconds)
        got = result_of(sink, bench.seconds + 10)
        if got["events"] != events:
            raise Broken(f"{got['events']} of {events} events: {run.running.last_lines()}")
        found = run.figures(sent["bytes"], events, got["last"] / 1e9 - wall, before)
        return {**found, "p50": sent["p50_us"] / 1e3, "p99": sent["p99_us"] / 1e3}


# Name, title, what a level is, levels, function. The first level is what the others are compared with.
ALL = (
    ("tags", "forward, 100 events a message, tags in turns → null", "tags", (1, 100, 10_000), tags),
    ("routes", "forward → as many routes, each with a filter of its own → null", "routes", (1, 10, 50), routes),
    ("keys", "forward, acknowledged behind the sync → file buffer, a chunk for each tag → null", "chunk keys",
     (1, 100, 1_000), chunk_keys),
    ("cores", "tail of 4 files, JSON parsed, 20 % dropped, two fields added → JSON lines file", "cores", (1, 2), cores),
    ("backlog", "a backlog in a file buffer, from the start of the process → forward, acknowledged", "MB waiting",
     (500, 2_000, 10_000), backlog),
    ("chain", "tail → forward → aggregator → file, acknowledged, file buffers on both", "aggregators", (1,), chain),
    ("http", "HTTP, 100 events a request, answered behind the sync → file buffer → HTTP", "targets", (1,), http_to_http),
)


def named(level, unit):
    return f"{level:,} {unit}" if level > 1 else f"1 {unit.removesuffix('s')}"


def measured(bench, growth, runs):
    """All runs of one growth, the levels in turns: level to spread of figures."""
    _, title, unit, levels, function = growth
    print(f"\n{title}", flush=True)
    found = {level: [] for level in levels}
    for _ in range(runs):
        for level in levels:
            try:
                found[level].append(function(bench, level))
            except Broken as why:
                print(f"  {named(level, unit)}: no figure: {why}", flush=True)
    rows = [(named(level, unit), report.spread(runs_of)) for level, runs_of in found.items() if runs_of]
    for name, spread in rows:
        opened = f", open after {report.ranged(spread['open'])} s" if "open" in spread else ""
        print(report.line(name, spread) + opened, flush=True)
    return title, rows


def markdown(results, given):
    """This part of the document."""
    out = [HEADING, "Written by `benches/side-by-side/growth.py --write`: suiro alone, the levels in turns. Medians of "
           f"{given.runs} runs with the range behind", f"them; {given.megabytes} MB of input a run. Peak is resident "
           "memory of all suiros in the run. Compare within a table: the machine", "changes its speed between them.", ""]
    for title, rows in results:
        shown = [(t, k) for t, k in (*report.COLUMNS, ("open s", "open")) if any(k in f for _, f in rows)]
        out += [f"## {title}", "", "| |" + "".join(f" {t} |" for t, _ in shown) + " CPU against the first |",
                "|---|" + "---|" * (len(shown) + 1)]
        first = rows[0][1]["cpu_gb"][1] if rows else 1
        for name, spread in rows:
            cells = "".join(f" {report.ranged(spread[k]) if k in spread else '-'} |" for _, k in shown)
            out.append(f"| {name} |{cells} {spread['cpu_gb'][1] / first:.2f} |")
        out.append("")
    return "\n".join(out) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="divided by commas: " + ", ".join(g[0] for g in ALL))
    parser.add_argument("--runs", type=int, default=3, help="runs of each level, in turns")
    parser.add_argument("--megabytes", type=int, default=200, help="input of each run")
    parser.add_argument("--seconds", type=int, default=120, help="longest run")
    parser.add_argument("--write", action="store_true", help="write this part of docs/performance.md")
    for name in ("suiro", "load"):
        parser.add_argument(f"--{name}", default="", help="path of the program")
    given = parser.parse_args()
    program, load = built(given)
    with tempfile.TemporaryDirectory(prefix="growth-data-") as folder:
        bench = Bench(Tool(load), pathlib.Path(folder), given.megabytes, given.seconds)
        bench.suiro = str(program)
        results = [measured(bench, g, given.runs) for g in ALL if not given.only or g[0] in given.only.split(",")]
    if given.write:
        report.write_part(ROOT / "docs" / "performance.md", HEADING, markdown(results, given), NEXT)


if __name__ == "__main__":
    main()
