"""The commands of operation: doctor, backup, restore, recompute, export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from api.cli_exit import check_period, fail, settings_or_exit
from api.clock import SystemClock

operation = typer.Typer()


@operation.command()
def recompute(
    from_day: Annotated[
        str, typer.Option("--from", help="第一天，如 2026-11-01；默认一年前 / first day; default: a year ago")
    ] = "",
    to_day: Annotated[str, typer.Option("--to", help="最后一天；默认昨天 / last day; default: yesterday")] = "",
    gateway: Annotated[
        list[str] | None, typer.Option(help="只算这些网关，可重复 / these gateways only; may be repeated")
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(
            help="in-process，或 Dask 调度器 tcp://主机:端口（需 plantpulse[dask]）/ in-process, or a Dask scheduler's "
            "tcp://host:port (needs plantpulse[dask])"
        ),
    ] = "in-process",
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """由分钟记录重算日指标，与现有结果逐位比较 / compute days again from their records, compared to the bit with what
    stands."""
    from api.recompute.command import RecomputeCallError, RecomputeCommandError, recompute_days

    try:
        told = recompute_days(settings_or_exit(), SystemClock(), from_day, to_day, gateway or [], scheduler)
    except RecomputeCallError as error:
        raise typer.BadParameter(str(error)) from error
    except RecomputeCommandError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=1))
        return
    typer.echo(
        f"不变 unchanged {told['unchanged']}, 改变 changed {len(told['changed'])}, "
        f"交给服务 left to the service {len(told['left_to_service'])}, 最终值 final {len(told['final'])}, "
        f"没有记录 without records {len(told['without_records'])}"
    )
    for one in told["changed"]:
        typer.echo(f"  改变 changed: {one['gateway']} {one['day']}")


@operation.command()
def export(
    period: Annotated[
        str | None, typer.Option(help="2026-11、2026-Q4、2026、2026-01..2026-11；默认本月 / default: this month")
    ] = None,
    set_id: Annotated[
        int | None, typer.Option("--set", help="这套数，照当时算出的 / this set, as it was computed then")
    ] = None,
    devices: Annotated[
        bool, typer.Option("--device-days", help="改为每台设备每天的日数据 / day by day what each device did, instead")
    ] = False,
    enterprises: Annotated[
        bool, typer.Option("--enterprises", help="含每家企业 / every enterprise's figures too")
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(
            help="写入 .csv、.parquet 或 .json 文件；不给则打印 / into this file; else printed", dir_okay=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """导出一个统计期各范围的指标，或每台设备每天的日数据，服务可照常运行 / export a period's figures at every scope, or
    what each device did each day; the service may run."""
    from api.export.command import Asked
    from api.export.command import export as run
    from api.export.files import WRITERS
    from api.problems import ProblemError
    from api.services.figure_sets import FigureSetError

    if set_id is not None and (devices or enterprises or period is not None):
        raise typer.BadParameter(
            "--set: 不能与 --period、--device-days、--enterprises 同用 / stands alone: a set has both"
        )
    if devices and enterprises:
        raise typer.BadParameter("--enterprises: 只用于指标 / belongs to figures, not to --device-days")
    if period is not None:
        check_period(period)
    if to is not None and to.suffix.lower() not in WRITERS:
        raise typer.BadParameter(f"--to {to}: 应以此结尾 expected a name that ends with {', '.join(WRITERS)}")
    try:
        told = run(settings_or_exit(), SystemClock(), Asked(period, set_id, devices, enterprises, to, as_json))
    except (FigureSetError, ProblemError) as error:
        fail(str(error))
    except OSError as error:
        fail(
            f"{to or '-'}: 写不进去，请检查文件夹、权限与磁盘 cannot be written, check folder, rights and disk: {error}"
        )
    if to is None:
        return
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        typer.echo(f"{to}: {told['period']}, {told['rows']} 行 rows")


_MARKS = {"ok": "  ", "warning": "! ", "failed": "X ", "unknown": "? "}


@operation.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """检查服务、存储、磁盘、时间、升级、证书与失联网关，并给出下一步 / look at service, stores, disk, clock,
    migrations, certificates and silent gateways, each with a next step."""
    from api.doctor.examine import examine

    found = examine(settings_or_exit(), SystemClock())
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in found], ensure_ascii=False, indent=1))
    else:
        for one in found:
            typer.echo(f"{_MARKS[one.state]}{one.check}: {one.zh} {one.en}")
            if one.next_zh:
                typer.echo(f"    → {one.next_zh} {one.next_en}")
    if any(one.state == "failed" for one in found):
        raise typer.Exit(1)


@operation.command()
def backup(
    to: Annotated[Path, typer.Option(help="备份写入此文件夹下的新文件夹 / written into a new folder below this one")],
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """备份台账、接收日志、封存明细与口径，服务可照常运行 / back up register, journal, sealed days and definitions;
    the service may run."""
    from api.backup.frames import BackupError
    from api.backup.make import make_backup

    try:
        made = make_backup(settings_or_exit(), to, SystemClock().now_ns())
    except BackupError as error:
        fail(str(error))
    typer.echo(json.dumps({"backup": str(made)}, ensure_ascii=False) if as_json else str(made))


@operation.command()
def restore(
    source: Annotated[Path, typer.Argument(help="备份文件夹 / the backup's folder")],
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """把备份恢复到空的数据文件夹与数据库（SQLite 或 PostgreSQL），须先停止服务 / put a backup back into an empty data
    folder and database, SQLite or PostgreSQL; the service must be stopped."""
    from api.backup.frames import BackupError
    from api.backup.restore import restore_backup
    from api.store.port import StoreLockedError

    try:
        done = restore_backup(settings_or_exit(), source, SystemClock().now_ns())
    except (BackupError, StoreLockedError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(done._asdict(), ensure_ascii=False))
        return
    typer.echo(
        f"已恢复 restored {source.name} ({done.made}): 台账 {done.rows} 行 register rows, "
        f"接收日志 {done.batches} 批 batches, "
        f"封存 {done.sealed_days} 天 sealed days；备份之后的数据，启动服务后会自动向网关索取 "
        "once the service runs, it asks the gateways for what came later"
    )
