"""The programs that a demo is made of: each in a process group of its own, its output in a log file.

Whatever happens, `Processes.stop` ends every one of them, by process id; and should this process be
killed outright, the kernel ends them (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

STOP_TIMEOUT_S: Final = 10.0
_LOG_LINES_SHOWN: Final = 15
_PR_SET_PDEATHSIG: Final = 1


class ProgramError(Exception):
    """A program of the demo ended or failed, in Chinese and English, with the end of its log."""


class Port(NamedTuple):
    """A TCP port of 127.0.0.1, and whether it is the one that was wished for."""

    number: int
    preferred: bool


class Program:
    """A running program: its name, process and log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def ended(self) -> bool:
        """Whether the process is no longer running."""
        return self.process.returncode is not None

    async def order(self, line: str) -> str:
        """Give a line on standard input and wait for the line that answers it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None, "started without orders=True"
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()
        async with asyncio.timeout(STOP_TIMEOUT_S):
            return (await self.process.stdout.readline()).decode()

    async def stop(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask the program to end, and end its whole group when it does not. Gives its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            async with asyncio.timeout(timeout_s):
                await self.process.wait()
        except TimeoutError:
            self.kill_group()
            await self.process.wait()
        return self.process.returncode or 0

    def kill_group(self) -> None:
        """End the program and everything it started in its group, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def trouble(self) -> ProgramError:
        """What to say when it ended though it should not have."""
        return ProgramError(
            f"{self.name} 已退出（代码 {self.process.returncode}），日志 {self.log} / "
            f"{self.name} ended (code {self.process.returncode}), log {self.log}:\n{log_end(self.log)}"
        )


class Processes:
    """Starts programs with logs in one folder, and ends all of them."""

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs = logs
        self._environment = dict(environment)
        self._programs: list[Program] = []

    async def start(
        self, name: str, arguments: Sequence[str], *, orders: bool = False, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Start `python -m …`. With `orders`, standard input and output are pipes, and only its errors are logged."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=asyncio.subprocess.PIPE if orders else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if orders else file,
                stderr=file,
                env={**self._environment, **(environment or {})},
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        program = Program(name, process, log)
        self._programs.append(program)
        return program

    async def run(self, name: str, arguments: Sequence[str], *, timeout_s: float = 60.0) -> str:
        """Run a program to its end and give what it printed. Raises ProgramError when its exit code is not 0."""
        program = await self.start(name, arguments, orders=True)
        assert program.process.stdout is not None
        assert program.process.stdin is not None
        program.process.stdin.close()
        try:
            async with asyncio.timeout(timeout_s):
                printed = (await program.process.stdout.read()).decode(errors="replace")
                await program.process.wait()
        finally:
            if not program.ended:
                program.kill_group()
                await program.process.wait()
            self._programs.remove(program)
        if program.process.returncode != 0:
            with program.log.open("a", encoding="utf-8") as log:
                log.write(printed)
            raise program.trouble()
        return printed

    def check(self) -> None:
        """Raise ProgramError when one of the programs has ended by itself."""
        for program in self._programs:
            if program.ended:
                raise program.trouble()

    async def stop_one(self, program: Program, number: signal.Signals = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """End one program and forget it. Gives its exit code."""
        self._programs.remove(program)
        return await program.stop(number, timeout_s)

    async def stop(self) -> None:
        """End all programs, the last started first. Safe twice."""
        programs, self._programs = self._programs, []
        for program in reversed(programs):
            await program.stop()
        for program in programs:
            program.kill_group()  # whatever a program left behind in its group


def choose_port(wished: int, host: str = "127.0.0.1") -> Port:
    """The wished port when it is free, else one that is."""
    for number in (wished, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, number))
            except OSError:
                continue
            return Port(int(probe.getsockname()[1]), number == wished)
    raise ProgramError("没有空闲端口 / no free port")


def log_end(log: Path) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
    except OSError:
        return ""


def _end_with_parent() -> None:
    """In the child, before the program: ask Linux to send SIGTERM when the parent dies."""
    with contextlib.suppress(OSError, AttributeError):
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_LIBC: Final = ctypes.CDLL(None)
