"""What a server offers: security policies and modes, the logins it takes, its certificate, its clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from asyncua import ua
from asyncua.crypto import security_policies
from asyncua.ua.ua_binary import struct_from_binary

from collectors.opcua.security.certificates import NS_PER_S, fingerprint_of, first_of_chain
from collectors.opcua.security.channel import ChannelClient

NONE: Final = "None"
SIGN: Final = "Sign"
SIGN_AND_ENCRYPT: Final = "SignAndEncrypt"

SUITES: Final = {
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
    "Aes128Sha256RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
}
"""The policies spoken, best first. Basic128Rsa15 and Basic256 are withdrawn (OPC 10000-7): SHA-1."""
MODES: Final = {SIGN_AND_ENCRYPT: ua.MessageSecurityMode.SignAndEncrypt, SIGN: ua.MessageSecurityMode.Sign}
"""The modes spoken beside None, best first."""

_NAME_OF_URI: Final = {suite.URI: name for name, suite in SUITES.items()} | {
    security_policies.SecurityPolicyNone.URI: NONE
}
_NAME_OF_MODE: Final = {mode: name for name, mode in MODES.items()} | {ua.MessageSecurityMode.None_: NONE}
_TCP: Final = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
_NONE_URI: Final = security_policies.SecurityPolicyNone.URI
_ENCRYPTING: Final = frozenset(suite.URI for suite in SUITES.values())
_IN_ENCRYPTED_CHANNEL: Final = _ENCRYPTING | {
    _NONE_URI,
    security_policies.SecurityPolicyBasic256.URI,
    security_policies.SecurityPolicyBasic128Rsa15.URI,
}
"""How a password may be wrapped where the channel encrypts it anyway."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One endpoint of a server."""

    policy: str
    """`None`, a key of SUITES, or the policy's URI where it is none that we speak."""
    mode: str
    certificate: bytes
    """DER of the server's certificate; empty where it shows none."""
    tokens: tuple[ua.UserTokenPolicy, ...]
    application_uri: str = ""

    @property
    def is_secured(self) -> bool:
        """Whether it is one of the policies that we speak, signed or encrypted."""
        return self.policy in SUITES and self.mode in MODES

    @property
    def is_none(self) -> bool:
        """SecurityPolicy None."""
        return self.policy == NONE and self.mode == NONE

    @property
    def rank(self) -> tuple[int, int]:
        """Encrypted before signed, then the better policy; None last."""
        if not self.is_secured:
            return (0, 0)
        return (2 - list(MODES).index(self.mode), len(SUITES) - list(SUITES).index(self.policy))

    @property
    def name(self) -> str:
        """As it is shown: `Basic256Sha256/SignAndEncrypt`."""
        policy = self.policy.rpartition("#")[2]
        return NONE if self.is_none else f"{policy}/{self.mode}"

    @property
    def fingerprint(self) -> str:
        """Of its certificate; blank where it shows none."""
        return fingerprint_of(self.certificate) if self.certificate else ""

    def token(self, kind: ua.UserTokenType) -> ua.UserTokenPolicy | None:
        """How a login of that kind is sent here; None where it is not taken, or a password would go in clear."""
        for token in self.tokens:
            if token.TokenType != kind:
                continue
            policy = token.SecurityPolicyUri or _uri(self.policy)
            wrapped = kind == ua.UserTokenType.UserName and self.mode == SIGN_AND_ENCRYPT
            if kind == ua.UserTokenType.Anonymous or policy in (_IN_ENCRYPTED_CHANNEL if wrapped else _ENCRYPTING):
                return token
        return None

    def takes(self, kind: ua.UserTokenType) -> bool:
        """Whether a login of that kind is open here. Only an anonymous one is, where nothing is encrypted."""
        if not self.is_secured and kind != ua.UserTokenType.Anonymous:
            return False
        if not self.tokens:
            return bool(kind == ua.UserTokenType.Anonymous)  # a server that leaves the list out takes anybody
        return self.token(kind) is not None


@dataclass(frozen=True, slots=True)
class Discovery:
    """A server's answer to GetEndpoints. Nobody vouches for it: the session's own answer is compared with it."""

    offers: tuple[Offer, ...]
    server_ns: int
    """The server's clock when it answered, ns UTC; 0 where it gave none."""

    @property
    def secured(self) -> list[Offer]:
        """The secured offers, best first."""
        return sorted((o for o in self.offers if o.is_secured), key=lambda o: o.rank, reverse=True)

    @property
    def names(self) -> str:
        """Everything offered, for people."""
        return ", ".join(dict.fromkeys(o.name for o in self.offers)) or "-"


async def discover(address: str, timeout_s: float) -> Discovery:
    """Ask a server for its endpoints over a channel of its own. Raises what asyncua raises."""
    client = ChannelClient(address, timeout_s)
    request = ua.GetEndpointsRequest()
    request.Parameters.EndpointUrl = address

    async def ask() -> ua.GetEndpointsResponse:
        return struct_from_binary(ua.GetEndpointsResponse, await client.uaclient.protocol.send_request(request))

    # asyncua's own method gives the endpoints without the header, and with it the server's clock
    response = await client._with_temp_channel(ask)
    response.ResponseHeader.ServiceResult.check()
    return Discovery(offers_in(response.Endpoints), _ns(response.ResponseHeader.Timestamp))


def offers_in(endpoints: Sequence[ua.EndpointDescription] | None) -> tuple[Offer, ...]:
    """The endpoints over TCP, as offers."""
    return tuple(
        Offer(
            policy=_NAME_OF_URI.get(e.SecurityPolicyUri or _NONE_URI, str(e.SecurityPolicyUri)),
            mode=_NAME_OF_MODE.get(e.SecurityMode, str(e.SecurityMode)),
            certificate=first_of_chain(e.ServerCertificate or b""),
            tokens=tuple(e.UserIdentityTokens or ()),
            application_uri=(e.Server.ApplicationUri or "") if e.Server else "",
        )
        for e in endpoints or ()
        if (e.TransportProfileUri or _TCP) == _TCP
    )


def hidden(before: Discovery, now: Iterable[Offer], chosen: Offer) -> list[Offer]:
    """What is offered to the session and better than what was chosen, though discovery did not show it."""
    shown = {(o.policy, o.mode) for o in before.offers}
    return [o for o in now if o.is_secured and o.rank > chosen.rank and (o.policy, o.mode) not in shown]


def _uri(policy: str) -> str:
    return str(SUITES[policy].URI) if policy in SUITES else _NONE_URI


def _ns(moment: datetime | None) -> int:
    if moment is None or moment.year < 1971:
        return 0
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * NS_PER_S
