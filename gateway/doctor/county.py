"""Checks of the way to the county: name, proxy, TLS, and whether it knows us."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from collectors.causes import cause_of
from collectors.model import CollectorError
from gateway.access import read_credential, tls_context
from gateway.config import PlantConfig
from gateway.doctor.findings import Finding
from gateway.enrolment.client import standing
from gateway.proxy import Proxy, ProxyError, proxy_for
from gateway.uplink_config import UplinkConfig
from gateway.uplink_troubles import (
    Words,
    words_of_certificate,
    words_of_name,
    words_of_proxy_answer,
    words_of_proxy_away,
)

TIMEOUT_S: Final = 5.0
EXPIRES_SOON_DAYS: Final = 30
_CONNECTED: Final = 200
_DAY_S: Final = 86_400
_NS_PER_S: Final = 1_000_000_000


@dataclass(slots=True)
class Seen:
    """What the checks of the county found. `ahead_s`: how far its clock stands before ours, None: not known."""

    findings: list[Finding] = field(default_factory=list)
    ahead_s: float | None = None


async def county(config: PlantConfig) -> Seen:
    """All checks, each only where those before it leave it sense."""
    uplink, seen = config.uplink, Seen()
    parts = urlsplit(uplink.url)
    host, encrypted = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if encrypted else 80)
    try:
        proxy = await asyncio.to_thread(proxy_for, uplink)
    except (ProxyError, OSError) as error:
        seen.findings.append(_fail("county.proxy", *_words_of(error), uplink.proxy))
        return seen
    if proxy is not None:
        found = await _proxy(proxy, host, port, encrypted)
    else:
        found = await _name(host)
    seen.findings.append(found)
    if encrypted:
        seen.findings += await asyncio.to_thread(_ca_file, uplink)
        if found.verdict != "fail":
            seen.findings.append(await _tls(uplink, proxy, host, port))
    seen.findings.append(await _credential(config, seen))
    return seen


async def _name(host: str) -> Finding:
    with suppress(ValueError):
        ip_address(host)
        return Finding(
            "county.name", "ok", "地址是数字，不需要 DNS。", "a number, no name server needed.", subject=host
        )
    before_s = time.monotonic()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError) as error:
        return _failed("county.name", words_of_name(cause_of(error)), host)
    addresses = sorted({str(entry[4][0]) for entry in found})
    values = {"addresses": addresses, "took_ms": round((time.monotonic() - before_s) * 1000, 1)}
    shown = ", ".join(addresses)
    return Finding("county.name", "ok", f"解析为 {shown}。", f"resolves to {shown}.", subject=host, values=values)


async def _proxy(proxy: Proxy, host: str, port: int, encrypted: bool) -> Finding:
    subject = proxy.url
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            try:
                status = await _connect(reader, writer, proxy, host, port) if encrypted else _CONNECTED
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        return _failed("county.proxy", words_of_proxy_away(cause_of(error)), subject)
    if status != _CONNECTED:
        return _failed("county.proxy", words_of_proxy_answer(status), subject)
    zh, en = ("环境变量", "the environment") if proxy.from_environment else ("uplink.proxy", "uplink.proxy")
    return Finding("county.proxy", "ok", f"代理可用（来自{zh}）。", f"the proxy works (from {en}).", subject=subject)


async def _connect(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy, host: str, port: int
) -> int:
    """Ask a proxy for a tunnel; the status of its answer. Raises OSError, ValueError for what is no HTTP."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {name} HTTP/1.1", f"Host: {name}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()
    answer = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    version, _, rest = answer.partition(" ")
    if not version.startswith("HTTP/"):
        raise ValueError("not an HTTP proxy")
    return int(rest[:3])


def _ca_file(uplink: UplinkConfig) -> list[Finding]:
    """Whether a CA of the county's own is still valid."""
    if uplink.ca_file is None:
        return []
    subject = str(uplink.ca_file)
    try:
        certificates = tls_context(uplink.ca_file).get_ca_certs()
    except (OSError, ssl.SSLError) as error:
        zh, en = f"不是可用的 PEM 证书（{cause_of(error).zh}）", f"no usable PEM certificate ({cause_of(error).en})"
        return [
            _fail("county.ca", zh, en, "请向县里重新要 CA 证书文件。", "Ask the county for its CA's file.", subject)
        ]
    if not certificates:
        zh, en = "文件里没有 CA 证书", "the file holds no CA's certificate"
        return [
            _fail("county.ca", zh, en, "请向县里重新要 CA 证书文件。", "Ask the county for its CA's file.", subject)
        ]
    left_days = min(_days_left(str(c["notAfter"])) for c in certificates)
    return [_expiry("county.ca", left_days, subject, {"expires_in_days": left_days, "certificates": len(certificates)})]


