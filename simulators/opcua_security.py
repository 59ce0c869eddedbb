"""The security of a simulated OPC UA server: its own certificate, policies, users, and the clients it trusts.

As on a machine: the server makes its certificate once and keeps it; it lets in whom it knows, and turns
a client away whose certificate nobody has put into its folder of trusted ones.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from asyncua import Server, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto import cert_gen, uacrypto
from asyncua.crypto.permission_rules import User, UserRole
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

NONE: Final = "None"
POLICIES: Final = ("Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss")
MODES: Final = ("Sign", "SignAndEncrypt")
_CERTIFICATE: Final = "server.der"
_KEY: Final = "server-key.pem"


@dataclass(frozen=True, slots=True)
class Security:
    """What a simulated server asks of its clients. The default is an open one: policy None, anonymous."""

    policies: tuple[str, ...] = (NONE,)
    """`None` and any of POLICIES."""
    modes: tuple[str, ...] = MODES
    anonymous: bool = True
    users: Mapping[str, str] = field(default_factory=dict)
    """Passwords by user; where there are none, no user logs in by password."""
    user_certificates: Sequence[bytes] = ()
    """DER of the users who log in by certificate."""
    trusted_clients: Path | None = None
    """Folder with the certificates (DER) of trusted clients, read at each session; None: everybody's."""
    folder: Path | None = None
    """Where the server's certificate is kept from one start to the next; None: a new one at each start."""
    valid_days: int = 365
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", socket.gethostname())
    """Names and addresses in the server's certificate."""

    def __post_init__(self) -> None:
        unknown = set(self.policies) - {NONE, *POLICIES} | set(self.modes) - {*MODES}
        if unknown or not self.policies:
            raise ValueError(
                f"不认识 / unknown: {', '.join(sorted(unknown)) or '-'}；可用 / known: {', '.join((NONE, *POLICIES))}"
            )

    @property
    def is_open(self) -> bool:
        """Whether nothing is encrypted, so that no certificate is needed."""
        return self.policies == (NONE,)


OPEN: Final = Security()


async def secure(server: Server, security: Security, application_uri: str) -> str:
    """Set up a server that is not started yet; returns its certificate's SHA-256 fingerprint, blank where open."""
    tokens: list[type] = [ua.AnonymousIdentityToken] if security.anonymous else []
    tokens += [ua.UserNameIdentityToken] if security.users else []
    tokens += [ua.X509IdentityToken] if security.user_certificates else []
    server.set_identity_tokens(tokens)
    server.set_security_policy(
        [ua.SecurityPolicyType.NoSecurity] * (NONE in security.policies)
        + [
            ua.SecurityPolicyType[f"{policy}_{mode}"]
            for policy in security.policies
            if policy != NONE
            for mode in security.modes
        ]
    )
    if security.users or security.user_certificates:
        server.iserver.user_manager = _Users(security)
    if security.is_open:
        return ""
    certificate, key = await asyncio.to_thread(_certificate, security, application_uri)
    server.iserver.certificate, server.iserver.private_key = certificate, key
    if security.trusted_clients is not None:
        server.set_certificate_validator(_Clients(security.trusted_clients))
    return _fingerprint(certificate)


def _certificate(security: Security, application_uri: str) -> tuple[x509.Certificate, Any]:
    folder = security.folder
    if folder is not None and (folder / _KEY).exists():
        key = load_pem_private_key((folder / _KEY).read_bytes(), None)
        return x509.load_der_x509_certificate((folder / _CERTIFICATE).read_bytes()), key
    own_key = cert_gen.generate_private_key()
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(application_uri),
        *(_name(host) for host in security.hosts),
    ]
    certificate = cert_gen.generate_self_signed_app_certificate(
        own_key,
        "PlantPulse simulator",
        {"organizationName": "PlantPulse"},
        names,
        [ExtendedKeyUsageOID.SERVER_AUTH],
        security.valid_days,
    )
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _KEY).touch(mode=0o600)
        (folder / _KEY).write_bytes(cert_gen.dump_private_key_as_pem(own_key))
        (folder / _CERTIFICATE).write_bytes(certificate.public_bytes(Encoding.DER))
    return certificate, own_key


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(SHA256()).hex(":").upper()


class _Users:
    """asyncua's user manager: whom to let in, and as what."""

    def __init__(self, security: Security) -> None:
        self._security = security
        self.names: list[str] = []
        """The users who have sent a password."""

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if username is not None:
            self.names.append(username)
            known = self._security.users.get(username)
            return User(UserRole.User, username) if known is not None and known == password else None
        if certificate is not None and certificate in self._security.user_certificates:
            return User(UserRole.User, "certificate")
        return User(UserRole.User) if self._security.anonymous else None


class _Clients:
    """asyncua's certificate validator: only applications whose certificate lies in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, certificate: x509.Certificate, application: ua.ApplicationDescription) -> None:
        shown = uacrypto.der_from_x509(certificate)
        if not any(file.read_bytes() == shown for file in self._folder.glob("*.der")):
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)
        uris = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if application.ApplicationUri not in uris.get_values_for_type(x509.UniformResourceIdentifier):
            raise ServiceError(ua.StatusCodes.BadCertificateUriInvalid)
