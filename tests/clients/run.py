#!/usr/bin/env python3
"""Sends events to suiro with the clients that people use, and looks at what arrives.

    cargo build --release
    tests/clients/run.py --install     # once: the clients that come from PyPI, npm and the Go proxy
    tests/clients/run.py               # all checks; one that can't be made here is skipped with its reason
    tests/clients/run.py rsyslog nginx # checks whose names hold one of the words

Debian's packages rsyslog, rsyslog-openssl, syslog-ng-core, nginx-light, bsdutils and curl give the rest. Where rsyslog
and syslog-ng can't be installed together, unpack one with `dpkg -x` and name its program in SYSLOG_NG or RSYSLOGD.
SUIRO names another binary. Loopback only; every wait is bounded.
"""

import argparse
import shutil
import subprocess
import sys
import time
import traceback

import harness
import loggers
import syslog
import web


def install():
    """Installs the clients below the target directory."""
    place = harness.installed()
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
    subprocess.run([place / "venv/bin/pip", "-q", "install", "-r", harness.HERE / "requirements.txt"], check=True)
    for tool, command in (
        ("npm", ["npm", "install", "--silent", "--no-audit", "--no-fund"]),
        ("go", ["go", "build", "-o", place / "fluent-go", "."]),
    ):
        if not shutil.which(tool):
            print(f"{tool} is not installed: its clients will be skipped")
            continue
        source = harness.HERE / {"npm": "node", "go": "go"}[tool]
        copy = place / source.name
        shutil.copytree(source, copy, dirs_exist_ok=True)
        subprocess.run(command, cwd=copy, check=True)


def checks():
    """Functions `check_...` of the modules, in order."""
    for module in (loggers, syslog, web):
        for name, value in vars(module).items():
            if name.startswith("check_"):
                yield name.removeprefix("check_"), value


def one(name, check):
    """Runs one check; the word for its result."""
    start = time.monotonic()
    try:
        check()
    except harness.Skipped as reason:
        print(f"skipped  {name}: {reason}")
        return "skipped"
    except harness.Failed as fault:
        print(f"FAILED   {name}: {fault}")
        return "failed"
    except Exception:  # a check that breaks is a failed check, and the others go on
        print(f"FAILED   {name}:\n{traceback.format_exc()}")
        return "failed"
    print(f"ok       {name} ({time.monotonic() - start:.1f} s)", flush=True)
    return "ok"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="install the clients that come from registries")
    parser.add_argument("words", nargs="*", help="only checks whose name holds one of these")
    given = parser.parse_args()
    if given.install:
        return install()
    chosen = [(n, c) for n, c in checks() if not given.words or any(w in n for w in given.words)]
    results = [one(name, check) for name, check in chosen]
    print(", ".join(f"{results.count(word)} {word}" for word in ("ok", "skipped", "failed")))
    sys.exit(1 if "failed" in results or not results else 0)


if __name__ == "__main__":
    main()
