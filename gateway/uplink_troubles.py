"""What keeps the uplink from working, in words for the person at the cabinet."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Final, NamedTuple

import aiohttp
import msgspec

from collectors.causes import Cause, cause_of
from collectors.model import Trouble

SUBJECT: Final = "uplink"
HARDWARE: Final = f"{SUBJECT}/hardware"
SET_ASIDE: Final = f"{SUBJECT}/set-aside"
ANNOUNCED: Final = f"{SUBJECT}/announcement"


class Words(NamedTuple):
    """A cause and the next step, in Chinese and English."""

    code: str
    zh: str
    en: str
    next_zh: str
    next_en: str


_PROXY_LOGIN: Final = 407
_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_HOSTNAME: Final = 62
_IP_ADDRESS: Final = 64
"""OpenSSL's X509_V_ERR_… codes."""


def words_of_certificate(error: ssl.SSLCertVerificationError) -> Words:
    """Why a certificate is not trusted, and what to do."""
    if error.verify_code == _EXPIRED:
        return Words(
            "certificate_expired",
            "县级服务的证书已过期",
            "the county's certificate has expired",
            "若网关时钟正确，请县级管理员更换证书。",
            "If this gateway's clock is right, have the county's administrator renew it.",
        )
    if error.verify_code == _NOT_YET_VALID:
        return Words(
            "certificate_not_yet_valid",
            "县级服务的证书尚未生效",
            "the county's certificate is not valid yet",
            "多半是网关时钟落后：请检查时间同步（NTP）。",
            "Most likely this gateway's clock is behind: check time synchronisation (NTP).",
        )
    if error.verify_code in (_HOSTNAME, _IP_ADDRESS):
        return Words(
            "certificate_of_another_host",
            f"证书不是给这个主机名的（{error.verify_message}）",
            f"the certificate is not for this host name ({error.verify_message})",
            "请把 uplink.url 写成证书上的主机名，或请县级管理员换证书。",
            "Write uplink.url with the name on the certificate, or have the county's administrator replace it.",
        )
    return Words(
        "certificate_not_trusted",
        f"证书的签发者不受信任（{error.verify_message}）",
        f"nobody that is trusted here vouches for the certificate ({error.verify_message})",
        "县里若用自建 CA，请向县里要 CA 证书文件，写在 uplink.ca_file；否则可能有人在中间截取。",
        "Where the county has a CA of its own, ask for its certificate and name it in uplink.ca_file; else someone "
        "may be listening in between.",
    )


def words_of_proxy_answer(status: int) -> Words:
    """Why a proxy does not connect us, from its status."""
    if status == _PROXY_LOGIN:
        return Words(
            "proxy_login_refused",
            "代理要求登录，或不接受用户名和密码（407）",
            "the proxy asks for a login, or does not accept it (407)",
            "请把 用户名:密码 写入一个文件，用 uplink.proxy_credential_file 指明。",
            "Put user:password into a file and name it in uplink.proxy_credential_file.",
        )
    return Words(
        "proxy_refused",
        f"代理不肯转接（{status}）",
        f"the proxy does not connect us ({status})",
        "请代理的管理员放行县级服务的主机和端口。",
        "Have the proxy's administrator permit the county's host and port.",
    )


def words_of_proxy_away(cause: Cause) -> Words:
    """A proxy that cannot be reached."""
    return Words(
        "proxy_unreachable",
        f"连不上代理（{cause.zh}）",
        f"the proxy cannot be reached ({cause.en})",
        "请检查 uplink.proxy 或环境变量 HTTPS_PROXY；不需要代理时写 proxy: none。",
        "Check uplink.proxy, or HTTPS_PROXY in the environment; where none is needed say proxy: none.",
    )


def words_of_name(cause: Cause) -> Words:
    """A host name that no name server knows."""
    return Words(
        "county_name_unknown",
        f"找不到主机名（{cause.zh}）",
        f"the host name is not found ({cause.en})",
        "请检查 uplink.url 的拼写和 /etc/resolv.conf 里的 DNS 服务器；只能经代理上网时，请设 uplink.proxy。",
        "Check the spelling in uplink.url and the name servers in /etc/resolv.conf; where only a proxy leads out, "
        "set uplink.proxy.",
    )


