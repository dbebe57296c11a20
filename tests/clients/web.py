"""Checks with curl and nginx."""

import gzip
import json
import re
import signal
import socket
import time
import urllib.parse
import zlib

from harness import Process, Suiro, close, free_port, need, run, same, wait_for
from loggers import FORWARD, certificate

HTTP = """
<source>
  @type http
  bind 127.0.0.1
  port {port}
  cors_allow_origins ["https://shop.example"]
  add_remote_addr true
  {more}
</source>
"""
WHEN = 1_700_000_000.5


# ---- curl ----


class Curl:
    """A suiro with an HTTP input, and curl pointed at it."""

    def __init__(self, more="", scheme="http"):
        self.suiro = Suiro(HTTP, port=free_port(), more=more)
        self.base = f"{scheme}://127.0.0.1:{self.suiro.values['port']}"
        self.expected = []

    def __enter__(self):
        self.suiro.__enter__()
        return self

    def __exit__(self, *error):
        return self.suiro.__exit__(*error)

    def __call__(self, path, *arguments, status=200, data=None):
        """One request; `data` goes through standard input as @-."""
        command = [need("curl"), "-sS", "-k", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code} ", *arguments]
        found = run([*command, self.base + path], input=data)
        same(f"the status of {arguments}", found.split(), [str(status)])

    def body(self, name, body, *arguments, status=200):
        """One request with the bytes of a file as its body."""
        path = self.suiro.work / name
        path.write_bytes(body)
        self("/app.http", "--data-binary", f"@{path}", *arguments, status=status)

    def events(self, *expected):
        """The `v` of the events, which must be these."""
        same("the events", sorted(e["v"] for e in self.suiro.events(len(expected))), sorted(expected))


JSON = ("-H", "Content-Type: application/json")


def check_curl_sends_every_kind_of_body():
    with Curl() as curl:
        curl("/app.http", "-d", 'json={"v":1}')
        curl("/app.http", "--data-urlencode", 'json={"v":2,"text":"a&b=c ü"}')
        curl("/app.http", "-F", 'json={"v":3}')
        curl("/app.http", *JSON, "-d", '{"v":4}')
        curl("/app.http", *JSON, "-d", '[{"v":5},{"v":6}]')
        curl("/app.http", "-H", "Content-Type: application/json; charset=utf-8", "-d", '{"v":7}')
        curl.body("nd", b'{"v":8}\n{"v":9}\n', "-H", "Content-Type: application/x-ndjson")
        curl.body("mp", b"\x81\xa1v\x0a", "-H", "Content-Type: application/msgpack")
        curl("/app.http", "-H", "Content-Type: application/csp-report", "-d", '{"v":11}')
        curl("/app.http?" + urllib.parse.urlencode({"json": '{"v":12}'}), "-X", "POST")
        curl(f"/app.http?time={WHEN}", *JSON, "-d", '{"v":13}')
        curl("/app/slash", *JSON, "-X", "PUT", "-d", '{"v":14}')
        curl.events(*range(1, 15))
        events = {e["v"]: e for e in curl.suiro.results()}
        same("text", events[2]["text"], "a&b=c ü")
        close("time", events[13]["_time"], WHEN, 0.0005)
        same("tags", (events[1]["_tag"], events[14]["_tag"]), ("app.http", "app.slash"))
        same("address", events[1]["REMOTE_ADDR"], "127.0.0.1")


def check_curl_sends_packed_bodies():
    with Curl() as curl:
        curl.body("gz", gzip.compress(b'{"v":1}'), *JSON, "-H", "Content-Encoding: gzip")
        curl.body("zz", zlib.compress(b'{"v":2}'), *JSON, "-H", "Content-Encoding: deflate")
        curl.body("two", gzip.compress(b'[{"v":3},') + gzip.compress(b'{"v":4}]'), *JSON, "-H", "Content-Encoding: gzip",
                  status=200)
        curl.body("bad", b"not packed", *JSON, "-H", "Content-Encoding: gzip", status=400)
        curl.events(1, 2, 3, 4)


