"""`bundle`: a support archive without secrets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from gateway.terminal import fail, print_json


def bundle(
    config: Annotated[Path, typer.Option("--config", help="工厂文件 / the plant's file (YAML)")],
    output: Annotated[
        Path | None, typer.Option(help="存档文件名，默认在当前文件夹 / the archive; default: in this folder")
    ] = None,
    status_file: Annotated[
        Path | None, typer.Option(help="run --status-file 写的摘要 / what run --status-file writes", exists=True)
    ] = None,
    log_file: Annotated[
        list[Path] | None, typer.Option(help="日志文件，可多次 / a log to take along, may be repeated", exists=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """生成支持存档：配置、体检、日志、统计，密码与凭证已去除 / Make a support archive; secrets are removed."""
    import msgspec

    from gateway.bundle.archive import BundleError, make

    try:
        made = asyncio.run(make(config, output=output, status_file=status_file, logs=log_file or ()))
    except (BundleError, OSError, msgspec.DecodeError) as error:
        fail(error, as_json)
    if as_json:
        print_json({"ok": True, "archive": str(made.path), "files": list(made.files), "removed": made.removed})
        return
    print(f"{made.path}: {len(made.files)} 个文件，去除了 {made.removed} 处密码、凭证或密钥。交出前可以打开查看。")
    print(f"{made.path}: {len(made.files)} files, secrets removed in {made.removed} places; look before you send it.")
