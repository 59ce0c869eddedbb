"""Failures that a person sees: what happened, what to do, in Chinese and English, and the technical line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from api.schemas import Problem

PROBLEM_TYPE: Final = "application/problem+json"

log = structlog.get_logger(__name__)


class Text(NamedTuple):
    """The fixed words of one kind of problem, and its HTTP status."""

    status: int
    title_zh: str
    title_en: str
    next_step_zh: str
    next_step_en: str


TEXTS: Final[dict[str, Text]] = {
    "not-signed-in": Text(401, "尚未登录", "Not signed in", "请登录后再试。", "Sign in and try again."),
    "wrong-password": Text(
        401, "用户名或密码不正确", "User name or password is wrong", "请核对后重试。", "Check both and try again."
    ),
    "locked-out": Text(
        429,
        "登录失败次数过多，账号暂时锁定",
        "Too many failed sign-ins, the account is locked for a while",
        "请 15 分钟后再试，或联系管理员。",
        "Try again in 15 minutes, or ask the administrator.",
    ),
    "forbidden": Text(
        403,
        "没有权限查看此内容",
        "You may not see this",
        "如工作需要，请联系管理员。",
        "Ask the administrator if your work needs it.",
    ),
    "foreign-origin": Text(
        403,
        "请求来自其他网站，已拒绝",
        "The request came from another site and was refused",
        "请在本门户页面内操作。",
        "Work from the portal's own pages.",
    ),
    "gateway-unknown": Text(
        401,
        "网关凭证缺失或无效",
        "The gateway's credential is missing or not valid",
        "请在县级服务上执行 plantpulse-county gateway add 重新签发凭证。",
        "Have a credential issued with plantpulse-county gateway add.",
    ),
    "gateway-revoked": Text(
        401,
        "网关凭证已被吊销",
        "The gateway's credential was revoked",
        "请联系县级管理员；确认无误后，用 plantpulse-county gateway code 生成的一次性代码重新登记。",
        "Ask the county's administrator; if all is well, enrol again with a code of plantpulse-county gateway code.",
    ),
    "gateway-replaced": Text(
        403,
        "此网关已由新硬件接替",
        "Other hardware took this gateway's place",
        "接替之前的记录仍会接收；发完后可以关闭这台旧网关。",
        "Records from before are still taken; when they are sent this hardware can be switched off.",
    ),
    "gateway-enrolled": Text(
        409,
        "另一台硬件正以此网关的名义登记",
        "Other hardware is enrolled as this gateway",
        "若这台是来接替它的，请加 --replace 再执行一次；代码仍然有效。",
        "If this hardware takes its place, say --replace and run it again; the code is still good.",
    ),
    "code-unknown": Text(
        403,
        "登记代码不正确",
        "The enrolment code is not right",
        "请核对代码；0 和 O、1 和 I、L 不区分。仍不对时，请县里重新生成。",
        "Check the code; 0 and O, and 1, I and L are taken as one. Else have the county make another one.",
    ),
    "code-used": Text(
        403,
        "登记代码已用过或已作废",
        "The enrolment code was used or withdrawn",
        "请县里用 plantpulse-county gateway code 生成新的代码。",
        "Have the county make a new one with plantpulse-county gateway code.",
    ),
    "code-expired": Text(
        403,
        "登记代码已过期",
        "The enrolment code is out of date",
        "请县里用 plantpulse-county gateway code 生成新的代码。",
        "Have the county make a new one with plantpulse-county gateway code.",
    ),
    "too-many-attempts": Text(
        429,
        "尝试次数过多",
        "Too many attempts",
        "请核对代码，稍后再试（见 Retry-After）。",
        "Check the code and try again later (see Retry-After).",
    ),
    "gateway-foreign": Text(
        403,
        "凭证与报文中的网关编号不一致",
        "The credential belongs to another gateway than the message names",
        "请检查 plant.yaml 的 uplink.credential_file 与 site。",
        "Check uplink.credential_file and site in plant.yaml.",
    ),
    "bad-message": Text(
        400,
        "报文无法解析",
        "The message cannot be read",
        "请核对报文格式与版本；已接收的数据不受影响。",
        "Check the message's format and version; what was accepted before is not affected.",
    ),
    "too-large": Text(413, "报文过大", "The body is too large", "请分批发送。", "Send it in smaller batches."),
    "too-fast": Text(
        429,
        "此网关发送过于频繁",
        "This gateway sends more than it may",
        "网关会自动稍后重发；若持续出现，请检查该网关，或调高 PLANTPULSE_GATEWAY_REQUESTS_PER_S。",
        "It is sent again later by itself; if this goes on, look at the gateway, or raise "
        "PLANTPULSE_GATEWAY_REQUESTS_PER_S.",
    ),
    "bad-request": Text(
        422,
        "请求参数不正确",
        "A parameter is not valid",
        "请按提示修改参数后重试。",
        "Correct the parameter named below.",
    ),
    "not-found": Text(404, "没有找到", "Not found", "请检查编号或网址。", "Check the id or the address."),
    "method": Text(
        405, "不支持的操作", "This address does not support the method", "请查看接口文档。", "See the API document."
    ),
    "busy": Text(
        503,
        "服务暂时繁忙",
        "The service is busy",
        "请稍后重试；已接收的数据不受影响。",
        "Try again shortly; what was accepted before is not affected.",
    ),
    "failed": Text(
        500,
        "服务内部错误",
        "The service failed",
        "请把此页的技术信息转给管理员。",
        "Give the technical line to the administrator.",
    ),
}


class ProblemError(Exception):
    """Ends a request with a problem. `code` is a key of TEXTS; `detail` is the technical line."""

    def __init__(self, code: str, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.headers = headers


def methods_of(app: FastAPI, path: str) -> list[str]:
    """Every method that the OpenAPI document has for an address: a route by itself knows only its own."""
    return sorted(
        {
            method.upper()
            for template, operations in app.openapi()["paths"].items()
            if compile_path(template)[0].match(path)
            for method in operations
        }
    )


def problem_response(code: str, detail: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The answer that shows a problem."""
    text = TEXTS[code]
    body = Problem(
        code=code,
        title_zh=text.title_zh,
        title_en=text.title_en,
        next_step_zh=text.next_step_zh,
        next_step_en=text.next_step_en,
        detail=detail,
    )
    return JSONResponse(body.model_dump(), text.status, headers=headers, media_type=PROBLEM_TYPE)


