"""`enroll` and `rotate`: how a gateway gets, and changes, what it proves itself with."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.terminal import fail, print_json

if TYPE_CHECKING:
    from gateway.uplink_config import UplinkConfig
    from gateway.wire import Enrolled, Standing

_NS_PER_S = 1_000_000_000
JsonOption = Annotated[bool, typer.Option("--json", help="以 JSON 输出 / print JSON")]


def enroll(
    url: Annotated[str, typer.Argument(help="县级服务的地址 / the county's address, such as https://county.example")],
    code: Annotated[str, typer.Argument(help="县里给的一次性代码 / the county's one-time code")],
    config: Annotated[
        Path, typer.Option("--config", help="工厂文件，没有则新建 / the plant's file, made where there is none")
    ] = Path("plant.yaml"),
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="这台硬件接替已登记的那台 / this hardware takes the place of the one that is enrolled"
        ),
    ] = False,
    credential_file: Annotated[
        Path | None,
        typer.Option(help="凭证写到哪里，默认在工厂文件旁 / where the credential goes; beside the plant's file"),
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="县里自建 CA 的证书 / the county's own CA", exists=True)] = None,
    proxy: Annotated[
        str, typer.Option(help="HTTP 代理；默认按 HTTPS_PROXY；none 不用 / HTTP proxy; as HTTPS_PROXY says; none")
    ] = "",
    proxy_credential_file: Annotated[
        Path | None, typer.Option(help="代理的 用户名:密码 文件 / file with user:password of the proxy", exists=True)
    ] = None,
    plain_http: Annotated[
        bool, typer.Option("--plain-http", help="允许不加密（仅隔离网络）/ permit http:// (isolated network only)")
    ] = False,
    hardware: Annotated[
        str, typer.Option(help="这台硬件的名称，默认自动 / what this hardware is called; found by itself")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """用一次性代码登记网关，取得凭证 / Enrol this gateway with a one-time code; writes its credential."""
    from collectors.model import CollectorError
    from collectors.strict_yaml import FileError
    from gateway.enrolment import client, plant_file
    from gateway.enrolment.hardware import hardware_name
    from gateway.wire import Enroll

    given = {
        "url": url,
        "credential_file": credential_file,
        "ca_file": ca_file,
        "proxy": proxy or None,
        "proxy_credential_file": proxy_credential_file,
        "plain_http": plain_http or None,
    }
    try:
        site, uplink, window_s = _uplink(config, {k: v for k, v in given.items() if v is not None})
        message = Enroll(code, hardware or hardware_name(), replace, window_s)
        got = asyncio.run(client.enroll(uplink, message))
        written = plant_file.write_starter(config, got.gateway, uplink, got.devices)
    except (FileError, CollectorError, OSError) as error:
        fail(error, as_json)
    _wait_for_hand_over(got, as_json)
    try:
        asyncio.run(client.standing(uplink, got.credential))
    except CollectorError as error:
        fail(error, as_json)
    _tell(got, site, uplink, config, written, as_json)


def rotate(
    config: Annotated[Path, typer.Option("--config", help="工厂文件 / the plant's file (YAML)")],
    as_json: JsonOption = False,
) -> None:
    """更换网关凭证，旧的随即失效；网关不必停 / Change the credential; the old one ends; the gateway may run."""
    from collectors.model import CollectorError
    from collectors.strict_yaml import FileError
    from gateway.enrolment import client, plant_file

    try:
        _, uplink, _ = plant_file.uplink_of(config)
        now: Standing = asyncio.run(client.rotate(uplink))
    except (FileError, CollectorError, OSError) as error:
        fail(error, as_json)
    if as_json:
        print_json({"ok": True, "gateway": now.gateway, "credential_file": str(uplink.credential_file)})
        return
    print(f"{now.gateway}: 新凭证已写入 {uplink.credential_file}，旧凭证已失效。")
    print(f"{now.gateway}: the new credential is in {uplink.credential_file}; the old one has ended.")


def _uplink(config: Path, given: dict[str, Any]) -> tuple[str, UplinkConfig, int]:
    """Site, uplink and window [s]: of the plant's file where there is one, what was given comes first."""
    from pydantic import ValidationError

    from gateway.config import DEFAULT_WINDOW_S
    from gateway.enrolment import client, plant_file
    from gateway.uplink_config import UplinkConfig

    known: dict[str, Any] = {"credential_file": client.default_credential_file(config)}
    site, window_s = "", DEFAULT_WINDOW_S
    if config.exists():
        site, uplink, window_s = plant_file.uplink_of(config)
        known = uplink.model_dump()
    given = {name: value.absolute() if isinstance(value, Path) else value for name, value in given.items()}
    try:
        return site, UplinkConfig.model_validate(known | given), window_s
    except ValidationError as error:
        for fault in error.errors():
            words = getattr(fault.get("ctx", {}).get("error"), "args", (fault["msg"],))
            print(" / ".join(str(word) for word in words), file=sys.stderr)
        raise typer.Exit(2) from None


def _wait_for_hand_over(got: Enrolled, as_json: bool) -> None:
    """Until the hand-over the minutes belong to the hardware before: nothing is to be recorded here yet."""
    wait_s = (got.hand_over_s * _NS_PER_S - got.county_time_ns) / _NS_PER_S
    if got.hand_over_s == 0 or wait_s <= 0:
        return
    if not as_json:
        at = f"{datetime.fromtimestamp(got.hand_over_s, UTC):%H:%M:%S} UTC"
        print(f"凭证已写好。{at} 起由这台硬件接替，请等 {wait_s:.0f} 秒再启动网关……")
        print(f"The credential is written. This hardware takes over at {at}: wait {wait_s:.0f} s before it runs …")
    time.sleep(wait_s)


def _tell(got: Enrolled, site: str, uplink: UplinkConfig, config: Path, written: bool, as_json: bool) -> None:
    from gateway.enrolment import plant_file

    other_site = bool(site) and site != got.gateway
    filed = plant_file.uplink_of(config)[1].url
    other_url = filed != uplink.url
    if as_json:
        print_json(
            {
                "ok": True,
                "gateway": got.gateway,
                "credential_file": str(uplink.credential_file),
                "config": str(config),
                "config_written": written,
                "site_differs": other_site,
                "url_differs": other_url,
                "hand_over_s": got.hand_over_s,
                "devices": [device.id for device in got.devices],
            }
        )
        return
    print(f"已登记为 {got.gateway}，凭证在 {uplink.credential_file}（权限 600）。")
    print(f"Enrolled as {got.gateway}; the credential is in {uplink.credential_file} (mode 600).")
    if other_site:
        print(f"注意：{config} 的 site 是 {site}，请改为 {got.gateway}。")
        print(f"Mind: site is {site} in {config}; make it {got.gateway}.")
    if other_url:
        print(f"注意：{config} 的 uplink.url 是 {filed}，请改为 {uplink.url}。")
        print(f"Mind: uplink.url is {filed} in {config}; make it {uplink.url}.")
    if written and got.devices:
        print(f"已新建 {config}，设备取自旧网关的公告：请补上登录、security 等，")
        print(f"再执行 plantpulse-gateway check --config {config}。")
        print(f"{config} is new, with the devices that the old gateway announced: add logins, security and the like,")
        print(f"then run plantpulse-gateway check --config {config}.")
    elif written:
        print(f"已新建 {config}，请填写设备，然后执行 plantpulse-gateway check --config {config}。")
        print(f"{config} is new: fill in the devices, then run plantpulse-gateway check --config {config}.")
