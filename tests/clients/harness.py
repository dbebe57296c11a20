"""What the checks of real clients share: a running suiro, its results, and a place for the clients themselves."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
# Longest wait for a condition, in seconds; only a failing check waits that long.
PATIENCE = 30
# Longest run of one client, in seconds.
CLIENT_TIMEOUT = 60
# How long nothing more may come after the expected number of events, in seconds.
QUIET = 0.4

# suiro's own log is no event of a check.
OWN_LOG = """
<label @FLUENT_LOG>
  <match **>
    @type null
  </match>
</label>
"""
# Where every check sends its events: one file of JSON lines with tag and time.
SINK = """
<match **>
  @type file
  path {work}/out
  append true
  <inject>
    tag_key _tag
    time_key _time
    time_type float
  </inject>
  <format>
    @type json
  </format>
  <buffer []>
    @type file
    path {work}/buffer
    flush_mode interval
    flush_interval 0.1
  </buffer>
</match>
"""


class Skipped(Exception):
    """The check can't be made here; the text says what is missing."""


class Failed(Exception):
    """What came out is not what had to come out."""


def target():
    """Where cargo builds."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def installed():
    """Where `run.py --install` puts the clients that come from registries."""
    return target() / "clients"


def need(program, path="/usr/sbin:/sbin:/usr/local/sbin"):
    """The path of a program; skipped where it is not there."""
    override = os.environ.get(program.upper().replace("-", "_"))
    found = override or shutil.which(program, path=f"{os.environ.get('PATH', '')}:{path}")
    if not found:
        raise Skipped(f"{program} is not installed")
    return found


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, look):
    """The first true answer of `look`, within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"waited in vain for {what}")
        time.sleep(0.03)


def run(command, **options):
    """Runs a client to its end; its output is part of a failure."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT, check=False, **options
    )
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command))[:300]}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Process:
    """A process of its own in a directory of its own, stopped by its pid."""

    def __init__(self, command, work, name):
        self.log_path = pathlib.Path(work) / f"{name}.log"
        self.name = name
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=work)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def signal(self, number):
        self.child.send_signal(number)

    def end(self):
        """Stops it in order and gives its status."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise Failed(f"{self.name} did not end in time") from None


class Suiro:
    """One suiro with the given sources; `port(NAME)` numbers stand for `{NAME}` in the text."""

    def __init__(self, sources, sink=SINK, **values):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="suiro-clients-"))
        self.values = values
        self.text = (sources + sink + OWN_LOG).replace("{work}", str(self.work))
        for name, value in values.items():
            self.text = self.text.replace("{" + name + "}", str(value))

    def __enter__(self):
        (self.work / "suiro.conf").write_text(self.text)
        binary = os.environ.get("SUIRO", str(target() / "release" / "suiro"))
        if not pathlib.Path(binary).exists():
            raise Failed(f"{binary} is not there: cargo build --release, or set SUIRO")
        self.process = Process([binary, "-c", str(self.work / "suiro.conf"), "--suppress-config-dump"], self.work, "suiro")
        wait_for("the start of suiro\n" + self.text, self.started)
        return self

    def started(self):
        if self.process.child.poll() is not None:
            raise Failed(f"suiro has ended:\n{self.process.log()}")
        return "is now running" in self.process.log()

    def __exit__(self, kind, error, trace):
        status = self.process.end()
        log = self.process.log()
        if kind is None:
            if status != 0:
                raise Failed(f"suiro ended with {status}:\n{log}")
            shutil.rmtree(self.work)
        elif kind is Failed:
            error.args = (f"{error}\n-- suiro's log ({self.work}):\n{log[-3000:]}",)
        return False

    def results(self):
        lines = []
        for path in sorted(self.work.glob("out*.log")):
            lines.extend(json.loads(line) for line in path.read_text().splitlines())
        return lines

    def events(self, count):
        """All events, which must be `count`, without one more for a moment."""
        wait_for(f"{count} events, there are {len(self.results())}", lambda: len(self.results()) >= count)
        time.sleep(QUIET)
        found = self.results()
        if len(found) != count:
            raise Failed(f"{len(found)} events instead of {count}: {found[:5]} ...")
        return found

    def warnings(self):
        return [line for line in self.process.log().splitlines() if "[warn]" in line or "[error]" in line]


def same(what, found, expected):
    """`found` must be `expected`."""
    if found != expected:
        raise Failed(f"{what}:\n  found    {found!r}\n  expected {expected!r}")


def close(what, found, expected, tolerance):
    """`found` must be within `tolerance` of `expected`."""
    if found is None or abs(found - expected) > tolerance:
        raise Failed(f"{what}: found {found!r}, expected {expected!r} within {tolerance}")
