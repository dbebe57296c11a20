"""The HTTP interface of ClickHouse before the engine that PyPI's `chdb` embeds: PORT DIRECTORY.

Status codes and headers are this file's, not the server's; statements, settings in them, and deduplication are the engine's.
"""

import gzip
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb import session

SESSION = session.Session(sys.argv[2])
ONE_AT_A_TIME = threading.Lock()


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        query = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
        text = (query + "\n" if query else "") + body.decode("utf-8", "surrogateescape")
        try:
            with ONE_AT_A_TIME:
                result = SESSION.query(text, "TabSeparated")
            self.answer(200, result.bytes() or b"" if result is not None else b"")
        except Exception as e:  # noqa: BLE001 - whatever the engine says is the answer
            self.answer(400, str(e).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Front).serve_forever()
