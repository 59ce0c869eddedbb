"""plantpulse-county: the county service and what its administrator does with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from api.cli_exit import Commands, check_period, fail, settings_or_exit
from api.cli_operation import operation
from api.clock import SystemClock

app = typer.Typer(
    cls=Commands,
    help="厂脉 PlantPulse 县级服务 / the county service",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
users = typer.Typer(help="门户用户 / users of the portal", no_args_is_help=True)
gateways = typer.Typer(help="网关的登记与凭证 / enrolment and credentials of gateways", no_args_is_help=True)
app.add_typer(operation)
app.add_typer(users, name="user")
app.add_typer(gateways, name="gateway")
holds = typer.Typer(help="保留分钟记录，不到期删除 / minute records that must not expire", no_args_is_help=True)
app.add_typer(holds, name="hold")


@app.command()
def serve() -> None:
    """运行服务，直到收到停止信号 / run the service until it is told to stop."""
    from api.server import ServeError
    from api.server import serve as run

    try:
        run(settings_or_exit())
    except ServeError as error:
        fail(str(error))


@app.command("import")
def import_register(
    folder: Annotated[Path, typer.Option(help="台账 CSV 文件夹 / folder of the register's CSV files")],
) -> None:
    """导入台账：全部成功，或全部不变 / load the register: all of it or nothing."""
    from api.register.admin import load_register
    from api.register.csv_read import RegisterImportError

    try:
        done = load_register(settings_or_exit(), folder, SystemClock().now_ns())
    except RegisterImportError as error:
        for line in error.errors:
            typer.echo(str(line), err=True)
        fail(f"共 {len(error.errors)} 处错误，台账未改动 / {len(error.errors)} errors, nothing was changed")
    for file in done.new:
        typer.echo(
            f"{file}: 新增 new {done.new[file]}, 变更 changed {done.changed[file]}, "
            f"未变 unchanged {done.unchanged[file]}"
        )


@users.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="用户名 / user name")],
    role: Annotated[str, typer.Option(help="administrator | statistician | viewer | auditor | township | enterprise")],
    password_file: Annotated[Path, typer.Option(help="密码文件 / file that holds the password")],
    enterprise: Annotated[
        str | None, typer.Option(help="企业统一社会信用代码（企业角色）/ credit code, for the role enterprise")
    ] = None,
) -> None:
    """新增用户，或重设其密码与角色 / add a user, or set password and role anew."""
    from api.register.admin import ROLES, AdminError, set_user

    if role not in ROLES:
        raise typer.BadParameter(f"--role {role}: 应为 expected one of {', '.join(ROLES)}")
    try:
        set_user(settings_or_exit(), name, role, password_file, enterprise, SystemClock().now_ns())
    except AdminError as error:
        fail(str(error))
    typer.echo(f"{name}: {role}")


@gateways.command("add")
def gateway_add(
    gateway: Annotated[str, typer.Argument(help="网关编号 / the gateway's id")],
    credential_file: Annotated[
        Path | None, typer.Option(help="写入此文件（权限 600），否则打印 / written here, mode 600; else printed")
    ] = None,
) -> None:
    """签发网关凭证，旧凭证失效 / issue a credential; older ones stop to be valid."""
    from api.register.admin import AdminError, issue_credential

    try:
        credential = issue_credential(settings_or_exit(), gateway, credential_file, SystemClock().now_ns())
    except AdminError as error:
        fail(str(error))
    if credential_file is None:
        typer.echo(credential)
    else:
        typer.echo(f"{gateway}: {credential_file}")


@gateways.command("code")
def gateway_code(
    gateway: Annotated[str, typer.Argument(help="网关编号 / the gateway's id")],
    hours: Annotated[float, typer.Option(min=0.1, max=24 * 31, help="有效小时数 / how long it is good, h")] = 72.0,
    code_file: Annotated[
        Path | None, typer.Option(help="写入此文件（权限 600），否则打印 / written here, mode 600; else printed")
    ] = None,
) -> None:
    """生成一次性登记代码，供 plantpulse-gateway enroll 使用 / make a one-time code for plantpulse-gateway enroll."""
    from api.register.admin import AdminError, make_enrolment_code

    try:
        code, named = make_enrolment_code(settings_or_exit(), gateway, hours, code_file, SystemClock().now_ns())
    except AdminError as error:
        fail(str(error))
    if not named:
        typer.echo(
            f"注意：台账 gateways.csv 里还没有 {gateway}，请核对编号，或先导入 / "
            f"note: gateways.csv does not name {gateway} yet: check the id, or import it",
            err=True,
        )
    typer.echo(code if code_file is None else f"{gateway}: {code_file}")


@gateways.command("revoke")
def gateway_revoke(
    gateway: Annotated[str, typer.Argument(help="网关编号 / the gateway's id")],
    replaced: Annotated[
        bool, typer.Option("--replaced", help="只吊销已被接替的旧硬件 / only what replaced hardware still holds")
    ] = False,
) -> None:
    """吊销网关的凭证和登记代码 / end a gateway's credentials and codes: it can send nothing any more."""
    from api.register.admin import AdminError, revoke_credentials

    try:
        ended = revoke_credentials(settings_or_exit(), gateway, replaced, SystemClock().now_ns())
    except AdminError as error:
        fail(str(error))
    typer.echo(f"{gateway}: 已吊销 revoked {ended}；运行中的服务 10 秒内生效 a running service knows within 10 s")


