"""One InfluxDB over HTTP: lines go in through `influxdb-client`, InfluxQL comes out over `/query`.

The one place that knows what servers answer. A write has succeeded when the answer is 204, never by another 2xx:
a proxy's welcome page is a 200 too. Which server it is, is said by its version header. No message text is trusted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from influxdb_client.service.write_service import WriteService

from api.store.influx_address import InfluxAddress
from api.store.port import StoreError

_CONNECT_S: Final = 5.0
_READ_S: Final = 30.0
_TRIES: Final = 3
_PAUSES_S: Final = (0.2, 1.0)
_LONGEST_PAUSE_S: Final = 5.0
"""A longer Retry-After is left to the caller, who waits anyway."""

_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_REFUSED: Final = frozenset({400, 422})

_WORDS: Final = {
    401: (
        "令牌无效或已过期",
        "the token is not valid",
        "检查 PLANTPULSE_STORE_TOKEN_FILE 所指文件",
        "check the file that PLANTPULSE_STORE_TOKEN_FILE names",
    ),
    403: (
        "令牌无权读写该存储桶",
        "the token may not read and write this bucket",
        "为该令牌授予读写权限",
        "grant it both, or use another token",
    ),
    404: (
        "没有该存储桶或组织",
        "no such bucket or organization",
        "先建好存储桶，检查 PLANTPULSE_STORE_URL",
        "make the bucket, check PLANTPULSE_STORE_URL",
    ),
    413: (
        "单行请求也过大",
        "a request of one line is too large",
        "提高服务器或代理的请求体上限",
        "raise the body limit of the server or the proxy before it",
    ),
    429: (
        "服务器要求放慢",
        "the server asks to slow down",
        "将自动重试；若持续，请提高写入配额",
        "it is tried again; if it lasts, raise its write limits",
    ),
    503: (
        "服务器暂不可用",
        "the server cannot take it now",
        "将自动重试；若持续，请检查其磁盘与负载",
        "it is tried again; if it lasts, look at its disk and load",
    ),
}


class LinesRefusedError(StoreError):
    """The server will not take one line or more of the request (400, 422); it may have kept the others."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(
            f"InfluxDB 拒收数据行 refused lines: {status} {said}；将逐行查找并另存 the lines are found and set aside"
        )
        self.status = status
        self.said = said


class TooLargeError(StoreError):
    """The request is larger than the server, or a proxy before it, takes (413)."""


class Series(msgspec.Struct, frozen=True):
    """Rows of one measurement and set of tags."""

    name: str
    columns: list[str]
    values: list[list[int | None]]
    tags: dict[str, str] = {}
    partial: bool = False


class _Result(msgspec.Struct, frozen=True):
    series: list[Series] = []
    error: str = ""
    partial: bool = False


class _Answer(msgspec.Struct, frozen=True):
    results: list[_Result] = []
    error: str = ""


