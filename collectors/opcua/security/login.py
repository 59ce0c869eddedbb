"""Who logs in: nobody, a user with a password, or the holder of a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from asyncua import ua
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from collectors.causes import cause_of
from collectors.model import ConfigError
from collectors.passwords import password_in


@dataclass(frozen=True, slots=True)
class Login:
    """As configured; files are read when a session is opened."""

    username: str = ""
    password_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def kind(self) -> ua.UserTokenType:
        """What the server must take."""
        if self.cert_file is not None:
            return ua.UserTokenType.Certificate
        return ua.UserTokenType.UserName if self.username else ua.UserTokenType.Anonymous

    @property
    def is_anonymous(self) -> bool:
        """Nothing is sent that could be stolen."""
        return bool(self.kind == ua.UserTokenType.Anonymous)

    def password(self) -> str:
        """The password; empty where there is no file. Raises ConfigError."""
        return "" if self.password_file is None else password_in(self.password_file, "opcua")

    def certificate(self) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
        """The user's certificate and key, PEM or DER. Raises ConfigError."""
        try:
            if self.cert_file is None or self.key_file is None:
                raise ValueError("cert_file, key_file")
            cert, key = self.cert_file.read_bytes(), self.key_file.read_bytes()
            parsed = x509.load_pem_x509_certificate(cert) if _is_pem(cert) else x509.load_der_x509_certificate(cert)
            private = (
                serialization.load_pem_private_key(key, None)
                if _is_pem(key)
                else serialization.load_der_private_key(key, None)
            )
            if not isinstance(private, rsa.RSAPrivateKey) or private.public_key() != parsed.public_key():
                raise ValueError("cert_file ≠ key_file")
        except (OSError, ValueError, TypeError) as error:
            cause = cause_of(error)
            raise ConfigError(
                "opcua.user-certificate",
                f"登录证书 {self.cert_file} 与私钥 {self.key_file} 不能用（{cause.zh}）。",
                f"the login's certificate {self.cert_file} and key {self.key_file} cannot be used ({cause.en}).",
                "cert_file 和 key_file 须是一对 RSA 证书和私钥（PEM 或 DER，私钥无口令）。",
                "cert_file and key_file are an RSA certificate and its key (PEM or DER, the key without a password).",
            ) from error
        return parsed, private


def _is_pem(content: bytes) -> bool:
    return content.lstrip().startswith(b"-----BEGIN")


ANONYMOUS: Final = Login()
