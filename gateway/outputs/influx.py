"""Writes to an InfluxDB through `influxdb-client`, synchronously, in the output's own thread."""

from __future__ import annotations

from typing import Any, Final

import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from collectors.causes import Cause, cause_of
from collectors.model import LinkError
from gateway.outputs.config import InfluxOutput
from gateway.outputs.influx_lines import lines_of
from gateway.outputs.rows import Rows
from gateway.outputs.secrets import secret_in

CONNECT_S: Final = 5.0
READ_S: Final = 10.0
HALVINGS_MOST: Final = 64
"""Requests spent on finding the lines of one batch that a server refuses; what is not told apart by then is dropped."""

_WRITTEN: Final = 204
_TOO_LARGE: Final = 413
_REFUSED: Final = (400, 422, _TOO_LARGE)
_WORDS: Final = {
    401: (
        "output_login_refused",
        "令牌无效",
        "the token is not valid",
        "请检查 token_file 中的令牌，改好后自动重试。",
        "Check the token in token_file; it is read again at the next try.",
    ),
    403: (
        "output_login_refused",
        "令牌无权写入",
        "the token may not write",
        "请为令牌授予该 bucket 的写权限。",
        "Grant the token the right to write to the bucket.",
    ),
    404: (
        "output_no_bucket",
        "没有该 bucket 或组织",
        "no such bucket or organization",
        "请在 InfluxDB 中建好 bucket，并核对 bucket 和 org。",
        "Make the bucket in InfluxDB; check `bucket` and `org`.",
    ),
    429: (
        "output_overloaded",
        "服务器要求放慢",
        "the server asks to slow down",
        "请提高服务器的写入限额，或用 devices 少送一些。",
        "Raise the server's write limits, or send less with `devices`.",
    ),
}


class InfluxSink:
    """One bucket of one server. All calls belong to one thread; nothing is opened before the first."""

    def __init__(self, config: InfluxOutput, gateway: str) -> None:
        self._config, self._gateway = config, gateway
        self._client: Any = None  # the library is not typed
        self._service: Any = None
        self._token = ""

    def write(self, rows: Rows) -> int:
        """Deliver rows; how many the server refuses for good. Raises LinkError where it is to be tried again.

        After an error some rows may have been kept; writing them again changes nothing.
        """
        waiting = [lines_of(rows, self._config.measurement, self._gateway)]
        refused, requests = 0, 0
        while waiting:
            lines = waiting.pop()
            status, said = self._post("\n".join(lines).encode())
            requests += 1
            if status == _WRITTEN:
                continue
            if status not in _REFUSED:
                raise self._error(status, said)
            if len(lines) == 1 or requests >= HALVINGS_MOST:
                refused += len(lines)
            else:
                middle = len(lines) // 2
                waiting += [lines[middle:], lines[:middle]]
        return refused

    def close(self) -> None:
        """Give up the connections."""
        if self._client is not None:
            self._client.close()
            self._client = self._service = None

    def _post(self, body: bytes) -> tuple[int, str]:
        """Status and what the server said. `WriteApi` above this service does not tell a proxy's 200 from a 204."""
        try:
            done = self._ready().post_write_with_http_info(self._config.org, self._config.bucket, body, precision="ns")
        except ApiException as error:
            if not error.status:  # the client's way to say that TLS failed
                raise self._away(urllib3.exceptions.SSLError(str(error.reason).partition("\n")[2])) from error
            raw = error.body
            text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw or "")
            return int(error.status), " ".join(text.split())[:200]
        except urllib3.exceptions.HTTPError as error:
            raise self._away(error) from error
        return int(done[1]), ""

    def _ready(self) -> Any:
        token = secret_in(self._config.token_file)
        if self._service is None or token != self._token:
            self.close()
            self._token = token
            self._client = InfluxDBClient(
                url=self._config.url,
                token=token,
                org=self._config.org,
                timeout=(int(CONNECT_S * 1000), int(READ_S * 1000)),
                ssl_ca_cert=None if self._config.ca_file is None else str(self._config.ca_file),
                retries=False,
            )
            make: Any = WriteService
            self._service = make(self._client.api_client)
        return self._service

    def _away(self, error: urllib3.exceptions.HTTPError) -> LinkError:
        where = self._config.url
        if isinstance(error, urllib3.exceptions.SSLError):
            return LinkError(
                "output_tls_failed",
                f"{where} 的证书没有通过验证（{error}）。",
                f"the certificate of {where} cannot be verified ({error}).",
                "请用 ca_file 指定签发它的 CA，并核对主机名和有效期。",
                "Name the CA that signed it in ca_file; check host name and expiry.",
            )
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return LinkError(
                "output_silent",
                f"{where} 在 {READ_S:.0f} 秒内没有应答。",
                f"{where} did not answer within {READ_S:.0f} s.",
                "请检查 InfluxDB 的负载和磁盘。",
                "Look at InfluxDB's load and disk.",
            )
        cause = _cause_of(error)
        return LinkError(
            "output_unreachable",
            f"无法连接 {where}（{cause.zh}）。",
            f"cannot reach {where} ({cause.en}).",
            "请检查 InfluxDB 是否运行、地址、端口和网线。",
            "Check that InfluxDB runs, its address and port, and the cable.",
        )

    def _error(self, status: int, said: str) -> LinkError:
        where = f"{self._config.url} {self._config.bucket}"
        if status in _WORDS:
            code, zh, en, next_zh, next_en = _WORDS[status]
            return LinkError(code, f"{where}：{zh}（{status}）。", f"{where}: {en} ({status}).", next_zh, next_en)
        if 200 <= status < 300:
            return LinkError(
                "output_not_influxdb",
                f"{where} 应答 {status} 而不是 204，不像 InfluxDB。",
                f"{where} answered {status}, not 204: it is no InfluxDB.",
                "请检查 url，以及中间的代理。",
                "Check `url`, and proxies on the way.",
            )
        return LinkError(
            "output_server_failed",
            f"{where} 应答 {status}：{said}",
            f"{where} answered {status}: {said}",
            "请检查 InfluxDB 的磁盘是否已满（1.x 腾出空间后要重启它）、负载和日志。",
            "Check whether InfluxDB's disk is full (a 1.x needs a restart once there is space), its load and its log.",
        )


def _cause_of(error: BaseException) -> Cause:
    """The cause behind what urllib3 says: it wraps the system's error, more than once."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, OSError):
        seen = seen.__cause__ or seen.__context__
    return cause_of(seen or error)
