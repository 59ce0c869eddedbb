"""An MQTT broker of our own: Debian's mosquitto, on loopback, with a configuration of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PROGRAM: Final = "mosquitto"
_FOLDERS_OFTEN_OFF_PATH: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_START_TIMEOUT_S: Final = 10.0
_STOP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.01
_PORT_ATTEMPTS: Final = 5
_RUNNING: Final = b" running"
_LOG_EXCERPT_LINES: Final = 5


class BrokerError(Exception):
    """The broker cannot be started; in Chinese and English, with the next step."""


def find_mosquitto() -> Path:
    """The broker's program. Raises BrokerError where it is not installed."""
    folders = os.pathsep.join((os.environ.get("PATH", ""), *_FOLDERS_OFTEN_OFF_PATH))
    found = shutil.which(_PROGRAM, path=folders)
    if found is None:
        raise BrokerError(
            "找不到 mosquitto 程序。请安装：sudo apt-get install mosquitto。 / "
            "the program mosquitto is not installed. Install it: sudo apt-get install mosquitto."
        )
    return Path(found)


class Mosquitto:
    """One mosquitto process listening on 127.0.0.1, its sessions and log kept in `data_dir`.

    `port` 0 chooses a free one, kept over `stop` and `start`. `config_lines` are added to the
    configuration as they are; lines that start with `allow_anonymous` or `log_type` replace ours
    (true; all), and `log_type information` must be among the latter. The log, with every packet, is at
    `log_path`. Sessions survive `stop`, and of `kill` what the broker had saved before.
    """

    host: Final = "127.0.0.1"

    def __init__(self, data_dir: Path, port: int = 0, config_lines: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.port = port
        self.log_path = data_dir / "mosquitto.log"
        self._config_lines = tuple(config_lines)
        self._choose_port = port == 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """The broker's URL."""
        return f"mqtt://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process, 0 while it is not running."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start and wait until it listens. Does nothing while it runs. Raises BrokerError."""
        if self._process is not None:
            return
        program = find_mosquitto()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        attempts = _PORT_ATTEMPTS if self._choose_port else 1
        for attempt in range(1, attempts + 1):
            if self._choose_port:
                self.port = _free_port()
            if await self._launch(program):
                self._choose_port = False
                return
            if attempt == attempts:
                raise BrokerError(
                    f"mosquitto 没有启动（端口 {self.port}），日志 {self.log_path} 的末尾见下。 / "
                    f"mosquitto did not start (port {self.port}); the log ends:\n{self._log_end()}"
                )

    async def stop(self) -> None:
        """Ask it to end, and end it after 5 s. Safe twice."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut does."""
        await self._end(signal.SIGKILL)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _launch(self, program: Path) -> bool:
        config = self.data_dir / "mosquitto.conf"
        config.write_text("\n".join(self._configuration()) + "\n", encoding="utf-8")
        with self.log_path.open("ab") as log:
            logged = log.tell()
            # A session of its own: Ctrl-C on a terminal reaches the one who owns the broker, which then stops it.
            self._process = await asyncio.create_subprocess_exec(
                str(program), "-c", str(config), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while self._process.returncode is None:
                    # Its own word first: someone else may be listening on that port.
                    if _RUNNING in self._log_from(logged) and await _listens(self.host, self.port):
                        return True
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            pass
        except BaseException:
            await self.kill()
            raise
        await self.kill()
        return False

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for attempt in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(attempt)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await process.wait()
                    return

    def _configuration(self) -> list[str]:
        lines = [
            # As root mosquitto would become the user "mosquitto", who may not write here.
            f"user {pwd.getpwuid(os.getuid()).pw_name}",
            "persistence true",
            f"persistence_location {self.data_dir}/",
            "log_dest stderr",
            "set_tcp_nodelay true",
        ]
        given = {line.split()[0] for line in self._config_lines}
        lines += [ours for ours in ("allow_anonymous true", "log_type all") if ours.split()[0] not in given]
        return [*lines, f"listener {self.port} {self.host}", *self._config_lines]

    def _log_from(self, offset: int) -> bytes:
        with self.log_path.open("rb") as log:
            log.seek(offset)
            return log.read()

    def _log_end(self) -> str:
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_EXCERPT_LINES:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((Mosquitto.host, 0))
        return int(probe.getsockname()[1])


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
