"""Why something failed, in plain words: from real failed calls, as Python raises them."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import sqlite3
import ssl
from pathlib import Path

import pytest

from collectors.causes import Cause, cause_of

_RAW = re.compile(r"Errno|Connect call|\('|Error\b")


async def test_a_port_where_nobody_listens_refuses(free_port: int) -> None:
    for host in ("127.0.0.1", "localhost"):  # the second may have several addresses: asyncio then keeps texts only
        with pytest.raises(OSError) as failed:
            await asyncio.open_connection(host, free_port)
        assert cause_of(failed.value) == Cause("连接被拒绝", "connection refused")
    several = OSError(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] Connect call failed ('::1', 1, 0, 0), …")
    assert cause_of(several).en == "connection refused"


async def test_a_link_that_is_reset_or_ended_was_closed_by_the_other_side() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with pytest.raises(asyncio.IncompleteReadError) as failed:
            await reader.readexactly(1)
        writer.close()
    assert cause_of(failed.value).zh == "对方断开了连接"
    assert cause_of(ConnectionResetError()) == cause_of(OSError(errno.ECONNRESET, "x")) == cause_of(failed.value)


async def test_nothing_in_time_is_a_timeout() -> None:
    with pytest.raises(TimeoutError) as failed:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    assert (
        cause_of(failed.value)
        == cause_of(OSError(errno.ETIMEDOUT, "x"))
        == Cause("没有应答，超时", "no answer in time")
    )


def test_a_name_that_is_unknown_is_told_apart_from_a_name_server_that_is_silent() -> None:
    unknown = cause_of(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    silent = cause_of(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"))
    assert "does not know" in unknown.en
    assert "does not answer" in silent.en
    with pytest.raises(UnicodeError) as failed:
        socket.getaddrinfo("a" * 64 + ".example", 1)
    assert cause_of(failed.value) == unknown


def test_files_that_cannot_be_read_are_told_without_the_call(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xe9")
    for path, zh in (
        (tmp_path / "gone", "不存在"),
        (tmp_path, "是文件夹，不是文件"),
        (tmp_path / "latin", "不是 UTF-8 文本"),
    ):
        with pytest.raises((OSError, UnicodeDecodeError)) as failed:
            path.read_text("utf-8")
        assert cause_of(failed.value).zh == zh


def test_a_certificate_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ssl.SSLError) as failed:
        ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    assert cause_of(failed.value).zh == "文件里没有 PEM 格式的内容"


def test_a_database_on_a_read_only_or_absent_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error) as failed:
        sqlite3.connect(tmp_path / "no" / "such.sqlite3")
    assert cause_of(failed.value).en == "the file cannot be opened"
    sqlite3.connect(tmp_path / "x.sqlite3").close()
    db = sqlite3.connect(f"{(tmp_path / 'x.sqlite3').as_uri()}?mode=ro", uri=True)
    with pytest.raises(sqlite3.Error) as failed:
        db.execute("CREATE TABLE t (x)")
    db.close()
    assert cause_of(failed.value).zh == "磁盘是只读的"


def test_no_number_of_the_system_gives_raw_words() -> None:
    for number in errno.errorcode:
        zh, en = cause_of(OSError(number, f"Connect call failed ('127.0.0.1', {number})"))
        assert zh
        assert not _RAW.search(f"{zh} {en}"), number
    assert cause_of(OSError(errno.EDOM, "x")).en == os.strerror(errno.EDOM), "what nobody translated is at least plain"


def test_what_is_not_known_is_quoted_as_it_stands() -> None:
    assert cause_of(ValueError("not an HTTP proxy")) == Cause("not an HTTP proxy", "not an HTTP proxy")
    assert cause_of(KeyError()).en == "KeyError"
