"""Checks with the fluent-logger libraries of Python, Node and Go."""

import json
import os
import pathlib
import socket
import subprocess

from harness import HERE, Skipped, Suiro, close, free_port, installed, need, run, same, wait_for

# Events of one client run, and the time that every client gives them.
COUNT = 20
WHEN = 1_700_000_000.25

FORWARD = """
<source>
  @type forward
  bind 127.0.0.1
  port {port}
</source>
"""
SECURE = """
<source>
  @type forward
  bind 127.0.0.1
  port {port}
  <security>
    self_hostname suiro.test
    shared_key correct horse
    {users}
  </security>
</source>
"""
USER = """user_auth true
    <user>
      username alice
      password wonder
    </user>"""
TLS = """
<source>
  @type forward
  bind 127.0.0.1
  port {port}
  <transport tls>
    cert_path {work}/cert.pem
    private_key_path {work}/key.pem
  </transport>
</source>
"""
UNIX = """
<source>
  @type unix
  path {work}/socket
</source>
"""


def certificate(work):
    """A certificate of its own for 127.0.0.1, by openssl."""
    run([need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", f"{work}/key.pem", "-out", f"{work}/cert.pem"])


def record(number):
    """What every client sends: the kinds of values that records hold."""
    return {
        "n": number, "text": "grüße, 世界 \U0001f6b0", "float": 1.5, "big": 2**53, "negative": -7, "yes": True,
        "none": None, "nested": {"list": [1, "two", {"three": 3}], "empty": {}},
    }


def whole(suiro, tag, fraction=True, count=COUNT):
    """All events of a client are there, whole, with tag and time."""
    events = sorted(suiro.events(count), key=lambda e: e["n"])
    for number, event in enumerate(events):
        same("the tag", event.pop("_tag"), tag)
        close("the time", event.pop("_time"), WHEN if fraction else int(WHEN), 0.0005)
        same("the record", event, record(number))
    same("warnings", suiro.warnings(), [])


# ---- Python ----

PYTHON = """
import json, sys
from fluent import asyncsender, sender
options, when, records = json.loads(sys.stdin.read())
kind = asyncsender if options.pop("queue", False) else sender
logger = kind.FluentSender("app", **options)
for record in records:
    if not logger.emit_with_time("python", when if logger.nanosecond_precision else int(when), record):
        sys.exit(str(logger.last_error))
logger.close()
"""
HANDLER = """
import logging, sys
from fluent import handler
log = logging.getLogger("shop")
log.setLevel(logging.INFO)
h = handler.FluentHandler("app.handler", host="127.0.0.1", port=int(sys.argv[1]))
h.setFormatter(handler.FluentRecordFormatter({"level": "%(levelname)s", "where": "%(name)s"}))
log.addHandler(h)
log.info("plain")
log.info({"key": "value", "n": 1})
log.error('{"json": [1, 2]}')
h.close()
"""


def python(*arguments, **options):
    binary = installed() / "venv/bin/python"
    if not binary.exists():
        raise Skipped("fluent-logger for Python is not installed: run.py --install")
    return run([binary, *arguments], **options)


def python_sends(suiro, **options):
    python("-c", PYTHON, input=json.dumps([options, WHEN, [record(n) for n in range(COUNT)]]))


def check_python_sends_events():
    for precise in (False, True):
        with Suiro(FORWARD, port=free_port()) as suiro:
            python_sends(suiro, host="127.0.0.1", port=suiro.values["port"], nanosecond_precision=precise)
            whole(suiro, "app.python", fraction=precise)


def check_python_sends_from_its_queue():
    with Suiro(FORWARD, port=free_port()) as suiro:
        python_sends(suiro, host="127.0.0.1", port=suiro.values["port"], nanosecond_precision=True, queue=True)
        whole(suiro, "app.python")


def check_python_sends_to_a_unix_socket():
    with Suiro(UNIX) as suiro:
        python_sends(suiro, host=f"unix://{suiro.work}/socket", nanosecond_precision=True)
        whole(suiro, "app.python")


def check_python_logging_handler():
    with Suiro(FORWARD, port=free_port()) as suiro:
        python("-c", HANDLER, str(suiro.values["port"]))
        plain, keyed, text = suiro.events(3)
        same("plain", (plain["_tag"], plain["level"], plain["where"], plain["message"]),
             ("app.handler", "INFO", "shop", "plain"))
        same("keyed", (keyed["key"], keyed["n"]), ("value", 1))
        same("text", text["json"], [1, 2])


# ---- Node ----


def node(script, options):
    """Runs a script of this directory with one JSON argument."""
    modules = installed() / "node" / "node_modules"
    if not modules.exists():
        raise Skipped("the loggers for Node are not installed: run.py --install")
    argument = json.dumps({**options, "records": [record(n) for n in range(COUNT)], "when": WHEN * 1000})
    run([need("node"), HERE / "node" / script, argument], env={**os.environ, "NODE_PATH": str(modules)})


def modern(suiro, **options):
    """@fluent-org/logger; `socket` is how it gets to suiro."""
    where = options.pop("socket", {"host": "127.0.0.1", "port": suiro.values.get("port"), "timeout": 3000})
    node("modern.js", {"client": {"milliseconds": True, "socket": where, **options}})
    whole(suiro, "app.node")


MODES = ("Message", "Forward", "PackedForward", "CompressedPackedForward")


def check_node_sends_in_every_mode_with_and_without_ack():
    for mode in MODES:
        for more in ({}, {"ack": {"ackTimeout": 5000}}, {"flushInterval": 50, "ack": {"ackTimeout": 5000}}):
            with Suiro(FORWARD, port=free_port()) as suiro:
                modern(suiro, eventMode=mode, **more)


def check_node_gives_its_shared_key_and_user():
    for users in ("", USER):
        with Suiro(SECURE, port=free_port(), users=users) as suiro:
            security = {"clientHostname": "node.test", "sharedKey": "correct horse"}
            if users:
                security.update(username="alice", password="wonder")
            modern(suiro, security=security, ack={"ackTimeout": 5000})


def check_node_sends_by_tls_and_unix_socket():
    with Suiro(UNIX) as suiro:
        modern(suiro, socket={"path": f"{suiro.work}/socket"})
    suiro = Suiro(TLS, port=free_port())
    certificate(suiro.work)
    with suiro:
        certificates = (suiro.work / "cert.pem").read_text()
        modern(suiro, ack={"ackTimeout": 5000}, socket={
            "host": "localhost", "port": suiro.values["port"], "tls": {"ca": certificates, "servername": "localhost"}})


def check_older_node_logger_sends_in_every_mode():
    for mode in ("Message", "PackedForward", "CompressedPackedForward"):
        for ack in (False, True):
            with Suiro(FORWARD, port=free_port()) as suiro:
                options = {"host": "127.0.0.1", "port": suiro.values["port"], "eventMode": mode, "timeout": 3.0,
                           "requireAckResponse": ack, "ackResponseTimeout": 5000}
                node("older.js", {"client": options})
                whole(suiro, "app.node")


def check_older_node_logger_gives_its_shared_key():
    for users in ("", USER):
        with Suiro(SECURE, port=free_port(), users=users) as suiro:
            security = {"clientHostname": "node.test", "sharedKey": "correct horse"}
            if users:
                security.update(username="alice", password="wonder")
            options = {"host": "127.0.0.1", "port": suiro.values["port"], "timeout": 3.0,
                       "requireAckResponse": True, "ackResponseTimeout": 5000, "security": security}
            node("older.js", {"client": options})
            whole(suiro, "app.node")


# ---- Go, and Docker's log driver, which is made of the same library ----


def go(scenario, **config):
    binary = installed() / "fluent-go"
    if not binary.exists():
        raise Skipped("fluent-logger-golang is not built: run.py --install")
    run([binary, scenario, json.dumps(config), json.dumps([record(n) for n in range(COUNT)]), str(WHEN)])


def check_go_sends_with_and_without_ack_async_and_precision():
    for ack in (False, True):
        for asynchronous in (False, True):
            for precise in (False, True):
                with Suiro(FORWARD, port=free_port()) as suiro:
                    go("records", fluent_host="127.0.0.1", fluent_port=suiro.values["port"], request_ack=ack,
                       sub_second_precision=precise, **{"async": asynchronous})
                    whole(suiro, "app.go", fraction=precise)


def check_go_sends_json():
    with Suiro(FORWARD, port=free_port()) as suiro:
        go("records", fluent_host="127.0.0.1", fluent_port=suiro.values["port"], marshal_as_json=True)
        whole(suiro, "app.go", fraction=False)


def check_go_sends_by_unix_socket_and_tls():
    with Suiro(UNIX) as suiro:
        go("records", fluent_network="unix", fluent_socket_path=f"{suiro.work}/socket", sub_second_precision=True)
        whole(suiro, "app.go")
    suiro = Suiro(TLS, port=free_port())
    certificate(suiro.work)
    with suiro:
        go("records", fluent_network="tls", fluent_host="127.0.0.1", fluent_port=suiro.values["port"],
           tls_insecure_skip_verify=True, request_ack=True, sub_second_precision=True)
        whole(suiro, "app.go")


def check_docker_messages_arrive():
    for ack in (False, True):
        with Suiro(FORWARD, port=free_port()) as suiro:
            go("docker", fluent_host="127.0.0.1", fluent_port=suiro.values["port"], request_ack=ack,
               sub_second_precision=True, **{"async": True})
            whole, first, last, bad = suiro.events(4)
            same("tag", whole["_tag"], "docker.4ca5e5b06f26")
            same("keys", sorted(whole), ["_tag", "_time", "com.example.team", "container_id", "container_name", "log", "source"])
            same("partial", (first["partial_message"], first["partial_ordinal"], last["partial_last"]),
                 ("true", "1", "true"))
            same("length", len(first["log"]), 16 * 1024)
            same("bytes that are no text", bad["log"].count("�") > 0, True)


def check_go_waits_for_a_server_that_starts_later():
    port = free_port()
    binary = installed() / "fluent-go"
    if not binary.exists():
        raise Skipped("fluent-logger-golang is not built: run.py --install")
    config = json.dumps({"fluent_host": "127.0.0.1", "fluent_port": port, "async": True, "request_ack": True,
                         "sub_second_precision": True, "retry_wait": 100})
    command = [binary, "records", config, json.dumps([record(n) for n in range(COUNT)]), str(WHEN)]
    client = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with Suiro(FORWARD, port=port) as suiro:
            whole(suiro, "app.go")
            same("the client's status", client.wait(20), 0)
    finally:
        if client.poll() is None:
            client.kill()


# ---- by hand ----


def check_json_text_on_the_forward_port():
    """The least client: `echo '["tag", time, {...}]' | nc`, in messages that come in pieces."""
    with Suiro(FORWARD, port=free_port()) as suiro:
        with socket.create_connection(("127.0.0.1", suiro.values["port"])) as client:
            text = "".join(json.dumps(["app.json", int(WHEN), record(n)]) + "\n" for n in range(COUNT))
            for at in range(0, len(text), 100):
                client.sendall(text[at:at + 100].encode())
        whole(suiro, "app.json", fraction=False)


def check_fluent_cat():
    cat = pathlib.Path(need("fluent-cat"))
    with Suiro(FORWARD, port=free_port()) as suiro:
        run([cat, "-p", str(suiro.values["port"]), "app.cat"], input='{"a":1}\n{"a":2}\n')
        same("values", sorted(e["a"] for e in suiro.events(2)), [1, 2])
        wait_for("nothing more", lambda: True)