async def _tls(uplink: UplinkConfig, proxy: Proxy | None, host: str, port: int) -> Finding:
    subject = f"{host}:{port}"
    try:
        context = await asyncio.to_thread(tls_context, uplink.ca_file)
        async with asyncio.timeout(TIMEOUT_S * 2):
            where = (host, port) if proxy is None else (proxy.host, proxy.port)
            reader, writer = await asyncio.open_connection(*where)
            try:
                if proxy is not None:
                    await _connect(reader, writer, proxy, host, port)
                await writer.start_tls(context, server_hostname=host)
                certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
                version = writer.get_extra_info("ssl_object").version()
            finally:
                writer.transport.abort()
    except ssl.SSLCertVerificationError as error:
        return _failed("county.tls", words_of_certificate(error), subject)
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        zh, en = f"加密连接没有建立（{cause_of(error).zh}）", f"no encrypted connection ({cause_of(error).en})"
        step_zh = "请检查 uplink.url 的主机和端口、防火墙，以及中间是否有拦截设备。"
        step_en = "Check host and port in uplink.url, the firewall, and that nothing in between interferes."
        return _fail("county.tls", zh, en, step_zh, step_en, subject)
    left_days = _days_left(str(certificate.get("notAfter", "")))
    issuer = ", ".join(value for part in certificate.get("issuer", ()) for _, value in part)
    values = {"expires_in_days": left_days, "version": version, "issuer": issuer}
    return _expiry("county.tls", left_days, subject, values)


def _expiry(check: str, left_days: int, subject: str, values: dict[str, Any]) -> Finding:
    if left_days < 0:
        zh, en = f"证书已过期 {-left_days} 天", f"the certificate expired {-left_days} days ago"
        step = "请县级管理员更换证书。", "Have the county's administrator renew it."
        return _fail(check, zh, en, *step, subject)
    if left_days < EXPIRES_SOON_DAYS:
        return Finding(
            check,
            "warn",
            f"证书有效，但 {left_days} 天后过期。",
            f"the certificate is valid and expires in {left_days} days.",
            "请提醒县级管理员更换证书；自建 CA 更换时，各网关的 ca_file 也要更新。",
            "Remind the county's administrator to renew it; with a CA of its own each gateway's ca_file follows.",
            subject,
            values,
        )
    zh, en = f"证书有效，还有 {left_days} 天。", f"the certificate is valid for {left_days} more days."
    return Finding(check, "ok", zh, en, subject=subject, values=values)


async def _credential(config: PlantConfig, seen: Seen) -> Finding:
    uplink = config.uplink
    subject = str(uplink.credential_file)
    loose = await asyncio.to_thread(lambda: uplink.credential_file.stat().st_mode & 0o077)
    before_ns = time.time_ns()
    try:
        now = await standing(uplink, await asyncio.to_thread(read_credential, uplink.credential_file))
    except CollectorError as error:
        return _fail("county.credential", error.zh, error.en, error.next_zh, error.next_en, subject)
    after_ns = time.time_ns()
    seen.ahead_s = (now.county_time_ns - (before_ns + after_ns) // 2) / _NS_PER_S
    values = {"gateway": now.gateway, "issued_days": int((after_ns - now.issued_ns) / _NS_PER_S // _DAY_S)}
    if now.gateway != config.site:
        zh = f"这个凭证属于 {now.gateway}，不属于 site {config.site}"
        en = f"this credential is {now.gateway}'s, not that of site {config.site}"
        step_zh = f"请把 site 改为 {now.gateway}，或放上正确的凭证文件。"
        return _fail("county.credential", zh, en, step_zh, "Correct site, or put the right credential there.", subject)
    if now.hand_over_s:
        since = f"{datetime.fromtimestamp(now.hand_over_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return Finding(
            "county.credential",
            "warn",
            f"另一台硬件已于 {since} 接替本网关：只收那之前的记录。",
            f"other hardware took this gateway's place at {since}: only records from before are taken.",
            "待发库发完后关闭这台硬件。",
            "Switch this hardware off when its outbox is empty.",
            subject,
            values,
        )
    if loose:
        return Finding(
            "county.credential",
            "warn",
            "县里接受这个凭证，但别的用户也能读这个文件。",
            "the county accepts it, but other users can read the file.",
            f"请执行 chmod 600 {subject}",
            f"Run chmod 600 {subject}",
            subject,
            values,
        )
    zh, en = f"县里接受这个凭证（{now.gateway}）。", f"the county accepts it ({now.gateway})."
    return Finding("county.credential", "ok", zh, en, subject=subject, values=values)


def _fail(check: str, zh: str, en: str, next_zh: str = "", next_en: str = "", subject: str = "") -> Finding:
    return Finding(check, "fail", f"{zh.rstrip('。')}。", f"{en.rstrip('.')}.", next_zh, next_en, subject)


def _failed(check: str, words: Words, subject: str) -> Finding:
    return _fail(check, words.zh, words.en, words.next_zh, words.next_en, subject)


def _words_of(error: Exception) -> tuple[str, str, str, str]:
    if isinstance(error, ProxyError):
        return error.zh, error.en, error.next_zh, error.next_en
    return (
        f"proxy_credential_file 无法读取（{cause_of(error).zh}）",
        f"proxy_credential_file cannot be read ({cause_of(error).en})",
        "请检查路径和权限。",
        "Check path and permissions.",
    )


def _days_left(not_after: str) -> int:
    """Days until a time as OpenSSL prints it, negative where it is past."""
    return int((ssl.cert_time_to_seconds(not_after) - time.time()) // _DAY_S)
