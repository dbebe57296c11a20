"""Processes under measurement: CPU seconds and memory from /proc, ports, waits, all bounded in time."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
# Longest wait for a start, in seconds.
START = 30
# Longest wait for an end in order, in seconds.
END = 15
# Pause between two looks, in seconds.
LOOK = 0.01


class Broken(Exception):
    """A run that gave no figure, and why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid):
    """A process and its children, theirs included."""
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        try:
            for task in pathlib.Path(f"/proc/{one}/task").iterdir():
                left.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            pass
    return found


def cpu_seconds(pid):
    """User and system time of a process and its children."""
    total = 0
    for one in family(pid):
        try:
            fields = pathlib.Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(fields[n]) for n in (11, 12, 13, 14))
        except OSError:
            pass
    return total / TICKS


def memory(pid, what):
    """Megabytes of a process and its children: VmHWM is the peak, VmRSS what is resident now."""
    total = 0
    for one in family(pid):
        try:
            for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
                if line.startswith(what):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


class Running:
    """A collector in a directory of its own, stopped by its pid."""

    def __init__(self, command, work, environment=None):
        self.log = work / "log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                command, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})})
        self.pid = self.child.pid

    def alive(self):
        if self.child.poll() is not None:
            raise Broken(f"ended with {self.child.returncode}: {self.last_lines()}")
        return True

    def last_lines(self):
        return self.log.read_text(errors="replace")[-600:]

    def wait_for_port(self, port):
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.alive():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(LOOK)
        raise Broken(f"no port after {START} s: {self.last_lines()}")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(END)
            except subprocess.TimeoutExpired:
                for one in reversed(family(self.pid)):
                    os.kill(one, signal.SIGKILL)
                self.child.wait()


class Work:
    """A directory for one run, removed behind it."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="side-by-side-"))
        self.path.chmod(0o755)
        return self.path

    def __exit__(self, *error):
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.path, ignore_errors=True)


class Lines:
    """Counts the lines of files as they grow; what was counted is not read again."""

    def __init__(self, work, pattern="out*"):
        self.work, self.pattern, self.seen, self.count = work, pattern, {}, 0

    def size(self):
        return sum(path.stat().st_size for path in self.files())

    def files(self):
        return [p for p in sorted(self.work.glob(self.pattern)) if p.is_file()]

    def update(self):
        for path in self.files():
            with open(path, "rb") as file:
                file.seek(self.seen.get(path, 0))
                while piece := file.read(1 << 20):
                    self.count += piece.count(b"\n")
                    self.seen[path] = file.tell()
        return self.count


def wait_for_lines(running, lines, expected, seconds, grown=0.5):
    """Waits until the files hold `expected` lines; gives the time of the last growth. Files are only read once still."""
    deadline = time.monotonic() + seconds
    last_size, last_growth = -1, time.monotonic()
    while time.monotonic() < deadline and running.alive():
        size, now = lines.size(), time.monotonic()
        if size != last_size:
            last_size, last_growth = size, now
        elif now - last_growth > grown and size > 0:
            if lines.update() >= expected:
                return last_growth
            grown = min(grown * 2, 4)
        time.sleep(LOOK)
    raise Broken(f"{lines.update()} of {expected} lines after {seconds} s: {running.last_lines()}")


class Tool:
    """The generator and counter."""

    def __init__(self, path):
        self.path = path

    def run(self, command, limit=120, **options):
        done = subprocess.run(self.arguments(command, options), capture_output=True, text=True, timeout=limit, check=False)
        if done.returncode:
            raise Broken(f"load {command}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def start(self, command, **options):
        return subprocess.Popen(self.arguments(command, options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def arguments(self, command, options):
        return [self.path, command, *(f"{name}={value}" for name, value in options.items())]


def result_of(process, seconds):
    """What a started tool printed in the end."""
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Broken("the counter did not end") from None
    if process.returncode:
        raise Broken(error.strip())
    return json.loads(out)
