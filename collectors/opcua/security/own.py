"""The gateway's own application instance certificate (OPC 10000-6, 6.2.2): made once, kept in the data folder.

`own/certificate.der` is what a machine is to trust, `own/private-key.pem` (mode 0600) never leaves the
gateway. Both are made together or not at all. A pair issued by a plant's own authority may be put in
their place.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from collectors.causes import Cause, cause_of
from collectors.model import LinkError
from collectors.opcua.security.certificates import NS_PER_S, Certificate, day, described, minute

VALID_YEARS: Final = 5
_KEY_BITS: Final = 2048
"""What every one of the policies permits, and what a small controller can still compute."""
_BACKDATED: Final = timedelta(days=1)
"""Machines whose clock is a little behind accept it at once."""
_EARLIEST_NS: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S
"""Before this program was written: a clock that says so has not been set."""
_FOLDER: Final = "own"
_CERTIFICATE: Final = "certificate.der"
_KEY: Final = "private-key.pem"


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The certificate with its key, as it is used and as it is shown."""

    parsed: x509.Certificate
    key: rsa.RSAPrivateKey
    shown: Certificate
    file: Path
    """The certificate's file, to be copied to machines."""

    @property
    def application_uri(self) -> str:
        """The URI that the gateway must call itself, or servers refuse the certificate."""
        return self.shown.application_uris[0]


def load_or_make(folder: Path, now_ns: int) -> OwnCertificate:
    """The certificate kept in `folder`, made where there is none. `now_ns`: ns UTC.

    Raises LinkError where it cannot be read or written, and while the clock is not set.
    """
    own = folder / _FOLDER
    try:
        if not (own / _CERTIFICATE).exists() and not (own / _KEY).exists():
            _make(folder, now_ns, f"urn:{_host_name()}:plantpulse-gateway:{secrets.token_hex(4)}")
        return _load(own)
    except OSError as error:
        raise _unusable(own, cause_of(error)) from error


def renew(folder: Path, now_ns: int) -> OwnCertificate:
    """A new certificate with a new key and the same application URI; the old pair moves aside.

    Raises as `load_or_make` does.
    """
    old = load_or_make(folder, now_ns)
    try:
        aside = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}.before-{day(now_ns)}-", dir=folder))
        (folder / _FOLDER).rename(aside)
        try:
            _make(folder, now_ns, old.application_uri)
        except BaseException:
            aside.rename(folder / _FOLDER)
            raise
        return _load(folder / _FOLDER)
    except OSError as error:
        raise _unusable(folder / _FOLDER, cause_of(error)) from error


def hand_over(path: Path, folder: Path) -> None:
    """Give what root has just made to the owner of the data folder: the service reads it, not root."""
    if os.geteuid() == 0:
        owner = folder.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def make_folder(folder: Path) -> None:
    """Make the folder of certificates where it is missing. Raises OSError."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o755, exist_ok=True)
        hand_over(folder, folder)


def _make(folder: Path, now_ns: int, application_uri: str) -> None:
    if now_ns < _EARLIEST_NS:
        raise LinkError(
            "opcua.clock-not-set",
            f"网关的时钟显示 {minute(now_ns)}，还没有校准，无法生成 OPC UA 证书。",
            f"the gateway's clock says {minute(now_ns)}: it has not been set, so no OPC UA certificate can be made.",
            "请校准时钟（NTP 或手动）。网关会自动重试。",
            "Set the clock (NTP or by hand). The gateway tries again by itself.",
        )
    make_folder(folder)
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    certificate = _self_signed(key, application_uri, datetime.fromtimestamp(now_ns // NS_PER_S, UTC))
    making = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}.new-", dir=folder))
    try:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _write(making / _KEY, pem, 0o600, folder)
        _write(making / _CERTIFICATE, certificate.public_bytes(serialization.Encoding.DER), 0o644, folder)
        making.chmod(0o755)
        hand_over(making, folder)
        try:
            making.rename(folder / _FOLDER)
        except OSError:
            # a gateway and a tool may start at once: the first pair is everybody's
            if not (folder / _FOLDER / _CERTIFICATE).exists():
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _self_signed(key: rsa.RSAPrivateKey, application_uri: str, now: datetime) -> x509.Certificate:
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "PlantPulse gateway"),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "PlantPulse"),
        ]
    )
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now.replace(year=now.year + VALID_YEARS, day=min(now.day, 28)))
    )
    # Siemens and others refuse a client whose certificate may sign others' (CA:TRUE), while OPC 10000-6
    # asks keyCertSign of a self-signed one
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(application_uri), x509.DNSName(_host_name())]),
            False,
        ),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (identifier, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ]
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _load(own: Path) -> OwnCertificate:
    file = own / _CERTIFICATE
    try:
        der = file.read_bytes()
        key = serialization.load_pem_private_key((own / _KEY).read_bytes(), None)
        parsed, shown = x509.load_der_x509_certificate(der), described(der)
    except (ValueError, TypeError) as error:
        raise _unusable(own, cause_of(error)) from error
    if not isinstance(key, rsa.RSAPrivateKey) or parsed.public_key() != key.public_key():
        raise _unusable(own, Cause(*[f"{_KEY} ≠ {_CERTIFICATE}"] * 2))
    if not shown.application_uris:
        raise _unusable(own, Cause("subjectAltName 里没有应用 URI", "no application URI in subjectAltName"))
    return OwnCertificate(parsed, key, shown, file)


def _write(path: Path, content: bytes, mode: int, folder: Path) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    path.chmod(mode)
    hand_over(path, folder)


def _host_name() -> str:
    """This machine's name as a DNS label that a certificate can carry."""
    name = "".join(c for c in socket.gethostname() if c.isascii() and (c.isalnum() or c in "-."))
    return name.strip("-.") or "gateway"


def _unusable(own: Path, why: Cause) -> LinkError:
    return LinkError(
        "opcua.own-certificate-unusable",
        f"网关自己的 OPC UA 证书 {own} 不能用（{why.zh}）。",
        f"the gateway's own OPC UA certificate in {own} cannot be used ({why.en}).",
        f"请检查该文件夹的属主和权限；{_CERTIFICATE} 须为 DER，{_KEY} 须为无口令的 PEM（RSA）。"
        "移走该文件夹会重新生成一对。网关会自动重试。",
        f"Check owner and permissions of the folder; {_CERTIFICATE} is DER, {_KEY} an RSA key in PEM without a"
        " password. Where the folder is moved away, a new pair is made. The gateway tries again by itself.",
    )
