"""What to tell people when a session cannot be opened as it should be, and what they do next.

What is mended on the machine, by an approval or by a clock is a LinkError: the gateway tries again and
goes on by itself. What is mended in the plant's file is a ConfigError: a password tried again and again
locks an account.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncua import ua

from collectors.model import CollectorError, ConfigError, LinkError, Trouble
from collectors.opcua.security.approvals import Approval
from collectors.opcua.security.certificates import Certificate, Phase, minute, phase
from collectors.opcua.security.offers import Discovery, Offer
from collectors.opcua.security.own import OwnCertificate

_codes = ua.StatusCodes
_CERTIFICATE_REFUSED: Final = frozenset(
    {
        _codes.BadCertificateChainIncomplete,
        _codes.BadCertificateHostNameInvalid,
        _codes.BadCertificateInvalid,
        _codes.BadCertificateIssuerRevoked,
        _codes.BadCertificateIssuerUseNotAllowed,
        _codes.BadCertificateIssuerRevocationUnknown,
        _codes.BadCertificatePolicyCheckFailed,
        _codes.BadCertificateRevocationUnknown,
        _codes.BadCertificateRevoked,
        _codes.BadCertificateUntrusted,
        _codes.BadCertificateUriInvalid,
        _codes.BadCertificateUseNotAllowed,
        _codes.BadSecurityChecksFailed,
    }
)
_CERTIFICATE_TIME: Final = frozenset({_codes.BadCertificateTimeInvalid, _codes.BadCertificateIssuerTimeInvalid})
_LOGIN_REFUSED: Final = frozenset(
    {
        _codes.BadIdentityTokenInvalid,
        _codes.BadIdentityTokenRejected,
        _codes.BadUserAccessDenied,
        _codes.BadUserSignatureInvalid,
    }
)
_SECURITY_REFUSED: Final = frozenset({_codes.BadSecurityModeRejected, _codes.BadSecurityPolicyRejected})

_LOGIN_NAMES: Final = {
    ua.UserTokenType.Anonymous: ("匿名登录", "an anonymous login"),
    ua.UserTokenType.UserName: ("用户名密码登录", "a login by user and password"),
    ua.UserTokenType.Certificate: ("证书登录", "a login by certificate"),
}

_CLIENT_ZH: Final = "请在该机器的 OPC UA 设置里把网关证书从“拒绝/未信任”移到“信任”（或导入"
_CLIENT_EN: Final = (
    "On the machine, move the gateway's certificate from its rejected to its trusted clients, or import "
)


def own_certificate_refused(address: str, own: OwnCertificate, said: str) -> LinkError:
    """The machine does not know our certificate yet: the ordinary case of a first connection."""
    return LinkError(
        "opcua.own-certificate-refused",
        f"服务器 {address} 不接受网关的证书（{said}）。网关证书指纹（SHA-1）{own.shown.thumbprint}，"
        f"应用 URI {own.application_uri}。",
        f"the server {address} does not accept the gateway's certificate ({said}). Its thumbprint (SHA-1) is"
        f" {own.shown.thumbprint}, its application URI {own.application_uri}.",
        f"{_CLIENT_ZH}文件 {own.file}），核对指纹。网关会自动重试。",
        f"{_CLIENT_EN}{own.file} there, and compare the thumbprint. The gateway tries again by itself.",
    )


def closed_at_the_door(address: str, own: OwnCertificate) -> LinkError:
    """Many controllers say nothing to a client that they do not know; nor can one who lacks the server's key."""
    return LinkError(
        "opcua.own-certificate-refused",
        f"建立加密通道时，服务器 {address} 直接关闭了连接或不再应答：多半是还不信任网关的证书。网关证书指纹（SHA-1）"
        f"{own.shown.thumbprint}，应用 URI {own.application_uri}。",
        f"asked for an encrypted channel, the server {address} closed the connection or fell silent: most likely it"
        f" does not trust the gateway's certificate yet. Its thumbprint (SHA-1) is {own.shown.thumbprint}, its"
        f" application URI {own.application_uri}.",
        f"{_CLIENT_ZH}文件 {own.file}），核对指纹。若早已信任，请查是否有别的设备占用了这个地址。网关会自动重试。",
        f"{_CLIENT_EN}{own.file} there, and compare the thumbprint. If it is trusted already, look for another device"
        " at this address. The gateway tries again by itself.",
    )


