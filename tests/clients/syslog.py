"""Checks with what sends syslog: `logger`, rsyslog and syslog-ng."""

import os
import socket
import tempfile
import time

from harness import Failed, Process, Suiro, close, free_port, need, run, same, wait_for
from loggers import certificate

# Messages of one run.
COUNT = 50

SYSLOG = """
<source>
  @type syslog
  bind 127.0.0.1
  port {port}
  tag sys
  frame_type {frame}
  <transport {transport}>
    {files}
  </transport>
  <parse>
    message_format {format}
    {more}
  </parse>
</source>
"""
KEYS = "cert_path {work}/cert.pem\n    private_key_path {work}/key.pem"


def listening(transport="udp", frame="traditional", format="auto", more=""):
    """A suiro that takes syslog; by TLS with a certificate of its own."""
    port = free_port(socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
    files = KEYS if transport == "tls" else ""
    text = SYSLOG.replace("{files}", files)
    suiro = Suiro(text, port=port, frame=frame, transport=transport, format=format, more=more)
    if transport == "tls":
        certificate(suiro.work)
    return suiro


def arrived(suiro, ident, count=COUNT):
    """Messages `number N` of one program, all there, with tag, fields and the time of now."""
    found = {}
    for event in suiro.events(count):
        same("the tag", event["_tag"], "sys.local3.notice")
        same("ident", event["ident"], ident)
        close("the time", event["_time"], time.time(), 60)
        # rsyslog keeps the space behind the colon of what it read.
        found[event["message"].strip()] = event
    same("the messages", sorted(found), sorted(f"number {n} <&> {{\"a\":1}} ü" for n in range(count)))
    same("warnings", suiro.warnings(), [])


def messages(count=COUNT):
    return "".join(f"number {n} <&> {{\"a\":1}} ü\n" for n in range(count))


# ---- logger ----


def logger(*arguments, count=COUNT):
    run([need("logger"), "-t", "demo", "-p", "local3.notice", *arguments], input=messages(count))


def check_logger_by_udp_and_tcp_in_both_formats():
    for transport, flag in (("udp", "-d"), ("tcp", "-T")):
        for format in ("rfc3164", "rfc5424"):
            with listening(transport, format=format) as suiro:
                logger("-n", "127.0.0.1", "-P", str(suiro.values["port"]), flag, f"--{format}")
                arrived(suiro, "demo")


def check_logger_with_octet_counting():
    for format in ("rfc3164", "rfc5424"):
        with listening("tcp", "octet_count") as suiro:
            logger("-n", "127.0.0.1", "-P", str(suiro.values["port"]), "-T", f"--{format}", "--octet-count")
            arrived(suiro, "demo")


def check_logger_with_structured_data():
    with listening("udp", format="rfc5424") as suiro:
        run([need("logger"), "-n", "127.0.0.1", "-P", str(suiro.values["port"]), "-d", "--rfc5424", "-t", "demo",
             "--msgid", "ID7", "--id=42", "--sd-id", "zoo@123", "--sd-param", 'tiger="hun\\]gry"', "-p", "mail.err", "hello"])
        event, = suiro.events(1)
        same("tag", event["_tag"], "sys.mail.err")
        same("fields", (event["ident"], event["msgid"], event["pid"], event["message"]), ("demo", "ID7", "42", "hello"))
        same("structured data", 'zoo@123 tiger="hun' in event["extradata"], True)


# ---- rsyslog ----

RSYSLOG = """
global(workDirectory="{work}" maxMessageSize="64k" {driver})
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{work}/log" RateLimit.Interval="0")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="{protocol}" {options} action.resumeInterval="1" action.resumeRetryCount="-1")
"""


def by_socket(path, count=COUNT, ident="demo"):
    """Messages into a local syslog daemon, by `logger -u`."""
    wait_for("the daemon's socket", lambda: os.path.exists(path))
    run([need("logger"), "-u", path, "-t", ident, "-p", "local3.notice", "--socket-errors=on"], input=messages(count))


def rsyslog(suiro, protocol, options="", driver=""):
    """rsyslog takes messages on a local socket and sends them to suiro."""
    work = str(suiro.work)
    values = {"work": work, "port": suiro.values["port"], "protocol": protocol, "options": options, "driver": driver}
    text = RSYSLOG
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    (suiro.work / "rsyslog.conf").write_text(text)
    daemon = Process([need("rsyslogd"), "-n", "-f", f"{work}/rsyslog.conf", "-i", f"{work}/rsyslog.pid"], work, "rsyslog")
    try:
        by_socket(f"{work}/log")
        arrived(suiro, "demo")
    except Failed as fault:
        raise Failed(f"{fault}\n-- rsyslog's log:\n{daemon.log()[-2000:]}") from fault
    finally:
        daemon.end()


RFC5424 = 'template="RSYSLOG_SyslogProtocol23Format"'


def check_rsyslog_by_udp():
    with listening("udp", format="rfc3164") as suiro:
        rsyslog(suiro, "udp", 'template="RSYSLOG_TraditionalForwardFormat"')
    with listening("udp") as suiro:
        rsyslog(suiro, "udp", RFC5424)


def check_rsyslog_by_udp_with_iso_times():
    """rsyslog's other form: RFC 3164 lines with a time in ISO 8601."""
    with listening("udp", format="rfc3164", more="time_format %Y-%m-%dT%H:%M:%S.%N%:z") as suiro:
        rsyslog(suiro, "udp", 'template="RSYSLOG_ForwardFormat"')


def check_rsyslog_by_tcp_in_both_framings():
    for frame, framing in (("traditional", "traditional"), ("octet_count", "octet-counted")):
        with listening("tcp", frame, "rfc5424") as suiro:
            rsyslog(suiro, "tcp", f'{RFC5424} TCP_Framing="{framing}"')


def check_rsyslog_by_tls():
    with listening("tls", "octet_count", "rfc5424") as suiro:
        rsyslog(suiro, "tcp", f'{RFC5424} TCP_Framing="octet-counted" StreamDriver="ossl" StreamDriverMode="1" '
                'StreamDriverAuthMode="x509/certvalid"',
                f'defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{suiro.work}/cert.pem"')


# ---- syslog-ng ----

SYSLOG_NG = """@version: 3.38
options {{ keep-hostname(yes); }};
source local {{ unix-dgram("{work}/log"); }};
destination there {{ {there}; }};
log {{ source(local); destination(there); }};
"""


def syslog_ng(suiro, there):
    """syslog-ng takes messages on a local socket and sends them to suiro."""
    work = str(suiro.work)
    there = there.replace("PORT", str(suiro.values["port"])).replace("WORK", work)
    (suiro.work / "ng.conf").write_text(SYSLOG_NG.format(work=work, there=there))
    with tempfile.TemporaryDirectory(prefix="ng-") as control:
        command = [need("syslog-ng"), "-F", "--no-caps", "-f", f"{work}/ng.conf", "-R", f"{control}/persist",
                   "-p", f"{control}/pid", "-c", f"{control}/ctl"]
        daemon = Process(command, work, "syslog-ng")
        try:
            by_socket(f"{work}/log")
            arrived(suiro, "demo")
        except Failed as fault:
            raise Failed(f"{fault}\n-- syslog-ng's log:\n{daemon.log()[-2000:]}") from fault
        finally:
            daemon.end()


def check_syslog_ng_by_udp():
    with listening("udp", format="rfc3164") as suiro:
        syslog_ng(suiro, 'network("127.0.0.1" port(PORT) transport("udp"))')
    with listening("udp", format="rfc5424") as suiro:
        syslog_ng(suiro, 'syslog("127.0.0.1" port(PORT) transport("udp"))')


def check_syslog_ng_by_tcp_in_both_framings():
    with listening("tcp", format="rfc3164") as suiro:
        syslog_ng(suiro, 'network("127.0.0.1" port(PORT) transport("tcp"))')
    with listening("tcp", "octet_count", "rfc5424") as suiro:
        syslog_ng(suiro, 'syslog("127.0.0.1" port(PORT) transport("tcp"))')


def check_syslog_ng_by_tls():
    with listening("tls", "octet_count", "rfc5424") as suiro:
        syslog_ng(suiro, 'syslog("127.0.0.1" port(PORT) transport("tls") tls(ca-file("WORK/cert.pem") peer-verify(yes)))')
