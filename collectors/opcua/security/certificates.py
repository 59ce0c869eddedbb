"""What a certificate says, in the words and digits that people compare: fingerprint, names, dates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from collectors.model import Trouble

NS_PER_S: Final = 1_000_000_000
EXPIRY_WARNING_DAYS: Final = 30
_WARNING_NS: Final = EXPIRY_WARNING_DAYS * 86_400 * NS_PER_S
_NEVER_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as it is shown. Times in ns UTC."""

    fingerprint: str
    """SHA-256 over the DER, `AB:CD:…`: what an approval remembers."""
    thumbprint: str
    """SHA-1 over the DER, 40 hex digits: how most machines list the certificates of their clients."""
    subject: str
    issuer: str
    valid_from_ns: int
    valid_to_ns: int
    application_uris: tuple[str, ...]
    hosts: tuple[str, ...]
    """DNS names and IP addresses that it is issued for."""
    key_bits: int
    """Length of its RSA key; 0 for a key of another kind."""

    @property
    def validity(self) -> str:
        """`2026-01-31 – 2031-01-30 (UTC)`."""
        return f"{day(self.valid_from_ns)} – {day(self.valid_to_ns)} (UTC)"


def described(der: bytes) -> Certificate:
    """The certificate in DER bytes. Raises ValueError for what is none."""
    parsed = x509.load_der_x509_certificate(der)
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    hosts = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    key = parsed.public_key()
    return Certificate(
        fingerprint=fingerprint_of(der),
        thumbprint=hashlib.sha1(der, usedforsecurity=False).hexdigest().upper(),
        subject=parsed.subject.rfc4514_string(),
        issuer=parsed.issuer.rfc4514_string(),
        valid_from_ns=_ns(parsed.not_valid_before_utc),
        valid_to_ns=_ns(parsed.not_valid_after_utc),
        application_uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        hosts=tuple(hosts),
        key_bits=key.key_size if isinstance(key, rsa.RSAPublicKey) else 0,
    )


def fingerprint_of(der: bytes) -> str:
    """SHA-256 over the DER, in pairs of digits: `AB:CD:…`."""
    return hashlib.sha256(der).digest().hex(":").upper()


def first_of_chain(der: bytes) -> bytes:
    """The leading certificate of DER bytes that may hold its chain behind it (OPC 10000-6, 6.2.6)."""
    if len(der) < 4 or der[0] != 0x30 or der[1] != 0x82:
        return der
    return der[: 4 + int.from_bytes(der[2:4], "big")]


def day(at_ns: int) -> str:
    """A moment as a date in UTC."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).strftime("%Y-%m-%d")


def minute(at_ns: int) -> str:
    """A moment to the minute, UTC."""
    return datetime.fromtimestamp(at_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M UTC")


class Phase(Enum):
    """Where a moment lies in a certificate's life."""

    TOO_EARLY = "early"
    VALID = "valid"
    ENDING = "ending"
    """Ends within EXPIRY_WARNING_DAYS."""
    EXPIRED = "expired"


def phase(certificate: Certificate, now_ns: int) -> Phase:
    """The phase of a certificate at `now_ns` (ns UTC)."""
    if now_ns < certificate.valid_from_ns:
        return Phase.TOO_EARLY
    if now_ns >= certificate.valid_to_ns:
        return Phase.EXPIRED
    return Phase.ENDING if now_ns >= certificate.valid_to_ns - _WARNING_NS else Phase.VALID


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificate it is, and what is done when its time ends."""

    part: str
    """What follows the link's address in the subject of a trouble."""
    zh: str
    en: str
    renew_zh: str
    renew_en: str


SERVER: Final = Holder(
    "certificate",
    "服务器证书",
    "the server's certificate",
    "请在该机器上更新证书，然后运行 plantpulse-gateway trust 地址 --config plant.yaml 重新认可。",
    "Renew it on the machine, then approve the new one: plantpulse-gateway trust ADDRESS --config plant.yaml.",
)
OWN: Final = Holder(
    "own-certificate",
    "网关自己的 OPC UA 证书",
    "the gateway's own OPC UA certificate",
    "请运行 plantpulse-gateway trust --config plant.yaml --renew，重启网关，并在各台机器上信任新证书。",
    "Run plantpulse-gateway trust --config plant.yaml --renew, restart the gateway and trust the new certificate"
    " on each machine.",
)
USER: Final = Holder(
    "user-certificate",
    "登录用的用户证书（cert_file）",
    "the user certificate of the login (cert_file)",
    "请换上新的 cert_file 和 key_file。",
    "Put a new cert_file and key_file in its place.",
)


class CertificateWatch:
    """The certificates of one session, and when something is to be said of them.

    Parameters: `link`, the server's address; `held`: each holder with its certificate.
    """

    def __init__(self, link: str, held: Sequence[tuple[Holder, Certificate]] = ()) -> None:
        self._link = link
        self._held = tuple(held)
        self.due_ns = 0 if held else _NEVER_NS
        """From this moment on `troubles` says something that it has not said before."""

    def troubles(self, now_ns: int) -> list[Trouble]:
        """What is to be said at `now_ns`: nothing of a certificate that is valid for a long time yet."""
        moments = [
            moment
            for _, held in self._held
            for moment in (held.valid_from_ns, held.valid_to_ns - _WARNING_NS, held.valid_to_ns)
            if moment > now_ns
        ]
        self.due_ns = min(moments, default=_NEVER_NS)
        said = [_trouble(self._link, holder, held, now_ns) for holder, held in self._held]
        return [trouble for trouble in said if trouble is not None]


def _trouble(link: str, holder: Holder, held: Certificate, now_ns: int) -> Trouble | None:
    subject, code = f"{link}/{holder.part}", f"opcua.{holder.part}"
    match phase(held, now_ns):
        case Phase.ENDING:
            days = (held.valid_to_ns - now_ns) // (86_400 * NS_PER_S)
            return Trouble(
                subject,
                f"{code}-expires",
                f"{link}：{holder.zh}将于 {day(held.valid_to_ns)} 到期（还有 {days} 天）。",
                f"{link}: {holder.en} expires on {day(held.valid_to_ns)} (in {days} days).",
                holder.renew_zh,
                holder.renew_en,
            )
        case Phase.EXPIRED:
            return Trouble(
                subject,
                f"{code}-expired",
                f"{link}：{holder.zh}已于 {day(held.valid_to_ns)} 到期（网关时间 {minute(now_ns)}）。",
                f"{link}: {holder.en} expired on {day(held.valid_to_ns)} (the gateway's clock: {minute(now_ns)}).",
                holder.renew_zh,
                holder.renew_en,
            )
        case Phase.TOO_EARLY:
            return Trouble(
                subject,
                f"{code}-too-early",
                f"{link}：{holder.zh}要到 {day(held.valid_from_ns)} 才生效，而网关时间是 {minute(now_ns)}。",
                f"{link}: {holder.en} is valid from {day(held.valid_from_ns)} only; "
                f"the gateway's clock says {minute(now_ns)}.",
                "请先校准网关的时钟（NTP）；若时钟无误，请更换这张证书。",
                "Set the gateway's clock (NTP) first; if it is right, replace this certificate.",
            )
        case _:
            return None


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * NS_PER_S
