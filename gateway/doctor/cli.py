"""`doctor`: what keeps a gateway from working, and what to do about it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.terminal import print_json


def doctor(
    config: Annotated[Path, typer.Option("--config", help="工厂文件 / the plant's file (YAML)")],
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """体检：时钟、磁盘、网络、县级服务、设备；网关可以在运行 / Examine clock, disk, network, county, devices."""
    from gateway.doctor.examination import examine
    from gateway.doctor.findings import is_well, report_json, report_text

    seen = asyncio.run(examine(config))
    if as_json:
        print_json(report_json(seen.findings))
    else:
        print(report_text(seen.findings))
    raise typer.Exit(0 if is_well(seen.findings) else 1)
