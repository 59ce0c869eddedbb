"""How a session is to be opened: which endpoint, with which certificate, as whom. Nothing is sent in clear.

`ways` asks the server what it offers and compares its certificate with the approved one; `SecuredClient`
opens one of the ways and refuses where the session's own answer differs from what was shown before.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncua import ua
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from collectors.model import CollectorError, LinkError
from collectors.opcua.config import BEST, NONE
from collectors.opcua.security import refusals
from collectors.opcua.security.approvals import Approvals
from collectors.opcua.security.certificates import OWN, SERVER, USER, Certificate, CertificateWatch, described
from collectors.opcua.security.channel import ChannelClient
from collectors.opcua.security.login import ANONYMOUS, Login
from collectors.opcua.security.offers import MODES, SUITES, Discovery, Offer, discover, hidden, offers_in
from collectors.opcua.security.own import OwnCertificate, load_or_make

_DISCOVERY_TIMEOUT_S: Final = 4.0
_APPLICATION_URI: Final = "urn:plantpulse:gateway"
"""Of a session without a certificate; else the certificate's own."""


@dataclass(frozen=True, slots=True)
class Access:
    """What the configuration says of sessions with one server.

    `security`: `none`, `best` or a policy of `SUITES`; `mode` of `MODES`, blank: the best offered;
    `folder` of the gateway's certificates; `looking`: a person's tool, which may go without encryption
    where nothing else is open to it.
    """

    security: str = NONE
    mode: str = ""
    login: Login = ANONYMOUS
    folder: Path | None = None
    looking: bool = False

    @property
    def wanted(self) -> str:
        """As the configuration says it."""
        return f"{self.security} {self.mode}".strip()

    def fits(self, offer: Offer) -> bool:
        """Whether a secured offer is one that the configuration permits."""
        return self.security in (BEST, offer.policy) and self.mode in ("", offer.mode)


WITHOUT_SECURITY: Final = Access()


@dataclass(frozen=True, slots=True)
class Way:
    """One way in. Without an `offer`: SecurityPolicy None, anonymous."""

    access: Access
    offer: Offer | None = None
    own: OwnCertificate | None = None
    found: Discovery | None = None
    instead: CollectorError | None = None
    """Why a tool that goes without encryption found nothing better."""

    def watch(self, address: str) -> CertificateWatch:
        """The certificates that a session on this way depends on."""
        if self.offer is None or self.own is None:
            return CertificateWatch(address)
        held = [(SERVER, described(self.offer.certificate)), (OWN, self.own.shown)]
        if not self.access.login.is_anonymous and self.access.login.cert_file is not None:
            user, _ = self.access.login.certificate()
            held.append((USER, described(user.public_bytes(Encoding.DER))))
        return CertificateWatch(address, held)

    def refusal(self, error: BaseException, address: str, now_ns: int, *, in_channel: bool) -> CollectorError | None:
        """What a failure on this way means for people; None where it is no matter of security."""
        if isinstance(error, CollectorError):
            return error
        if isinstance(error, InvalidSignature) or type(error) is ua.UaError:
            # asyncua's own checks of the session's answer: signature, certificate, endpoint
            why = str(error) or "signature"
            return refusals.none_refused(address, why) if self.own is None else refusals.not_genuine(address, why)
        return refusals.refusal(
            error,
            address,
            offer=self.offer,
            own=self.own,
            kind=self.access.login.kind,
            username=self.access.login.username,
            server_ns=self.found.server_ns if self.found is not None else 0,
            now_ns=now_ns,
            in_channel=in_channel,
        )