def check_curl_keeps_its_connection():
    with Curl() as curl:
        urls = [f"{curl.base}/app.http?time={n + 1}" for n in range(20)]
        found = run([need("curl"), "-sS", "-w", "%{num_connects} ", *JSON, "-d", '{"v":1}', *urls])
        same("connections", sum(map(int, found.split())), 1)
        curl.events(*[1] * 20)


def check_curl_waits_for_100_continue():
    big = json.dumps([{"v": n, "fill": "x" * 10_000} for n in range(300)]).encode()
    with Curl() as curl:
        started = time.monotonic()
        curl.body("big", big, *JSON, "-H", "Expect: 100-continue", "--expect100-timeout", "5")
        if time.monotonic() - started > 4:
            same("the answer to Expect: 100-continue", "none", "100 Continue")
        curl.events(*range(300))


def check_curl_speaks_http_1_0_and_chunks():
    with Curl() as curl:
        curl("/app.http", "-0", *JSON, "-d", '{"v":1}')
        curl("/app.http", "-0", "-H", "Connection: keep-alive", *JSON, "-d", '{"v":2}')
        curl("/app.http", *JSON, "-H", "Transfer-Encoding: chunked", "-d", "@-", data='{"v":3}')
        curl("/app.http", *JSON, "-T", "-", data='{"v":4}')
        curl.events(1, 2, 3, 4)


def check_curl_is_told_what_is_wrong():
    with Curl("body_size_limit 100") as curl:
        curl("/app.http", "-H", "Content-Type: text/plain", "-d", "hello", status=400)
        curl("/app.http", "-d", "nothing=here", status=400)
        curl("/app.http", *JSON, "-d", json.dumps({"v": "x" * 200}), status=413)
        curl("/app.http", "-H", "Origin: https://shop.example", "-X", "OPTIONS",
             "-H", "Access-Control-Request-Method: POST", status=200)
        curl("/app.http", "-H", "Origin: https://evil.example", *JSON, "-d", '{"v":1}', status=403)
        curl("/app.http", "-H", "Origin: https://shop.example", *JSON, "-d", '{"v":2}')
        curl.events(2)


def check_curl_by_tls():
    curl = Curl("<transport tls>\n    cert_path {work}/cert.pem\n    private_key_path {work}/key.pem\n  </transport>", "https")
    curl.suiro.text = curl.suiro.text.replace("{work}", str(curl.suiro.work))
    certificate(curl.suiro.work)
    with curl:
        curl("/app.http", *JSON, "-d", '{"v":1}')
        curl("/app.http", "--tlsv1.3", *JSON, "-d", '{"v":2}')
        curl.events(1, 2)


# ---- nginx ----

NGINX = """
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log info;
events {{ worker_connections 64; }}
http {{
  access_log {dir}/access.log;
  {syslog}
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{
    listen 127.0.0.1:{web};
    location / {{ return 200 "ok\\n"; }}
    location /missing {{ root {dir}/none; }}
  }}
}}
"""
TAIL = """
<source>
  @type tail
  path {work}/nginx/access.log
  pos_file {work}/access.pos
  tag web.access
  read_from_head true
  refresh_interval 1
  rotate_wait 2
  <parse>
    @type nginx
  </parse>
</source>
<source>
  @type tail
  path {work}/nginx/error.log
  pos_file {work}/error.pos
  tag web.error
  read_from_head true
  <parse>
    @type regexp
    expression /^(?<time>\\d{4}\\/\\d{2}\\/\\d{2} \\d{2}:\\d{2}:\\d{2}) \\[(?<level>\\w+)\\] (?<pid>\\d+)#\\d+: (?<message>.*)$/
    time_format %Y/%m/%d %H:%M:%S
  </parse>
</source>
"""
# To a second suiro, and from there to the file.
ON = """
<match **>
  @type forward
  require_ack_response true
  <server>
    host 127.0.0.1
    port {port}
  </server>
  <buffer tag>
    @type file
    path {work}/buffer
    flush_mode interval
    flush_interval 0.1
  </buffer>
</match>
"""