def words_of_link(error: BaseException) -> Words:
    """Why nothing can be sent, from the error of a request."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        if isinstance(cause, ssl.SSLCertVerificationError):
            return words_of_certificate(cause)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return words_of_proxy_answer(error.status)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return words_of_proxy_away(cause_of(error))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return words_of_name(cause_of(error))
    if isinstance(error, aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return Words(
            "county_not_encrypted",
            f"加密连接没有建立（{cause_of(error).zh}）",
            f"no encrypted connection ({cause_of(error).en})",
            "请检查端口是否为 https 的端口，中间是否有拦截设备。",
            "Check that the port is the one of https, and that nothing in between interferes.",
        )
    if isinstance(error, aiohttp.ServerDisconnectedError):
        error = ConnectionResetError()
    return Words(
        "county_unreachable",
        *cause_of(error),
        "请检查网络、地址和防火墙。",
        "Check network, address and firewall.",
    )


def trouble_of_link(url: str, error: BaseException) -> Trouble:
    """Nothing can be sent."""
    words = words_of_link(error)
    return Trouble(
        SUBJECT,
        words.code,
        f"连不上县级服务 {url}（{words.zh}）。数据已存入待发库，恢复后补发。",
        f"the county service at {url} cannot be reached ({words.en}). Records are kept and sent later.",
        words.next_zh,
        words.next_en,
    )


def _zh_words(detail: str) -> str:
    return f"县级原话：“{detail}”" if detail else ""


def _en_words(detail: str) -> str:
    return f' Its own words: "{detail}"' if detail else ""


def trouble_of_credential(status: int, detail: str) -> Trouble:
    """The county does not know the credential, or knows it as another gateway's."""
    return Trouble(
        SUBJECT,
        "credential_refused",
        f"县级服务不接受本网关的凭证（{status}）。{_zh_words(detail)}",
        f"the county does not accept this gateway's credential ({status}).{_en_words(detail)}",
        "请检查 uplink.credential_file 与 site；必要时请县里生成登记代码，执行 plantpulse-gateway enroll。",
        "Check uplink.credential_file and site; if need be ask for a code and run plantpulse-gateway enroll.",
    )


def trouble_of_revocation() -> Trouble:
    """The county ended the credential: nothing is sent until there is another one."""
    return Trouble(
        SUBJECT,
        "credential_revoked",
        "县里已吊销本网关的凭证：已停止发送，继续采集并存入待发库。",
        "the county has revoked this gateway's credential: nothing is sent, recording goes on into the outbox.",
        "请联系县里；恢复时请县里生成登记代码，在本机执行 plantpulse-gateway enroll，无需重启。",
        "Speak to the county; to resume, ask for a code and run plantpulse-gateway enroll here, no restart needed.",
    )


def trouble_of_replacement(hand_over_s: int) -> Trouble:
    """Other hardware took this gateway's place. `hand_over_s` in s UTC, 0: not said."""
    since = f"{datetime.fromtimestamp(hand_over_s, UTC):%Y-%m-%d %H:%M:%S} UTC" if hand_over_s else "-"
    return Trouble(
        HARDWARE,
        "gateway_replaced",
        f"另一台硬件已接替本网关（{since} 起）：之前的记录照常补发，之后的县里不再接收。",
        f"other hardware took this gateway's place (from {since}): records from before are delivered, newer ones are "
        "not taken.",
        "等待发库发完后关闭这台硬件；若是误操作，请县里生成代码，在本机执行 plantpulse-gateway enroll --replace。",
        "Switch this hardware off when its outbox is empty; if it was a mistake, ask for a code and run "
        "plantpulse-gateway enroll --replace here.",
    )


def time_not_known(url: str) -> Trouble:
    """The county answers, but not with a time that can be used."""
    return Trouble(
        SUBJECT,
        "time_not_known",
        f"县级服务 {url} 没有告知时间，时间确定前不发送记录。",
        f"the county service at {url} does not tell the time; no record is sent until it is known.",
        "请检查时间同步（NTP），或县级服务的版本。",
        "Check time synchronisation (NTP), or the county's version.",
    )


def trouble_of_status(status: int, detail: str) -> Trouble:
    """An answer that is no success, to be tried again."""
    return Trouble(
        SUBJECT,
        f"county_answers_{status}",
        f"县级服务返回 {status}，稍后重试。{_zh_words(detail)}",
        f"the county answers {status}. Trying again.{_en_words(detail)}",
        "若持续出现，请联系县级管理员。",
        "If it goes on, tell the county's administrator.",
    )


def trouble_of_answer(detail: str) -> Trouble:
    """A success that is not understood."""
    return Trouble(
        SUBJECT,
        "answer_not_understood",
        f"看不懂县级服务的回答（{detail}）。",
        f"the county's answer is not understood ({detail}).",
        "请检查 uplink.url 是否指向县级服务，版本是否相符。",
        "Check that uplink.url is the county service, and its version.",
    )


def trouble_of_set_aside(what: str, reason: str, subject: str = SET_ASIDE) -> Trouble:
    """The county will never take something; of batches it is open while they are kept. `reason`: the county's words."""
    return Trouble(
        subject,
        "batch_set_aside",
        f"县级拒收批次 {what}，县级原话：“{reason}”。已搁置保存，其余照常发送。",
        f'the county refused batch {what}, in its own words: "{reason}". It is set aside and kept; the rest goes on.',
        "用 plantpulse-gateway set-aside 可看其内容；请检查县级服务的版本，并把这条信息报告给软件维护方。",
        "plantpulse-gateway set-aside shows what is in it; check the county's version, and report this line to the "
        "maintainers of the software.",
    )


def problem_code(content: bytes) -> str:
    """The code of the county's problem; blank for an answer that is not its own (a proxy's, a web server's)."""
    try:
        answer = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return ""
    code = answer.get("code") if isinstance(answer, dict) else None
    return code if isinstance(code, str) else ""
