"""`set-aside`: what the county refused, row by row, for whoever is to find out why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.terminal import failing, print_json

if TYPE_CHECKING:
    from gateway.outbox.set_aside import Refused


def set_aside(
    config: Annotated[Path, typer.Option("--config", help="工厂文件 / the plant's file (YAML)")],
    batch: Annotated[str, typer.Option(help="只看这一批：纪元/序号 / only this one: EPOCH/SEQUENCE")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """列出县级拒收的批次及其内容；网关可以在运行 / List batches that the county refused, with their rows."""
    import sqlite3

    from gateway.config import load
    from gateway.moving import OUTBOX, whereabouts
    from gateway.outbox.set_aside import refused

    only = _key(batch)
    with failing(as_json):
        path = whereabouts(load(config).gateway.data_dir) / OUTBOX
        try:
            found = refused(path, only) if path.exists() else []
        except sqlite3.Error as error:
            raise OSError(f"待发库 {path} 无法读取 / the outbox {path} cannot be read: {error}") from error
    if as_json:
        print_json([one.as_json() for one in found])
    for one in found if not as_json else ():
        print(_told(one))
    if not found and not as_json:
        print("没有这样的批次。/ there is no such batch." if batch else "没有被拒收的批次。/ nothing was refused.")
    raise typer.Exit(0 if found or not batch else 1)


def _key(batch: str) -> tuple[int, int] | None:
    epoch, slash, sequence = batch.partition("/")
    if not batch:
        return None
    if not slash or not epoch.isdecimal() or not sequence.isdecimal():
        raise typer.BadParameter(f"--batch 应为 纪元/序号，例如 17/4 / EPOCH/SEQUENCE, such as 17/4: {batch}")
    return int(epoch), int(sequence)


def _told(one: Refused) -> str:
    from gateway.page.render import cell, moment

    epoch, sequence, rows, since_ns, reason = one.batch
    head = [
        f"{epoch}/{sequence}  {moment(since_ns)}  {rows} 行 / rows",
        f"    县级原话 / the county's words: {reason}",
    ]
    if one.content is None:
        return "\n".join([*head, "    内容无法解读 / what is in it cannot be read"])
    told = ["    " + "  ".join(f"{k}={cell(k, v)}" for k, v in row.items()) for row in one.content["rows"]]
    left = rows - len(told)
    return "\n".join([*head, *told, *([f"    … {left} 行未显示 / rows not shown"] if left > 0 else [])])