def own_certificate_time(address: str, own: OwnCertificate, server_ns: int, now_ns: int) -> LinkError:
    """The machine finds our certificate out of date: nearly always its clock is wrong."""
    clock_zh = f"机器时钟 {minute(server_ns)}，" if server_ns else ""
    clock_en = f"the machine's clock says {minute(server_ns)}, " if server_ns else ""
    expired = phase(own.shown, now_ns) is Phase.EXPIRED
    return LinkError(
        "opcua.own-certificate-time",
        f"服务器 {address} 认为网关的证书不在有效期内。证书有效期 {own.shown.validity}；{clock_zh}"
        f"网关时钟 {minute(now_ns)}。",
        f"the server {address} finds the gateway's certificate outside its validity ({own.shown.validity});"
        f" {clock_en}the gateway's {minute(now_ns)}.",
        "证书已到期：请运行 plantpulse-gateway trust --config plant.yaml --renew，重启网关，并在各台机器上信任新证书。"
        if expired
        else "请校准时钟错误的一方（机器或网关）的日期和时间。网关会自动重试。",
        "It has expired: run plantpulse-gateway trust --config plant.yaml --renew, restart the gateway and trust the"
        " new certificate on each machine."
        if expired
        else "Set date and time where the clock is wrong, on the machine or on the gateway. The gateway tries again"
        " by itself.",
    )


def not_approved(address: str, shown: Certificate) -> LinkError:
    """Nobody has approved this server's certificate yet."""
    return LinkError(
        "opcua.certificate-not-approved",
        f"服务器 {address} 的证书还没有认可：{shown.subject}，指纹（SHA-256）{shown.fingerprint}，"
        f"有效期 {shown.validity}。",
        f"nobody has approved the certificate of {address} yet: {shown.subject}, fingerprint (SHA-256)"
        f" {shown.fingerprint}, valid {shown.validity}.",
        f"请运行 plantpulse-gateway trust {address} --config plant.yaml，与机器上显示的指纹核对后认可。",
        f"Run plantpulse-gateway trust {address} --config plant.yaml, compare the fingerprint with the machine's and"
        " approve it.",
    )


def changed(address: str, approved: Approval, shown: Certificate) -> LinkError:
    """The server shows another certificate than the approved one: reinstalled, or somebody in between."""
    return LinkError(
        "opcua.certificate-changed",
        f"服务器 {address} 的证书变了，已拒绝连接。原来认可的指纹 {approved.fingerprint}（{approved.subject}），"
        f"现在的指纹 {shown.fingerprint}（{shown.subject}，有效期 {shown.validity}）。",
        f"the certificate of {address} has changed; no session is opened. Approved: {approved.fingerprint}"
        f" ({approved.subject}); now: {shown.fingerprint} ({shown.subject}, valid {shown.validity}).",
        "若机器刚更换证书、控制器或地址，请核对后运行 plantpulse-gateway trust "
        f"{address} --config plant.yaml 重新认可；否则可能有人在中间，请查网络。",
        "If the machine was given a new certificate, controller or address, compare and approve it with"
        f" plantpulse-gateway trust {address} --config plant.yaml; if not, somebody may sit in between:"
        " examine the network.",
    )


def unreadable(address: str, why: str) -> LinkError:
    """What the server shows as its certificate is none, or one that cannot be used."""
    return LinkError(
        "opcua.certificate-unusable",
        f"服务器 {address} 给出的证书不能用（{why}）。",
        f"the certificate that {address} shows cannot be used ({why}).",
        "请在机器上重新生成它的 OPC UA 服务器证书（RSA 2048 位以上，X.509 v3）。",
        "Let the machine make its OPC UA server certificate anew (RSA of 2048 bits or more, X.509 v3).",
    )


