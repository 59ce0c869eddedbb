"""Enrolment and rotation as the gateway sees them: ask the county, keep the answer, prove that it works."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from collectors.causes import cause_of
from collectors.model import LinkError
from gateway.access import read_credential, tls_context, way_of
from gateway.proxy import proxy_for
from gateway.secret_file import secret_file
from gateway.uplink_config import UplinkConfig
from gateway.uplink_troubles import words_of_link
from gateway.wire import CONTENT_TYPE_MSGPACK, Enroll, Enrolled, Standing, WireError, decode_json, encode

TIMEOUT_S: Final = 20.0
_MAX_ANSWER_BYTES: Final = 1 << 20

A = TypeVar("A", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Answered:
    """The county's answer to one request."""

    status: int
    content: bytes


async def ask(uplink: UplinkConfig, method: str, route: str, *, credential: str = "", body: bytes = b"") -> Answered:
    """One request to the county, as the configuration leads there. Raises LinkError, ProxyError."""
    try:
        proxy = await asyncio.to_thread(proxy_for, uplink)
        context = await asyncio.to_thread(tls_context, uplink.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise LinkError(
            "file_unusable",
            f"ca_file 或 proxy_credential_file 不能用（{cause_of(error).zh}）。",
            f"ca_file or proxy_credential_file cannot be used ({cause_of(error).en}).",
        ) from error
    headers = {"Content-Type": CONTENT_TYPE_MSGPACK} if body else {}
    if credential:
        headers["Authorization"] = f"Bearer {credential}"
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.request(
                method,
                f"{uplink.url}/api/v1/{route}",
                data=body or None,
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
                allow_redirects=False,
                **way_of(uplink.url, proxy, headers),
            ) as response,
        ):
            content = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                content += chunk
                if len(content) > _MAX_ANSWER_BYTES:
                    break
            return Answered(response.status, bytes(content))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        words = words_of_link(error)
        raise LinkError(
            words.code,
            f"连不上县级服务 {uplink.url}：{words.zh}。",
            f"the county service at {uplink.url} cannot be reached: {words.en}.",
            words.next_zh,
            words.next_en,
        ) from error


async def enroll(uplink: UplinkConfig, message: Enroll) -> Enrolled:
    """Turn a one-time code into a credential, and write it to the credential's file.

    That file's folder is tried first: a code must not be spent for nothing. Raises LinkError, OSError.
    """
    with secret_file(uplink.credential_file) as write:
        got = _read(await ask(uplink, "POST", "enroll", body=encode(message)), Enrolled)
        await asyncio.to_thread(write, got.credential + "\n")
    return got


async def rotate(uplink: UplinkConfig) -> Standing:
    """Change the credential, and use the new one at once, which ends the old one. Raises LinkError, OSError.

    A running gateway notices the new file by itself.
    """
    with secret_file(uplink.credential_file) as write:
        old = await asyncio.to_thread(read_credential, uplink.credential_file)
        got = _read(await ask(uplink, "POST", "enroll/rotate", credential=old), Enrolled)
        await asyncio.to_thread(write, got.credential + "\n")
    return await standing(uplink, got.credential)


async def standing(uplink: UplinkConfig, credential: str) -> Standing:
    """What the county holds of a credential. Raises LinkError where it does not accept it."""
    return _read(await ask(uplink, "GET", "enroll", credential=credential), Standing)


def _read(answered: Answered, kind: type[A]) -> A:
    if answered.status == 200:
        try:
            return decode_json(answered.content, kind)
        except WireError as error:
            raise _not_the_county(str(error)) from error
    problem = _problem_of(answered.content)
    if problem is None:
        detail = answered.content[:200].decode("utf-8", "replace")
        raise _not_the_county(f"{answered.status} {detail}")
    detail = f"（{problem['detail']}）" if problem.get("detail") else ""
    raise LinkError(
        problem["code"],
        f"县级服务：{problem['title_zh']}{detail}。",
        f"the county: {problem['title_en']} {detail}".rstrip() + ".",
        problem["next_step_zh"],
        problem["next_step_en"],
    )


def _problem_of(content: bytes) -> dict[str, Any] | None:
    """The county's own refusal; None for an answer of somebody else."""
    try:
        read = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return None
    wanted = ("code", "title_zh", "title_en", "next_step_zh", "next_step_en")
    return read if isinstance(read, dict) and all(isinstance(read.get(k), str) for k in wanted) else None


def _not_the_county(detail: str) -> LinkError:
    return LinkError(
        "answer_not_understood",
        f"回答不像县级服务（{detail}）。",
        f"the answer is not a county service's ({detail}).",
        "请检查地址；中间的代理或网页服务器须把 /api/v1/enroll 转给县级服务。",
        "Check the address; a proxy or web server in between must pass /api/v1/enroll on to the county service.",
    )


def default_credential_file(config: Path) -> Path:
    """Where the credential goes if nobody says otherwise: beside the plant's file."""
    return config.parent.absolute() / "credential"