async def ways(address: str, access: Access, now_ns: int) -> list[Way]:
    """The ways in, best first: one for the gateway; for a tool every one that is open to it.

    Raises LinkError, ConfigError for what a person has to mend, and what asyncua raises.
    """
    if access.security == NONE or access.folder is None:
        return [Way(access)]
    approved = await asyncio.to_thread(Approvals(access.folder).of, address)
    found = await discover(address, _DISCOVERY_TIMEOUT_S)
    secured = found.secured
    if not secured and approved is not None:
        raise refusals.encryption_gone(address, approved, found)
    fitting = [o for o in secured if access.fits(o)]
    open_to_us = [o for o in fitting if o.takes(access.login.kind)]
    try:
        if not fitting:
            raise refusals.nothing_secured(address, access.wanted, found)
        if not open_to_us:
            raise refusals.login_not_taken(address, access.login.kind, fitting)
        certificate = _readable(address, open_to_us[0])
        if approved is None:
            raise refusals.not_approved(address, certificate)
        trusted = [o for o in open_to_us if o.fingerprint == approved.fingerprint]
        if not trusted:
            # not even a tool goes on here: who has taken the server's place would like it to do without
            raise refusals.changed(address, approved, certificate)
    except LinkError as error:
        if error.code == "opcua.certificate-changed" or not _may_go_without(access, found):
            raise
        return [Way(access, found=found, instead=error)]
    own = await asyncio.to_thread(load_or_make, access.folder, now_ns)
    if not access.looking:
        return [Way(access, trusted[0], own, found)]
    secured_ways = [Way(access, offer, own, found) for offer in trusted]
    return [*secured_ways, Way(access, found=found)] if _may_go_without(access, found) else secured_ways


def _may_go_without(access: Access, found: Discovery) -> bool:
    unencrypted = any(o.is_none and o.takes(ua.UserTokenType.Anonymous) for o in found.offers)
    return access.looking and access.login.is_anonymous and access.security == BEST and unencrypted


def _readable(address: str, offer: Offer) -> Certificate:
    try:
        certificate = described(offer.certificate)
    except ValueError as error:
        raise refusals.unreadable(address, str(error) or "-") from error
    if not certificate.key_bits:
        raise refusals.unreadable(address, "no RSA key / 不是 RSA 密钥")
    return certificate


class SecuredClient(ChannelClient):
    """asyncua's client on one way in. The password is sent only where `Offer.takes` says so."""

    channel_lifetime_ms = 3_600_000
    """The keys of a channel are renewed after three quarters of it."""

    def __init__(self, address: str, way: Way, *, timeout_s: float) -> None:
        super().__init__(address, timeout_s)
        self.secure_channel_timeout = self.channel_lifetime_ms
        self._address = address
        self._way = way
        self.name = self.description = "PlantPulse gateway"
        self.application_uri = _APPLICATION_URI
        if way.offer is None or way.own is None:
            return
        self.application_uri = way.own.application_uri
        self.security_policy = SUITES[way.offer.policy](
            x509.load_der_x509_certificate(way.offer.certificate),
            way.own.parsed,
            way.own.key,
            MODES[way.offer.mode],
        )
        self.uaclient.set_security(self.security_policy)
        login = way.access.login
        if login.kind == ua.UserTokenType.Certificate:
            self.user_certificate, self.user_private_key = login.certificate()
        elif login.kind == ua.UserTokenType.UserName:
            self.set_user(login.username)
            self.set_password(login.password())

    @property
    def is_turned_away(self) -> bool:
        """Whether the last attempt failed while a signed or encrypted channel was being opened."""
        return self.in_channel and self._way.own is not None

    async def create_session(self) -> ua.CreateSessionResult:
        """As asyncua does, and before anything of the login is sent compare what is offered with discovery."""
        result = await super().create_session()
        chosen, found = self._way.offer, self._way.found
        if chosen is None or found is None:
            return result
        now = offers_in(result.ServerEndpoints)
        better = hidden(found, now, chosen)
        if better:
            raise refusals.downgraded(self._address, chosen, better)
        kind = self._way.access.login.kind
        same = [o for o in now if (o.policy, o.mode) == (chosen.policy, chosen.mode)]
        if not any(offer.takes(kind) for offer in same):
            raise refusals.login_not_taken(self._address, kind, same)
        self._policy_ids = [token for offer in same if (token := offer.token(kind)) is not None][:1]
        return result
