"""What `plantpulse-gateway trust` shows of a server before a person approves its certificate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from collectors.model import Clock, LinkError, Trouble
from collectors.opcua.security import refusals
from collectors.opcua.security.approvals import Approval, Approvals
from collectors.opcua.security.certificates import NS_PER_S, SERVER, Certificate, CertificateWatch, described, minute
from collectors.opcua.security.offers import Discovery, Offer, discover
from collectors.opcua.security.own import OwnCertificate, load_or_make
from collectors.opcua.session import quieten_asyncua, wrapped

_LEAST_KEY_BITS: Final = 2048
_CLOCKS_APART_NS: Final = 3600 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Presented:
    """A server's certificate as shown now, and what was approved before."""

    address: str
    certificate: Certificate
    found: Discovery
    approved: Approval | None
    own: OwnCertificate
    remarks: tuple[Trouble, ...]
    """What a person should weigh."""

    @property
    def is_approved(self) -> bool:
        """Whether exactly this certificate is approved already."""
        return self.approved is not None and self.approved.fingerprint == self.certificate.fingerprint

    @property
    def is_changed(self) -> bool:
        """Whether another one was approved."""
        return self.approved is not None and not self.is_approved


async def present(address: str, state_folder: Path, clock: Clock, seconds: float = 10.0) -> Presented:
    """Ask a server for its certificate; approves nothing. Raises LinkError, ConfigError."""
    quieten_asyncua()
    approved = await asyncio.to_thread(Approvals(state_folder).of, address)
    with wrapped(address):
        async with asyncio.timeout(seconds):
            found = await discover(address, seconds)
    if not found.secured:
        raise refusals.encryption_gone(address, approved, found) if approved else _nothing_to_approve(address, found)
    # the one that is used where nothing has changed, else the best
    offer = next((o for o in found.secured if approved and o.fingerprint == approved.fingerprint), found.secured[0])
    try:
        certificate = described(offer.certificate)
    except ValueError as error:
        raise refusals.unreadable(address, str(error) or "-") from error
    own = await asyncio.to_thread(load_or_make, state_folder, clock())
    remarks = tuple(_remarks(address, offer, certificate, found, clock()))
    return Presented(address, certificate, found, approved, own, remarks)


def _remarks(address: str, offer: Offer, certificate: Certificate, found: Discovery, now_ns: int) -> Iterator[Trouble]:
    yield from CertificateWatch(address, [(SERVER, certificate)]).troubles(now_ns)
    host = urlsplit(address).hostname or ""
    if host.lower() not in {name.lower() for name in certificate.hosts}:
        named = ", ".join(certificate.hosts) or "-"
        yield Trouble(
            address,
            "opcua.host-name-differs",
            f"证书上的主机名是 {named}，而地址里是 {host}。",
            f"the certificate names {named}, the address {host}.",
            "若机器确实在这个地址，可以认可；否则请改用证书上的名字，或检查地址。",
            "Approve it if the machine is at this address; if not, use the certificate's name or check the address.",
        )
    if offer.application_uri and offer.application_uri not in certificate.application_uris:
        named = ", ".join(certificate.application_uris) or "-"
        yield Trouble(
            address,
            "opcua.application-uri-differs",
            f"证书上的应用 URI {named} 与服务器自称的 {offer.application_uri} 不同，证书可能是复制来的。",
            f"the certificate's application URI {named} is not what the server calls itself"
            f" ({offer.application_uri}): it may be a copy.",
            "最好让机器重新生成自己的证书。",
            "Better let the machine make its own.",
        )
    if certificate.key_bits < _LEAST_KEY_BITS:
        yield Trouble(
            address,
            "opcua.short-key",
            f"证书的密钥只有 {certificate.key_bits} 位，应为 {_LEAST_KEY_BITS} 位以上。",
            f"the certificate's key has {certificate.key_bits} bits; it should have {_LEAST_KEY_BITS} or more.",
            "请让机器重新生成证书。",
            "Let the machine make a new one.",
        )
    if found.server_ns and abs(found.server_ns - now_ns) > _CLOCKS_APART_NS:
        yield Trouble(
            address,
            "opcua.clocks-apart",
            f"机器时钟 {minute(found.server_ns)}，网关时钟 {minute(now_ns)}：证书的有效期会被判错。",
            f"the machine's clock says {minute(found.server_ns)}, the gateway's {minute(now_ns)}: the validity of"
            " certificates will be judged wrongly.",
            "请校准时钟错误的一方。",
            "Set the one that is wrong.",
        )


def _nothing_to_approve(address: str, found: Discovery) -> LinkError:
    return LinkError(
        "opcua.nothing-to-approve",
        f"服务器 {address} 没有我们支持的加密端点（它提供：{found.names}），没有证书需要认可。",
        f"{address} has no secured endpoint that we speak (it offers: {found.names}): there is nothing to approve.",
        "请在机器上启用 Basic256Sha256 或更好的策略；若网络是隔离的，可在工厂文件里写 security: none。",
        "Switch on Basic256Sha256 or better on the machine; on an isolated network the plant's file may say"
        " security: none.",
    )
