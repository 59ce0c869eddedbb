"""The plant's own InfluxDB on a disk that is really full: a small tmpfs. Root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from collectors.model import LinkError
from gateway.outputs.influx import InfluxSink
from gateway.outputs.rows import Rows
from tests.gateway.outputs.plants import influx_output, rows_of
from tests.servers_influx import Influx1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the space that is left."""
    ballast = folder / "ballast"
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(descriptor, bytes(4096))
    os.close(descriptor)
    return ballast


def write_again_and_again(sink: InfluxSink, rows: Rows) -> None:
    for _ in range(20):  # a last page may still have room
        sink.write(rows)


def test_a_full_disk_is_told_and_what_waited_is_written_once_there_is_space(small_disk: Path) -> None:
    server = Influx1(small_disk)
    try:
        server.start()
        server.bucket("plant")
        sink = InfluxSink(influx_output(f"http://{server.host}", bucket="plant", token_file=server.token_file), "g-1")
        assert sink.write(rows_of(1.0, tag=1)) == 0
        ballast = fill(small_disk)
        waiting = rows_of(*range(900))
        with pytest.raises(LinkError) as told:
            write_again_and_again(sink, waiting)
        assert told.value.code == "output_server_failed"
        assert "no space left on device" in told.value.en
        assert "disk is full" in told.value.next_en
        ballast.unlink()
        server.stop_influxd()
        server.start_influxd()
        assert sink.write(waiting) == 0
        sink.close()
        assert sum(row[1] for row in server.query("plant", "SELECT count(value) FROM plantpulse")[0]["values"]) == 901
    finally:
        server.stop()