@gateways.command("list")
def gateway_list(
    as_json: Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")] = False,
) -> None:
    """列出网关的凭证与登记代码的状态，不含内容 / list the state of credentials and codes, never what they are."""
    from api.register.admin import credentials_of

    listed = credentials_of(settings_or_exit(), SystemClock().now_ns())
    if as_json:
        typer.echo(json.dumps(listed, ensure_ascii=False, indent=2))
        return
    if listed:
        typer.echo("网关 gateway, 状态 state, 自何时 since / 有效至 good until, 硬件 hardware")
    for one in listed:
        if one["code_expires"]:
            typer.echo(f"{one['gateway']:32} code      {one['code_expires']}")
        for held in one["credentials"]:
            since = held["revoked"] or held["hand_over"] or held["first_used"] or "-"
            typer.echo(f"{one['gateway']:32} {held['state']:9} {since:21} {held['hardware']}")


@app.command()
def publish(
    draft: Annotated[bool, typer.Option("--draft", help="为统计期制作一套草稿 / make a draft of a period")] = False,
    set_id: Annotated[int | None, typer.Option("--set", help="发布这套数 / publish this set")] = None,
    withdraw: Annotated[int | None, typer.Option(help="撤回已发布的这套数 / withdraw this published set")] = None,
    period: Annotated[
        str | None, typer.Option(help="2026-11、2026-Q4、2026、2026-01..2026-11；默认本月 / default: this month")
    ] = None,
    note: Annotated[str, typer.Option(help="说明，发布与撤回必填 / a note; needed to publish or withdraw")] = "",
    enterprises: Annotated[
        bool, typer.Option("--enterprises", help="草稿含每家企业 / every enterprise in the draft too")
    ] = False,
) -> None:
    """指标草稿、发布与撤回；都不给时列出各套数 / draft, publish or withdraw figures; without any: list the sets."""
    from api.problems import ProblemError
    from api.services.figure_sets import FigureSetError
    from api.services.publishing import say

    if sum((draft, set_id is not None, withdraw is not None)) > 1:
        raise typer.BadParameter("--draft、--set、--withdraw 只能用一个 / one of them at a time")
    if (set_id is not None or withdraw is not None) and not note.strip():
        raise typer.BadParameter("--note: 发布与撤回须写明说明 / publishing and withdrawing need a note")
    if note.strip() and not draft and set_id is None and withdraw is None:
        raise typer.BadParameter("--note: 说明属于 --draft、--set 或 --withdraw / a note goes with one of them")
    if period is not None:
        check_period(period)
    try:
        lines = say(
            settings_or_exit(),
            SystemClock(),
            draft=draft,
            set_id=set_id,
            withdrawn=withdraw,
            period=period,
            note=note,
            enterprises=enterprises,
        )
    except (FigureSetError, ProblemError) as error:
        fail(str(error))
    for line in lines:
        typer.echo(line)