REGISTER_AWAY: Final = (OperationalError, InterfaceError, PoolTimeoutError)
"""The register's database is away or busy: nothing is wrong with what was asked, and it may be asked again."""
_RETRY_AFTER_S: Final = 10


def register_away(error: Exception) -> JSONResponse:
    """The answer while the register is away; what the database said is for the log alone."""
    log.error("register_away", error=str(error))
    return problem_response("busy", "the register does not answer", {"retry-after": str(_RETRY_AFTER_S)})


_CODE_OF_STATUS: Final = {
    400: "bad-message",
    404: "not-found",
    405: "method",
    403: "forbidden",
    401: "not-signed-in",
    413: "too-large",
}


def add_problem_handlers(app: FastAPI) -> None:
    """Every failure of the app answers with a problem."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem_response(error.code, error.detail, error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        return problem_response("bad-request", "; ".join(lines))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return problem_response(
                "method", str(error.detail), {"allow": ", ".join(methods_of(app, request.url.path))}
            )
        otherwise = "bad-request" if error.status_code < 500 else "failed"
        return problem_response(_CODE_OF_STATUS.get(error.status_code, otherwise), str(error.detail), error.headers)

    async def away(_: Request, error: Exception) -> Response:
        return register_away(error)

    async def failed(_: Request, error: Exception) -> Response:
        return problem_response("failed", type(error).__name__)

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    for kind in REGISTER_AWAY:
        app.add_exception_handler(kind, away)
    app.add_exception_handler(Exception, failed)