class InfluxServer:
    """A bucket on a server. Nothing is opened before the first call; calls may come from any thread."""

    def __init__(
        self,
        address: InfluxAddress,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        *,
        read_s: float = _READ_S,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self._token_file = token_file
        self._ca_file = None if ca_file is None else str(ca_file)
        self._timeout = urllib3.Timeout(connect=_CONNECT_S, read=read_s)
        self._read_s = read_s
        self._pause = pause
        self._http = urllib3.PoolManager(maxsize=4, retries=False, timeout=self._timeout, ca_certs=self._ca_file)
        self._token = ""
        self._client: Any = None  # the library is not typed
        self._service_at_hand: Any = None
        self._version = ""

    @property
    def version(self) -> str:
        """The server's version, such as `2.7.12`; asked once. Raises StoreError."""
        if not self._version:
            status, headers, body = self._get("/ping", {})
            version = headers.get("x-influxdb-version", "")
            if not version:
                if status in (401, 403):
                    raise self._error(status, body)
                raise StoreError(
                    f"{self.address.url}: 应答 {status} 中没有 X-Influxdb-Version，不是 InfluxDB 或被代理隐去；"
                    f"请检查 PLANTPULSE_STORE_URL the answer {status} to /ping names no InfluxDB version: "
                    "check PLANTPULSE_STORE_URL, and that a proxy passes the header on"
                )
            self._version = version.removeprefix("v")
        return self._version

    @property
    def major(self) -> int:
        """1, 2 or 3. Raises StoreError."""
        first = self.version.split(".", 1)[0]
        return int(first) if first.isdigit() else 0

    def write(self, lines: bytes, precision: str = "s") -> None:
        """Write lines of line protocol, times in `precision` (s or ns). A passing failure is tried again.

        Raises LinesRefusedError, TooLargeError or another StoreError. Whatever it raises, lines may have been kept:
        writing the same ones again is harmless.
        """
        for attempt in range(_TRIES):
            status, headers, said = self._post(lines, precision)
            if status == 204:
                return
            if status in _REFUSED:
                raise LinesRefusedError(status, said)
            if status == 413:
                raise TooLargeError(str(self._error(status, said)))
            if status not in _AGAIN or attempt + 1 == _TRIES or not self._wait(attempt, headers):
                raise self._error(status, said)

    def query(self, statement: str, epoch: str = "s") -> list[Series]:
        """The series that answer one InfluxQL statement, times in `epoch`. Raises StoreError."""
        arguments = {"db": self.address.bucket, "q": statement, "epoch": epoch}
        for attempt in range(_TRIES):
            status, headers, body = self._get("/query", arguments)
            if status == 200:
                return self._series(body)
            if status not in _AGAIN or attempt + 1 == _TRIES or not self._wait(attempt, headers):
                break
        raise self._error(status, body)

    def close(self) -> None:
        """Give up the connections."""
        self._http.clear()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _series(self, body: bytes) -> list[Series]:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self.address.url}/query: 应答不是 InfluxDB 的 JSON，请检查地址与代理 "
                f"the answer is not InfluxDB's JSON, check the address and proxies: {error}"
            ) from error
        for said in (answer.error, *(result.error for result in answer.results)):
            if said:
                raise StoreError(
                    f"{self.address.url}, {self.address.bucket}: 查询被拒绝，请检查存储桶（2.x 还需 DBRP 映射） "
                    f"query refused, check that the bucket exists (on 2.x with a DBRP mapping): {said[:300]}"
                )
        if not answer.results:
            raise StoreError(f"{self.address.url}/query: 应答为空 the answer holds no result; 请检查代理 check proxies")
        series = [one for result in answer.results for one in result.series]
        if any(result.partial for result in answer.results) or any(one.partial for one in series):
            raise StoreError(
                f"{self.address.url}/query: 应答被截断，请将 max-row-limit 设为 0 "
                "the answer was cut short: set max-row-limit to 0"
            )
        return series

    def _wait(self, attempt: int, headers: Any) -> bool:
        """Pause before the next try. False: the server wants a longer pause than is taken here."""
        asked = headers.get("retry-after", "")
        pause_s = float(asked) if asked.isdigit() else _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]
        if pause_s > _LONGEST_PAUSE_S:
            return False
        self._pause(pause_s)
        return True

    def _read_token(self) -> str:
        """The token, read again each time it is used: one that was replaced works without a restart."""
        if self._token_file is None:
            return ""
        try:
            return self._token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(
                f"PLANTPULSE_STORE_TOKEN_FILE={self._token_file}: 无法读取，请检查路径与权限 "
                f"cannot be read, check path and permissions: {error}"
            ) from error

    def _get(self, path: str, arguments: dict[str, str]) -> tuple[int, Any, bytes]:
        token = self._read_token()
        headers = {"authorization": f"Token {token}"} if token else {}
        try:
            answer = self._http.request("GET", self.address.url + path, fields=arguments, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise self._away(error) from error
        return answer.status, answer.headers, answer.data

    def _post(self, lines: bytes, precision: str) -> tuple[int, Any, str]:
        """Status, headers and what the server said."""
        try:
            done: Sequence[Any] = self._service().post_write_with_http_info(
                self.address.org, self.address.bucket, lines, precision=precision
            )
        except ApiException as error:
            if not error.status:  # the client's way to say that TLS failed
                raise self._away(urllib3.exceptions.SSLError(str(error.reason).partition("\n")[2])) from error
            return int(error.status), error.headers or {}, _text(error.body)
        except urllib3.exceptions.HTTPError as error:
            raise self._away(error) from error
        return int(done[1]), done[2], ""

    def _service(self) -> Any:
        """The write service: `WriteApi` above it does not tell a 200 from a 204."""
        token = self._read_token()
        if self._client is None or token != self._token:
            if self._client is not None:
                self._client.close()
            self._token = token
            self._client = InfluxDBClient(
                url=self.address.url,
                token=token,
                org=self.address.org,
                timeout=(int(_CONNECT_S * 1000), int(self._read_s * 1000)),
                ssl_ca_cert=self._ca_file,
                retries=False,
            )
            write_service: Any = WriteService
            self._service_at_hand = write_service(self._client.api_client)
        return self._service_at_hand

    def _away(self, error: urllib3.exceptions.HTTPError) -> StoreError:
        where = self.address.url
        if isinstance(error, urllib3.exceptions.SSLError):
            return StoreError(
                f"{where}: TLS 证书未通过验证，请检查证书与 PLANTPULSE_STORE_CA_FILE "
                f"TLS failed, check its certificate and PLANTPULSE_STORE_CA_FILE: {error}"
            )
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return StoreError(
                f"{where}: {self._read_s:g} 秒内无应答，将自动重试；请检查服务器负载与磁盘 "
                f"no answer within {self._read_s:g} s; it is tried again, look at the server's load and disk"
            )
        return StoreError(
            f"{where}: 无法连接 InfluxDB，数据留在日志中并自动重试；请检查其是否运行、地址与防火墙 "
            "cannot be reached; the data wait in the journal and it is tried again: "
            f"check that it runs, the address and the firewall ({type(error).__name__})"
        )

    def _error(self, status: int, body: bytes | str) -> StoreError:
        said = body if isinstance(body, str) else _text(body)
        where = f"{self.address.url}, {self.address.bucket}"
        words = _WORDS.get(status)
        if words is not None:
            what_zh, what_en, next_zh, next_en = words
            return StoreError(f"{where}: {status} {what_zh}，请{next_zh} {what_en}: {next_en}. {said}".rstrip())
        if 200 <= status < 300:
            return StoreError(
                f"{where}: 写入应答 {status} 而非 204，不算成功；请检查地址与代理 "
                f"a write was answered {status}, not 204, and does not count: check the address and proxies"
            )
        return StoreError(
            f"{where}: 应答 {status}，将自动重试；请查看 InfluxDB 日志 "
            f"answered {status}; it is tried again, look at InfluxDB's log. {said}".rstrip()
        )


def _text(body: bytes | str | None) -> str:
    """The first of what a server said, on one line."""
    if body is None:
        return ""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    return " ".join(text.split())[:300]