def nothing_secured(address: str, wanted: str, found: Discovery) -> LinkError:
    """No endpoint of the server fits what the configuration asks for."""
    return LinkError(
        "opcua.no-secured-endpoint",
        f"服务器 {address} 没有符合 security: {wanted} 的加密端点。它提供：{found.names}。",
        f"{address} has no secured endpoint for security: {wanted}. It offers: {found.names}.",
        "请在机器上启用 Basic256Sha256 或更好的策略；若它确实只能不加密且网络是隔离的，在工厂文件里写 security: none。",
        "Switch on Basic256Sha256 or better on the machine; if it can only go unencrypted and the network is"
        " isolated, say security: none in the plant's file.",
    )


def login_not_taken(address: str, kind: ua.UserTokenType, offers: Sequence[Offer]) -> LinkError:
    """The secured endpoints that fit take another kind of login, or would send the password in clear."""
    takes = [k for k in _LOGIN_NAMES if any(o.takes(k) for o in offers)]
    zh = "、".join(_LOGIN_NAMES[k][0] for k in takes) or "没有"
    en = ", ".join(_LOGIN_NAMES[k][1] for k in takes) or "none"
    named = ", ".join(dict.fromkeys(o.name for o in offers))
    return LinkError(
        "opcua.login-not-taken",
        f"服务器 {address} 的加密端点（{named}）不能安全地接受{_LOGIN_NAMES[kind][0]}；可用的登录方式：{zh}。"
        "密码绝不不加密地发送。",
        f"no secured endpoint of {address} ({named}) takes {_LOGIN_NAMES[kind][1]} safely; open are: {en}. A password"
        " is never sent unencrypted.",
        "请写服务器接受的登录方式（命令加 --username 和 --password-file；条目里是 username 和 password_file，"
        "或 cert_file 和 key_file），"
        "或在机器上启用所配置的方式。",
        "Give a login that the server takes (--username and --password-file on a command; in an entry username and"
        " password_file, or cert_file and key_file), or switch the configured one on there.",
    )


def encryption_gone(address: str, approved: Approval, found: Discovery) -> LinkError:
    """A server whose certificate was approved offers nothing secured any more."""
    return LinkError(
        "opcua.downgraded",
        f"服务器 {address} 以前有已认可的证书（{approved.fingerprint}），现在不再提供加密"
        f"（只有 {found.names}），已拒绝。",
        f"{address} had an approved certificate ({approved.fingerprint}) and now offers nothing encrypted"
        f" ({found.names} only): refused.",
        f"请查机器的安全设置和网络；若确是有意关闭，运行 "
        f"plantpulse-gateway trust {address} --config plant.yaml --forget。",
        "Examine the machine's security settings and the network; if it was switched off on purpose, run"
        f" plantpulse-gateway trust {address} --config plant.yaml --forget.",
    )


def downgraded(address: str, chosen: Offer, hidden: list[Offer]) -> LinkError:
    """The session's own list of endpoints holds better ones than discovery showed: somebody removed them."""
    better = ", ".join(o.name for o in hidden)
    return LinkError(
        "opcua.downgraded",
        f"服务器 {address} 的发现应答与会话应答不一致：发现时隐去了更安全的 {better}，只剩 {chosen.name}，已拒绝。",
        f"{address} answered discovery and session differently: discovery hid the better {better} and left"
        f" {chosen.name}: refused.",
        "可能有人在中间篡改，请查网络中的代理、端口转发和陌生设备。",
        "Somebody in between may tamper with it: look for proxies, port forwards and strange devices.",
    )


def not_genuine(address: str, why: str) -> LinkError:
    """The session's answer does not fit the approved certificate, or what discovery showed."""
    return LinkError(
        "opcua.server-not-genuine",
        f"{address} 的应答方不能证明自己就是已认可的服务器（{why}），已拒绝。",
        f"who answers at {address} cannot prove to be the approved server ({why}): refused.",
        "请查网络中是否有别的设备占用了这个地址；若换过控制器，用 plantpulse-gateway trust 重新认可。",
        "Look for another device at this address; if the controller was replaced, approve it anew with"
        " plantpulse-gateway trust.",
    )


def policy_refused(address: str, offer: Offer, said: str) -> LinkError:
    """The server refuses what it has just offered."""
    return LinkError(
        "opcua.policy-refused",
        f"服务器 {address} 拒绝了它自己提供的 {offer.name}（{said}）。",
        f"the server {address} refuses {offer.name}, which it offers itself ({said}).",
        "请在条目里用 security 和 security_mode 写明另一种策略，或在机器上停用这一种。",
        "Name another policy with security and security_mode in the entry, or switch this one off on the machine.",
    )


