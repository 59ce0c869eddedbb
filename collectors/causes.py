"""Why a call to the system or to another machine failed, in a few plain words, in Chinese and English.

Python's own words hold the call and its arguments ("Connect call failed ('10.0.4.9', 1883)"): for people the cause is
what counts, and the message around it names the address.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sqlite3
import ssl
from typing import Final, NamedTuple


class Cause(NamedTuple):
    """A cause as it stands in brackets after what failed."""

    zh: str
    en: str


_REFUSED: Final = Cause("连接被拒绝", "connection refused")
CLOSED: Final = Cause("对方断开了连接", "closed by the other side")
_SILENT: Final = Cause("没有应答，超时", "no answer in time")
_NO_NAME: Final = Cause("域名服务器不认识它", "the name server does not know it")
_NO_PEM: Final = Cause("文件里没有 PEM 格式的内容", "the file holds nothing in PEM format")
_NO_ACCESS: Final = Cause("没有权限", "permission denied")
_NOT_THERE: Final = Cause("不存在", "it does not exist")
_OF_NUMBER: Final = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ECONNRESET: CLOSED,
    errno.ECONNABORTED: CLOSED,
    errno.EPIPE: CLOSED,
    errno.ETIMEDOUT: _SILENT,
    errno.EHOSTUNREACH: Cause("没有到该主机的路由", "no route to the host"),
    errno.EHOSTDOWN: Cause("主机不在线", "the host is down"),
    errno.ENETUNREACH: Cause("没有到该网络的路由", "no route to the network"),
    errno.ENETDOWN: Cause("网卡未启用", "the network interface is down"),
    errno.EADDRINUSE: Cause("端口已被占用", "the port is in use"),
    errno.EADDRNOTAVAIL: Cause("本机没有这个地址", "this machine has no such address"),
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.ENOENT: _NOT_THERE,
    errno.ENODEV: _NOT_THERE,
    errno.ENXIO: _NOT_THERE,
    errno.EISDIR: Cause("是文件夹，不是文件", "it is a folder, not a file"),
    errno.ENOTDIR: Cause("路径中有一段不是文件夹", "a part of the path is no folder"),
    errno.ENOSPC: Cause("磁盘已满", "the disk is full"),
    errno.EDQUOT: Cause("磁盘配额已用完", "the disk quota is used up"),
    errno.EROFS: Cause("磁盘是只读的", "the disk is read-only"),
    errno.EIO: Cause("读写出错", "input/output error"),
    errno.EMFILE: Cause("打开的文件和连接太多", "too many open files and connections"),
    errno.ENFILE: Cause("打开的文件和连接太多", "too many open files and connections"),
    errno.EBUSY: Cause("正被占用", "in use"),
}
_OF_CERTIFICATE: Final = {
    9: Cause("证书尚未生效", "the certificate is not valid yet"),
    10: Cause("证书已过期", "the certificate has expired"),
    18: Cause("证书是自签名的", "the certificate is self-signed"),
    19: Cause("签发证书的 CA 不受信任", "the CA that signed the certificate is not trusted"),
    20: Cause("不认识签发证书的 CA", "the CA that signed the certificate is not known here"),
    62: Cause("证书不是给这个主机名的", "the certificate is not for this host name"),
    64: Cause("证书不是给这个 IP 地址的", "the certificate is not for this IP address"),
}
"""By OpenSSL's X509_V_ERR_… codes."""
_OF_ENCRYPTION: Final = {
    "NO_CERTIFICATE_OR_CRL_FOUND": _NO_PEM,
    "NO_START_LINE": _NO_PEM,
    "KEY_VALUES_MISMATCH": Cause("证书与私钥不配对", "certificate and key do not belong together"),
    "WRONG_VERSION_NUMBER": Cause("对方的端口不是加密的", "the other side's port is not encrypted"),
    "UNEXPECTED_EOF_WHILE_READING": CLOSED,
}
"""By OpenSSL's reason."""
_OF_DATABASE: Final = {
    sqlite3.SQLITE_FULL: _OF_NUMBER[errno.ENOSPC],
    sqlite3.SQLITE_READONLY: _OF_NUMBER[errno.EROFS],
    sqlite3.SQLITE_IOERR: _OF_NUMBER[errno.EIO],
    sqlite3.SQLITE_CANTOPEN: Cause("文件打不开", "the file cannot be opened"),
    sqlite3.SQLITE_BUSY: _OF_NUMBER[errno.EBUSY],
    sqlite3.SQLITE_CORRUPT: Cause("文件已损坏", "the file is damaged"),
    sqlite3.SQLITE_NOTADB: Cause("不是数据库文件", "it is no database"),
}
"""By SQLite's primary codes."""
_NUMBER_IN_TEXT: Final = re.compile(r"\[Errno (\d+)\]")


def cause_of(error: BaseException) -> Cause:
    """The cause of an error, in plain words; what is not known by its kind is quoted as it stands."""
    cause = getattr(error, "os_error", error)  # aiohttp wraps the system's error
    if isinstance(cause, ssl.SSLCertVerificationError):
        known = _OF_CERTIFICATE.get(cause.verify_code)
        return known or Cause(*[cause.verify_message or cause.reason or str(cause)] * 2)
    if isinstance(cause, ssl.SSLError):
        said = cause.reason or str(cause) or "TLS"
        return _OF_ENCRYPTION.get(said, Cause(f"TLS：{said}", f"TLS: {said}"))
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            return Cause("域名服务器没有应答", "the name server does not answer")
        return _NO_NAME
    if isinstance(cause, OSError) and (number := _number_of(cause)):
        text = os.strerror(number)
        return _OF_NUMBER.get(number, Cause(text, text))
    if isinstance(cause, sqlite3.Error) and (code := getattr(cause, "sqlite_errorcode", 0) & 0xFF) in _OF_DATABASE:
        return _OF_DATABASE[code]
    return _of_kind(cause)


def _number_of(error: OSError) -> int:
    """The system's number of an error, 0 where it has none. Of several attempts asyncio keeps the texts only."""
    if error.errno is not None and error.errno > 0:
        return error.errno
    found = _NUMBER_IN_TEXT.search(str(error))
    return 0 if found is None else int(found[1])


def _of_kind(error: BaseException) -> Cause:
    if isinstance(error, TimeoutError):
        return _SILENT
    if isinstance(error, UnicodeDecodeError):
        return Cause("不是 UTF-8 文本", "it is no UTF-8 text")
    if isinstance(error, UnicodeError):  # a host name that cannot be asked for
        return _NO_NAME
    if isinstance(error, ConnectionRefusedError):
        return _REFUSED
    if isinstance(error, ConnectionError | EOFError):
        return CLOSED
    text = str(error) or type(error).__name__
    return Cause(text, text)