class Nginx:
    """nginx with its files in suiro's directory."""

    def __init__(self, work, syslog=""):
        self.dir = work / "nginx"
        self.dir.mkdir()
        self.port = free_port()
        text = NGINX.format(dir=self.dir, web=self.port, syslog=syslog)
        if work.stat().st_mode & 0o005 == 0:
            work.chmod(0o755)
        (self.dir / "nginx.conf").write_text(text)

    def __enter__(self):
        self.process = Process([need("nginx"), "-c", self.dir / "nginx.conf", "-e", self.dir / "error.log"], self.dir, "nginx")
        wait_for("nginx", self.answers)
        return self

    def __exit__(self, *error):
        self.process.end()

    def answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, numbers, path="/items"):
        """Requests on one connection, each with its number in the path."""
        urls = [f"http://127.0.0.1:{self.port}{path}/{n}?q=a%20b" for n in numbers]
        run([need("curl"), "-sS", "-A", 'browser "x" [1.0]', "-e", "https://shop.example/?a=b", *urls])

    def rotate(self, number):
        """What logrotate does: rename, then USR1."""
        log = self.dir / "access.log"
        log.rename(self.dir / f"access.log.{number}")
        self.process.signal(signal.SIGUSR1)
        wait_for("the new log", log.exists)


def numbers(events):
    """The numbers of the requests that were logged; errors come under another tag."""
    paths = [e["path"] for e in events if e["_tag"] == "web.access" and e["path"].startswith("/items/")]
    return sorted(int(re.match(r"/items/(\d+)", path).group(1)) for path in paths)


def check_nginx_is_tailed_through_rotations_into_a_file():
    suiro = Suiro(TAIL)
    with Nginx(suiro.work) as nginx, suiro:
        for turn in range(6):
            nginx.get(range(turn * 50, turn * 50 + 25))
            nginx.rotate(turn)
            nginx.get(range(turn * 50 + 25, turn * 50 + 50))
        nginx.get(range(1), "/missing")
        wait_for("all lines", lambda: len(numbers(suiro.results())) >= 300)
        wait_for("the error", lambda: [e for e in suiro.results() if e["_tag"] == "web.error" and "No such file" in e["message"]])
        same("requests", numbers(suiro.results()), list(range(300)))
        event = next(e for e in suiro.results() if e["_tag"] == "web.access")
        close("time", event["_time"], time.time(), 60)
        same("fields", (event["remote"], event["method"], event["code"], event["size"], event["referer"]),
             ("127.0.0.1", "GET", "200", "3", "https://shop.example/?a=b"))


def check_nginx_is_tailed_through_rotations_and_forwarded():
    with Suiro(FORWARD, port=free_port()) as aggregator:
        edge = Suiro(TAIL, sink=ON, port=aggregator.values["port"])
        with Nginx(edge.work) as nginx, edge:
            for turn in range(4):
                nginx.get(range(turn * 100, turn * 100 + 100))
                nginx.rotate(turn)
            wait_for("all lines", lambda: len(numbers(aggregator.results())) >= 400)
            same("requests", numbers(aggregator.results()), list(range(400)))


SYSLOG = """
<source>
  @type syslog
  bind 127.0.0.1
  port {port}
  tag web
</source>
"""


def check_nginx_sends_syslog():
    suiro = Suiro(SYSLOG, port=free_port(socket.SOCK_DGRAM))
    syslog = f"access_log syslog:server=127.0.0.1:{suiro.values['port']},facility=local7,tag=nginx,severity=info;"
    with Nginx(suiro.work, syslog) as nginx, suiro:
        nginx.get(range(20))
        events = suiro.events(20)
        same("tag and ident", {(e["_tag"], e["ident"]) for e in events}, {("web.local7.info", "nginx")})
        same("the line", '"GET /items/0?q=a%20b HTTP/1.1" 200 3' in events[0]["message"], True)