def login_refused(address: str, kind: ua.UserTokenType, username: str, said: str) -> ConfigError:
    """The server does not let this user in."""
    if kind == ua.UserTokenType.UserName:
        return ConfigError(
            "opcua.login-refused",
            f"服务器 {address} 拒绝用户 {username}（{said}）。",
            f"the server {address} refuses the user {username} ({said}).",
            "请核对 username 和 password_file，以及该用户在机器上的读取权限。",
            "Check username and password_file, and that the user may read on the machine.",
        )
    if kind == ua.UserTokenType.Certificate:
        return ConfigError(
            "opcua.login-refused",
            f"服务器 {address} 拒绝用证书登录的用户（{said}）。",
            f"the server {address} refuses the user certificate ({said}).",
            "请在机器上信任 cert_file 里的用户证书（用户证书与应用证书的信任列表是分开的）。",
            "Trust the user certificate of cert_file on the machine (users' and applications' certificates have"
            " separate lists).",
        )
    return ConfigError(
        "opcua.refused",
        f"服务器 {address} 拒绝匿名登录（{said}）。",
        f"the server {address} refuses anonymous sessions ({said}).",
        "请在机器上建一个只读用户，把 username 和 password_file 写进条目；或允许匿名只读。",
        "Make a user with read rights on the machine and give username and password_file; or permit anonymous reading.",
    )


def none_refused(address: str, said: str) -> ConfigError:
    """The configuration says None and the server does not permit it."""
    return ConfigError(
        "opcua.refused",
        f"服务器 {address} 拒绝匿名、不加密的连接（{said}）。",
        f"the server {address} refuses an anonymous session without encryption ({said}).",
        "请删去 security: none 改用加密，或在该服务器上允许 SecurityPolicy None 与匿名登录。",
        "Remove security: none and use an encrypted session, or permit SecurityPolicy None and anonymous sessions"
        " on the server.",
    )


def read_unencrypted(address: str, because: CollectorError | None) -> Trouble:
    """A tool went without encryption: said each time, with the reason."""
    zh, en = (f"原因：{because.zh}", f"Why: {because.en}") if because is not None else ("", "")
    next_zh, next_en = (because.next_zh, because.next_en) if because is not None else ("", "")
    return Trouble(
        address,
        "opcua.unencrypted",
        f"{address}：本次没有加密（SecurityPolicy None，匿名），应答未经验证。{zh}",
        f"{address}: read without encryption this time (SecurityPolicy None, anonymous); nothing vouches for the"
        f" answers. {en}",
        f"{next_zh} 网关运行（run）时，只有写明 security: none 才会这样连接。".strip(),
        f"{next_en} The running gateway does so only where security: none is said.".strip(),
    )


def refusal(
    error: BaseException,
    address: str,
    *,
    offer: Offer | None,
    own: OwnCertificate | None,
    kind: ua.UserTokenType,
    username: str,
    server_ns: int,
    now_ns: int,
    in_channel: bool,
) -> CollectorError | None:
    """What a failed opening means for people; None where it is no matter of security.

    `in_channel`: it failed while the secured channel was being opened.
    """
    code = error.code if isinstance(error, ua.UaStatusCodeError) else None
    said = str(ua.StatusCode(code).name) if code is not None else (str(error) or type(error).__name__)
    if own is None:
        if code in _LOGIN_REFUSED | _SECURITY_REFUSED | {_codes.BadSecurityChecksFailed}:
            return none_refused(address, said)
        return None
    if code in _CERTIFICATE_TIME:
        return own_certificate_time(address, own, server_ns, now_ns)
    if code in _CERTIFICATE_REFUSED:
        return own_certificate_refused(address, own, said)
    if code in _SECURITY_REFUSED and offer is not None:
        return policy_refused(address, offer, said)
    if code in _LOGIN_REFUSED:
        return login_refused(address, kind, username, said)
    if isinstance(error, (ConnectionError, TimeoutError)) and in_channel:
        return closed_at_the_door(address, own)
    return None
