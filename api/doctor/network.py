"""What is reached over the network: the running service, and certificates with their last day."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from api.clock import Clock
from api.doctor.finding import Finding, good
from api.settings import Settings

_TIMEOUT_S: Final = 10.0
_SOON_S: Final = 30 * 86_400
_EVERY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (what is set, not what is listened on here)


def service(settings: Settings) -> Iterator[Finding]:
    """What the running service says of itself."""
    host = _EVERY.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/healthz"
    try:
        health = _ask(url)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)  # of urllib's error: what the socket said
        why = getattr(why, "strerror", None) or why
        yield Finding(
            "service",
            "failed",
            f"{url} 没有应答：{why}",
            f"{url} does not answer: {why}",
            "启动服务：systemctl start plantpulse-county，或 plantpulse-county serve",
            "start it: systemctl start plantpulse-county, or plantpulse-county serve",
        )
        return
    version = health.get("version", "?")
    if health.get("ready"):
        yield good("service", f"服务就绪，版本 {version}", f"the service is ready, version {version}")
    else:
        yield Finding(
            "service",
            "failed",
            "服务在运行，但未就绪",
            "the service runs and is not ready",
            "先处理下面的各项",
            "see to what follows first",
        )
    for part, said in health.get("checks", {}).items():
        if part == "duty" or said == "ok":
            continue
        yield Finding(
            f"service_{part}",
            "failed" if part in ("register", "journal") else "warning",
            f"服务报告 {part}：{said}",
            f"the service says of its {part}: {said}",
            "按所述处理；服务日志有详情：journalctl -u plantpulse-county",
            "as it says; the service's log has more: journalctl -u plantpulse-county",
        )


def _ask(url: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT_S) as answer:
            found: dict[str, Any] = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        found = json.loads(error.read())
    return found


def certificates(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """Certificates that this service trusts or is reached by, and how long they last."""
    now_s = clock.now_ns() / 1e9
    if settings.store_ca_file is not None:
        yield _file("certificate_store_ca", settings.store_ca_file, now_s)
    store = urlsplit(settings.store_address)
    if store.scheme == "influxdb+https" and store.hostname:
        yield _server("certificate_store", store.hostname, store.port or 8086, settings.store_ca_file, now_s)
    if not settings.public_url:
        yield Finding(
            "certificate_portal",
            "unknown",
            "未设置门户的对外地址，无法检查其证书",
            "nobody has said under which address the portal is reached: its certificate is not looked at",
            "请设置 PLANTPULSE_PUBLIC_URL，例如 https://county.example",
            "set PLANTPULSE_PUBLIC_URL, such as https://county.example",
        )
    else:
        public = urlsplit(settings.public_url)
        if public.scheme == "https" and public.hostname:
            yield _server("certificate_portal", public.hostname, public.port or 443, None, now_s)
        else:
            yield Finding(
                "certificate_portal",
                "warning",
                f"{settings.public_url} 未用 HTTPS，凭证与密码会明文传输",
                f"{settings.public_url} is not HTTPS: credentials and passwords travel in the open",
                "在反向代理上启用 HTTPS",
                "have the reverse proxy speak HTTPS",
            )


def _file(check: str, path: Path, now_s: float) -> Finding:
    try:
        found = ssl.create_default_context(cafile=str(path)).get_ca_certs()
    except (OSError, ssl.SSLError) as error:
        return Finding(
            check,
            "failed",
            f"{path} 无法读取：{error}",
            f"{path} cannot be read: {error}",
            "请换成 PEM 证书文件",
            "name a PEM file",
        )
    ends = [ssl.cert_time_to_seconds(str(one["notAfter"])) for one in found]
    if not ends:
        return Finding(
            check,
            "warning",
            f"{path} 中没有 CA 证书",
            f"{path} holds no authority's certificate",
            "请放入签发者的 PEM 证书",
            "put in the PEM certificate of who vouches for the server",
        )
    return _lasting(check, str(path), min(ends) - now_s)


def _server(check: str, host: str, port: int, ca_file: Path | None, now_s: float) -> Finding:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    where = f"{host}:{port}"
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT_S) as raw,
            context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            certificate = tls.getpeercert() or {}
    except (OSError, ssl.SSLError) as error:
        return Finding(
            check,
            "failed",
            f"{where} 的证书无法验证：{error}",
            f"the certificate of {where} cannot be verified: {error}",
            "检查证书是否过期、名称是否相符、签发者是否受信任",
            "see whether it has expired, is for this name, and who vouches for it",
        )
    return _lasting(check, where, ssl.cert_time_to_seconds(str(certificate["notAfter"])) - now_s)


def _lasting(check: str, where: str, left_s: float) -> Finding:
    days = int(left_s // 86_400)
    if left_s <= 0:
        return Finding(
            check, "failed", f"{where} 的证书已过期", f"the certificate of {where} has expired", "更换证书", "renew it"
        )
    if left_s < _SOON_S:
        return Finding(
            check,
            "warning",
            f"{where} 的证书 {days} 天后到期",
            f"the certificate of {where} ends in {days} days",
            "尽快更换证书",
            "renew it soon",
        )
    return good(check, f"{where} 的证书还有 {days} 天", f"the certificate of {where} lasts {days} days")
