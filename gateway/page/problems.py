"""What the page answers where something is not possible: code, title, next step and detail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from aiohttp import web


class Text(NamedTuple):
    """The fixed words of one kind of problem, and its HTTP status."""

    status: int
    title_zh: str
    title_en: str
    next_step_zh: str
    next_step_en: str


TEXTS: Final = {
    "not-signed-in": Text(
        401,
        "尚未登录",
        "Not signed in",
        "请在 /login 登录；程序用 HTTP Basic 认证。",
        "Sign in at /login; programs use HTTP Basic authentication.",
    ),
    "wrong-password": Text(401, "密码不正确", "Wrong password", "请核对后重试。", "Check it and try again."),
    "too-many-logins": Text(
        429, "密码错误次数太多", "Too many wrong passwords", "请一分钟后再试。", "Try again in a minute."
    ),
    "not-local": Text(
        403,
        "未设密码时只能从本机访问",
        "Without a password only this machine is served",
        "请用 http://127.0.0.1 打开，或设置 gateway.page.password_file。",
        "Open http://127.0.0.1, or set gateway.page.password_file.",
    ),
    "other-origin": Text(
        403,
        "请求来自别的网站",
        "The request came from another site",
        "请在网关自己的页面上操作。",
        "Use the gateway's own page.",
    ),
    "password-file": Text(
        503,
        "密码文件不能用",
        "The password file cannot be used",
        "请重新运行 plantpulse-gateway page-password。",
        "Run plantpulse-gateway page-password again.",
    ),
    "failed": Text(
        500,
        "页面出错，采集和上报不受影响",
        "The page failed; reading and sending go on",
        "请把日志报告给软件维护方。",
        "Report the log to the maintainers of the software.",
    ),
    "no-such-device": Text(404, "没有这台设备", "No such device", "请从首页选择。", "Choose one on the first page."),
    "not-found": Text(404, "没有这个页面", "No such page", "请从首页开始。", "Start at the first page."),
    "not-possible": Text(
        400, "请求不能处理", "The request cannot be served", "请从首页开始。", "Start at the first page."
    ),
}


def problem(code: str, detail: str = "", headers: Mapping[str, str] | None = None) -> web.Response:
    """A problem as JSON, in Chinese and English."""
    text = TEXTS[code]
    body = {"code": code, **{k: v for k, v in text._asdict().items() if k != "status"}, "detail": detail}
    return web.json_response(body, status=text.status, headers=headers)
