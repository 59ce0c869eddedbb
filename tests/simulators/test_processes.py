"""Programs are ended whatever they do, and what they said last is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulators.processes import Processes, ProgramError

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    for name, text in (("stubborn", STUBBORN), ("broken", "raise SystemExit('no oil')"), ("hello", "print('hello')")):
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    made = Processes(tmp_path / "logs", {**os.environ, "PYTHONPATH": str(tmp_path)})
    try:
        yield made
    finally:
        await made.stop()
        await made.stop()


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_program_that_does_not_listen_is_ended_with_its_children(processes: Processes) -> None:
    program = await processes.start("stubborn", ["stubborn"], orders=True)
    assert program.process.stdout is not None
    child = int(await program.process.stdout.readline())
    assert is_running(child)
    assert await processes.stop_one(program, timeout_s=0.2) == -signal.SIGKILL
    async with asyncio.timeout(5):
        while is_running(child):  # noqa: ASYNC110 (another process: there is no event to wait for)
            await asyncio.sleep(0.01)


async def test_a_program_that_ended_by_itself_is_told_with_the_end_of_its_log(processes: Processes) -> None:
    program = await processes.start("broken", ["broken"])
    await program.process.wait()
    with pytest.raises(ProgramError, match=r"(?s)broken ended.*no oil"):
        processes.check()


async def test_what_a_program_prints_is_given_and_a_failure_raised(processes: Processes) -> None:
    assert await processes.run("hello", ["hello"]) == "hello\n"
    with pytest.raises(ProgramError, match="no oil"):
        await processes.run("broken", ["broken"])
    processes.check()
