"""Failures that a person sees: what happened, what to do, in Chinese and English, and the technical line."""

from __future__ import annotations

from typing import Final, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.schemas import Problem


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


def problem_response(code: str, detail: str = "", headers: dict[str, str] | None = None) -> JSONResponse:
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
    return JSONResponse(body.model_dump(), text.status, headers=headers, media_type="application/problem+json")


_CODE_OF_STATUS: Final = {404: "not-found", 405: "method", 403: "forbidden", 401: "not-signed-in", 413: "too-large"}


def add_problem_handlers(app: FastAPI) -> None:
    """Every failure of the app answers with a problem."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem_response(error.code, error.detail, error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        lines = [f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors()]
        return problem_response("bad-request", "; ".join(lines))

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_response(_CODE_OF_STATUS.get(error.status_code, "failed"), str(error.detail))

    async def failed(_: Request, error: Exception) -> Response:
        return problem_response("failed", type(error).__name__)

    app.add_exception_handler(ProblemError, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, failed)
