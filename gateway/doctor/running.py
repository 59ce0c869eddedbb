"""What a running gateway says of itself on its local page."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

import aiohttp
import msgspec

from gateway.doctor.findings import Finding
from gateway.page.config import OFF, PageConfig, parse

TIMEOUT_S: Final = 3.0
_MAX_BYTES: Final = 2 * 1024 * 1024
_STALLED: Final = 503


async def ask_page(config: PageConfig, path: str, token: str = "") -> tuple[int, bytes] | None:
    """(status, body) of a path of the local page; None where nothing answers, or nothing is to.

    `token`: that of the data folder, in the place of the page's password.
    """
    if config.listen == OFF or (listen := parse(config.listen)).port == 0:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 (asked, not listened at)
    name = f"[{host}]" if ":" in host else host
    try:
        context = await asyncio.to_thread(_trusting, config)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(
                f"{'https' if config.cert_file else 'http'}://{name}:{listen.port}{path}",
                ssl=context,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                allow_redirects=False,
            ) as response,
        ):
            return response.status, await response.content.read(_MAX_BYTES)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def _trusting(config: PageConfig) -> ssl.SSLContext | bool:
    """Trusts the page's own certificate and no other, whatever name stands in it."""
    if config.cert_file is None:
        return True
    context = ssl.create_default_context(cafile=str(config.cert_file))
    context.check_hostname = False
    return context


async def page(config: PageConfig) -> list[Finding]:
    """Whether the running gateway answers on its page, and whether all of its parts go on."""
    if config.listen == OFF or parse(config.listen).port == 0:
        return []
    answered = await ask_page(config, "/health")
    subject = config.listen
    if answered is None:
        return [
            Finding(
                "page",
                "warn",
                "网关在运行，但本地页面没有应答。",
                "the gateway runs, but its local page does not answer.",
                "请看日志中关于 page 的提示；端口可能被别的程序占用，可改 gateway.page.listen。",
                "See what the log says of the page; its port may be taken: change gateway.page.listen.",
                subject,
            )
        ]
    status, body = answered
    if status == _STALLED:
        try:
            stalled = ", ".join(str(one.get("subject", "")) for one in msgspec.json.decode(body)["stalled"])
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            stalled = "?"
        return [
            Finding(
                "page",
                "fail",
                f"网关的一部分停住了（{stalled}）。",
                f"a part of the gateway stands still ({stalled}).",
                "请执行 bundle 留下现场，然后重启网关，把存档交给软件维护方。",
                "Run bundle, restart the gateway, and give the archive to the maintainers.",
                subject,
            )
        ]
    return [Finding("page", "ok", "网关各部分都在工作。", "all parts of the gateway go on.", subject=subject)]
