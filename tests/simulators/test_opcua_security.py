"""A simulated server with security on, started as people start it, met by asyncua's own client."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from simulators.opcua_security import POLICIES, Security

ROOT = Path(__file__).parents[2]


async def test_the_command_serves_what_its_switches_say(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n", encoding="utf-8")
    (tmp_path / "clients").mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "simulators.cli", "cnc", "--port", "0", "--security", "all"),
        *("--user", "op", "--password-file", str(tmp_path / "password")),
        *("--trusted-clients", str(tmp_path / "clients"), "--certificate-folder", str(tmp_path / "server")),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        address, fingerprint = (await process.stdout.readline()).decode().split()
        assert len(fingerprint) == 32 * 3 - 1
        client = Client(address)
        offered = await client.connect_and_get_server_endpoints()
        assert len(offered) == 1 + 2 * len(POLICIES)
        assert {t.TokenType for e in offered for t in e.UserIdentityTokens} == {ua.UserTokenType.UserName}
        cert, key = await client.setup_self_signed_certificate(tmp_path / "key.pem", tmp_path / "gateway.der")
        client.set_user("op")
        client.set_password("s3cret")
        await client.set_security(SecurityPolicyBasic256Sha256, str(cert), str(key))
        with pytest.raises(ua.uaerrors.BadCertificateUntrusted):
            await client.connect()
        (tmp_path / "clients" / "gateway.der").write_bytes(cert.read_bytes())
        await client.connect()
        assert "http://opcfoundation.org/UA/MachineTool/" in await client.get_namespace_array()
        await client.disconnect()
        client.set_password("guess")
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await client.connect()
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.parametrize("policies", [(), ("Basic128Rsa15",), ("none",)])
def test_a_policy_that_nobody_should_use_is_refused_with_those_that_there_are(policies: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="Basic256Sha256"):
        Security(policies=policies)
