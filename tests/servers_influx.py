"""A real InfluxDB 1.x behind the shipped nginx configuration, and what newer servers answer, from their documentation.

The servers are processes of the tests' own: loopback, free ports, a folder that is thrown away.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

TOKEN: Final = "a-token-of-the-tests"
_USER: Final = "plantpulse"
_PASSWORD: Final = "a password, of the tests"
_SHIPPED: Final = Path(__file__).parents[1] / "deploy" / "influxdb" / "nginx-influxdb-1.conf"
_START_S: Final = 20.0

_INFLUXD: Final = """
reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
  dir = "{folder}/meta"
  logging-enabled = false
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{port}"
  auth-enabled = true
  log-enabled = false
"""

_NGINX: Final = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include nginx-influxdb-1.conf;
}}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + _START_S
    while time.monotonic() < end_s:
        assert process.poll() is None, log.read_text(errors="replace")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port} after {_START_S} s: {log.read_text(errors='replace')}")


class Influx1:
    """influxd, and nginx before it. `host` is nginx's address, which is what the service is given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = _free_port()
        self.proxy_port = _free_port()
        self.host = f"127.0.0.1:{self.proxy_port}"
        self._influxd: subprocess.Popen[bytes] | None = None
        self._nginx: subprocess.Popen[bytes] | None = None
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN + "\n", encoding="utf-8")

    def start(self) -> None:
        """Start both; the first time the administrator is made too."""
        conf = self._folder / "influxdb.conf"
        conf.write_text(_INFLUXD.format(folder=self._folder, port=self._port), encoding="utf-8")
        self.start_influxd()
        self._admin(f"CREATE USER {_USER} WITH PASSWORD '{_PASSWORD}' WITH ALL PRIVILEGES")
        shipped = _SHIPPED.read_text(encoding="utf-8")
        for address, port in (("127.0.0.1:8086;", self._port), ("listen 127.0.0.1:8087;", self.proxy_port)):
            assert shipped.count(address) == 1
            shipped = shipped.replace(address, f"{address.rsplit(':', 1)[0]}:{port};")
        login = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
        (self._folder / "plantpulse-influxdb-logins.map").write_text(
            f'"Token {TOKEN}" "Basic {login}";\n', encoding="utf-8"
        )
        (self._folder / "nginx-influxdb-1.conf").write_text(shipped, encoding="utf-8")
        (self._folder / "nginx.conf").write_text(_NGINX.format(folder=self._folder), encoding="utf-8")
        log = self._folder / "nginx.log"
        with log.open("wb") as out:
            self._nginx = subprocess.Popen(
                ["/usr/sbin/nginx", "-p", str(self._folder), "-c", "nginx.conf", "-e", str(log)],
                stdout=out,
                stderr=out,
            )
        _wait_for(self.proxy_port, self._nginx, log)

    def start_influxd(self) -> None:
        """Start InfluxDB alone, on the port that it had."""
        log = self._folder / "influxd.log"
        with log.open("ab") as out:
            self._influxd = subprocess.Popen(
                ["influxd", "-config", str(self._folder / "influxdb.conf")], stdout=out, stderr=out
            )
        _wait_for(self._port, self._influxd, log)

    def stop_influxd(self) -> None:
        """Stop InfluxDB; nginx answers 502 from now on."""
        if self._influxd is not None:
            _end(self._influxd)
            self._influxd = None

    def pause(self) -> None:
        """Let InfluxDB stand still: it takes connections and answers nothing."""
        assert self._influxd is not None
        self._influxd.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run on."""
        assert self._influxd is not None
        self._influxd.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop both."""
        if self._nginx is not None:
            _end(self._nginx)
            self._nginx = None
        self.stop_influxd()

    def bucket(self, name: str, retention: str = "INF") -> None:
        """Make a database, which is a bucket to the service."""
        self._admin(f'CREATE DATABASE "{name}" WITH DURATION {retention}')

    def drop_bucket(self, name: str) -> None:
        """Drop a database."""
        self._admin(f'DROP DATABASE "{name}"')

    def write_raw(self, bucket: str, lines: str) -> int:
        """Write lines past the service. Returns the status."""
        request = self._request(f"/write?db={bucket}&precision=s", lines.encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)

    def query(self, bucket: str, statement: str) -> list[dict[str, Any]]:
        """Series of one InfluxQL statement, asked past the service."""
        arguments = urllib.parse.urlencode({"db": bucket, "q": statement, "epoch": "s"}).encode()
        with urllib.request.urlopen(self._request("/query", arguments), timeout=10) as answer:
            result = json.loads(answer.read())["results"][0]
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series

    def url(self, bucket: str) -> str:
        """What PLANTPULSE_STORE_URL is set to."""
        return f"influxdb+http://{self.host}/{bucket}"

    def _request(self, path: str, body: bytes | None = None) -> urllib.request.Request:
        login = base64.b64encode(f"{_USER}:{_PASSWORD}".encode()).decode()
        return urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", body, {"Authorization": f"Basic {login}"})

    def _admin(self, statement: str) -> None:
        body = urllib.parse.urlencode({"q": statement}).encode()
        with urllib.request.urlopen(self._request("/query", body), timeout=10) as answer:
            result = json.loads(answer.read())
        assert "error" not in result["results"][0], result


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def influx_1() -> Iterator[Influx1]:
    """A running InfluxDB 1.x behind nginx."""
    folder = Path(tempfile.mkdtemp(prefix="influx"))
    server = Influx1(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answers: status, headers, body."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Generation:
    """How a generation of InfluxDB answers a write that holds lines which it refuses (its documentation)."""

    version: str
    build: str
    partial: Reply
    """After it has kept the good lines."""
    malformed: Reply
    """The whole request refused."""


INFLUX_2: Final = Generation(
    "v2.7.12",
    "OSS",
    Reply(
        422,
        json.dumps(
            {
                "code": "unprocessable entity",
                "message": "failure writing points to database: partial write: "
                "points beyond retention policy dropped=1",
            }
        ),
    ),
    Reply(400, json.dumps({"code": "invalid", "message": "unable to parse: invalid boolean"})),
)
INFLUX_3: Final = Generation(
    "3.2.1",
    "Core",
    Reply(
        400,
        json.dumps(
            {
                "error": "partial write of line protocol occurred",
                "data": [{"original_line": "record,…", "line_number": 2, "error_message": "invalid column type"}],
            }
        ),
    ),
    Reply(400, json.dumps({"error": "parsing failed for write_lp endpoint", "data": {"line_number": 1}})),
)
"""Statuses of https://docs.influxdata.com/influxdb/v2/write-data/troubleshoot/ and
https://docs.influxdata.com/influxdb3/core/write-data/troubleshoot/"""


class AnsweringServer:
    """A small server that answers as a generation of InfluxDB does and keeps the lines that it takes.

    `poison` says which lines it refuses; `next_replies` are given first, one a request, to writes; `after_storing`
    makes those replies come after the lines were kept.
    """

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.lines: dict[str, int] = {}
        """Lines kept, with how many times each came."""
        self.requests: list[int] = []
        """Lines of each write."""
        self.statements: list[str] = []
        """What was asked over /query."""
        self.named = True
        """Whether answers bear the version headers."""
        self.poison: Callable[[str], bool] = lambda _line: False
        self.whole_refused = False
        """Refuse a request whole where a line of it is poison."""
        self.next_replies: list[Reply] = []
        self.after_storing = False
        self.largest_body: int | None = None
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # an answer is one packet: half of one waits 40 ms for its other half

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._send(outer._write(body))

            def do_GET(self) -> None:
                if self.path.startswith("/ping"):
                    self._send(Reply(204 if outer.generation is INFLUX_2 else 200))
                else:
                    self._send(Reply(200, outer._query(self.path), {"content-type": "application/json"}))

            def _send(self, reply: Reply) -> None:
                if reply.delay_s:
                    time.sleep(reply.delay_s)
                body = reply.body.encode()
                try:
                    self.send_response(reply.status)
                    if outer.named:
                        self.send_header("X-Influxdb-Version", outer.generation.version)
                        self.send_header("X-Influxdb-Build", outer.generation.build)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    if reply.status != 204:
                        self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    if reply.status != 204:
                        self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def _write(self, body: bytes) -> Reply:
        lines = body.decode().split("\n")
        with self._lock:
            self.requests.append(len(lines))
            reply = self.next_replies.pop(0) if self.next_replies else None
            if reply is not None and not self.after_storing:
                return reply
            if self.largest_body is not None and len(body) > self.largest_body:
                return Reply(413, json.dumps({"code": "request too large", "message": "too large"}))
            refused = [line for line in lines if self.poison(line)]
            if refused and self.whole_refused:
                return self.generation.malformed
            for line in lines:
                if not self.poison(line):
                    self.lines[line] = self.lines.get(line, 0) + 1
            return reply or (self.generation.partial if refused else Reply(204))

    def _query(self, path: str) -> str:
        """Only the last mark is asked of this server with an answer; everything else finds nothing."""
        statement = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query).get("q", [""])[0]
        self.statements.append(statement)
        series: list[dict[str, Any]] = []
        marks = [line for line in self.lines if line.startswith("applied ")]
        if 'FROM "applied"' in statement and marks:
            fields, at_ns = marks[-1].removeprefix("applied ").rsplit(" ", 1)
            position, rows = (int(f.split("=")[1].rstrip("i")) for f in fields.split(","))
            series = [
                {"name": "applied", "columns": ["time", "position", "rows"], "values": [[int(at_ns), position, rows]]}
            ]
        return json.dumps({"results": [{"statement_id": 0} | ({"series": series} if series else {})]})

    def points(self) -> dict[str, set[str]]:
        """The contents that each point (tags and time) was ever given."""
        found: dict[str, set[str]] = {}
        for line in self.lines:
            series, fields, at = line.split(" ")
            found.setdefault(f"{series} {at}", set()).add(fields)
        return found

    def speak_tls(self, certificate: Path, key: Path) -> None:
        """Answer over TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> AnsweringServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def url(self, bucket: str = "plant") -> str:
        """What PLANTPULSE_STORE_URL is set to."""
        return f"influxdb+http://127.0.0.1:{self.port}/{bucket}?org=county"