def _day(text: str) -> int:
    from api.services.periods import read_day

    try:
        return read_day(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@holds.command("add")
def hold_add(
    first: Annotated[str, typer.Argument(help="首日 YYYY-MM-DD / first local day")],
    last: Annotated[str, typer.Argument(help="末日 YYYY-MM-DD / last local day, included")],
    reason: Annotated[str, typer.Option(help="理由 / why")],
    enterprise: Annotated[str | None, typer.Option(help="涉及的企业代码 / the enterprise that it is about")] = None,
) -> None:
    """保留这些天的分钟记录，直到解除 / keep the minute records of these days until the hold is released."""
    from api.holds import HoldError, add_hold
    from api.register.admin import register_of

    settings = settings_or_exit()
    days = _day(first), _day(last)
    if days[0] > days[1]:
        raise typer.BadParameter(f"{first} {last}: 首日不能晚于末日 expected the first day not after the last")
    try:
        with register_of(settings, must_exist=True) as engine:
            made = add_hold(engine, *days, enterprise, reason, "cli", SystemClock().now_ns())
    except HoldError as error:
        fail(str(error))
    typer.echo(f"{made}: {first} – {last}")
    if settings.store_address.startswith("influxdb"):
        typer.echo(
            "InfluxDB 按自己的保留期删除：请把桶的保留期设得够长 / "
            "InfluxDB drops by a retention of its own: set the bucket's long enough",
            err=True,
        )


@holds.command("release")
def hold_release(hold_id: Annotated[int, typer.Argument(help="编号 / number of the hold")]) -> None:
    """解除保留，这些天照常到期 / release a hold; its days expire as others do."""
    from api.holds import HoldError, release_hold
    from api.register.admin import register_of

    try:
        with register_of(settings_or_exit(), must_exist=True) as engine:
            release_hold(engine, hold_id, "cli", SystemClock().now_ns())
    except HoldError as error:
        fail(str(error))
    typer.echo(f"{hold_id}: 已解除 released")


@holds.command("list")
def hold_list() -> None:
    """列出保留，新的在前 / list the holds, the newest first."""
    from api.holds import list_holds
    from api.register.admin import register_of
    from api.services.periods import day_id

    with register_of(settings_or_exit(), must_exist=True) as engine:
        found = list_holds(engine)
    for hold in found:
        state = "有效 stands" if hold.released_ns is None else "已解除 released"
        about = hold.credit_code or "全部 all"
        typer.echo(f"{hold.id}: {day_id(hold.from_day)} – {day_id(hold.to_day)}, {about}, {state}: {hold.reason}")


@app.command()
def audit() -> None:
    """核对审计日志的链条：改动或删除任何一行都会发现 / verify the audit log: an edited or missing row is found."""
    from api.register.admin import register_of
    from api.register.audit import verify

    with register_of(settings_or_exit(), must_exist=True) as engine, engine.connect() as connection:
        checked = verify(connection)
    if checked.broken is not None:
        fail(
            f"审计日志第 {checked.broken} 行与前一行不衔接：有行被改动或删除，请与备份比对 / "
            f"row {checked.broken} does not follow from the one before it: a row was edited or is missing, "
            "compare with a backup"
        )
    typer.echo(f"完整 whole: {checked.rows} 行 rows, 末行摘要 last digest {checked.last}")


def main() -> None:
    """Entry of the console command."""
    app()


if __name__ == "__main__":
    main()
