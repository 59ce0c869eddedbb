"""Sessions as secure as the server permits: every policy, mode and login, and what is refused with which words."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.crypto import cert_gen
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.ua_binary import struct_from_binary
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from collectors.model import CollectorError, ConfigError, LinkError
from collectors.opcua import tools
from collectors.opcua.collector import OpcuaCollector
from collectors.opcua.ladder import Rung
from collectors.opcua.security.approvals import Approvals
from collectors.opcua.security.login import Login
from collectors.opcua.security.opening import SecuredClient
from collectors.opcua.security.own import load_or_make
from simulators.opcua_security import MODES, POLICIES, Security
from simulators.opcua_server import OpcuaMachines
from tests.collectors.opcua.plants import Seen, collector, fast_clock, watching
from tests.collectors.opcua.relay import cuttable
from tests.collectors.opcua.secured import (
    DAY_NS,
    EVERYTHING,
    PASSWORD,
    USER,
    Doorman,
    Told,
    access,
    approve,
    clock_ahead,
    collector_of,
    entry_of,
    secured,
    session,
    ways_in,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a gateway keeps its OPC UA certificates."""
    return tmp_path / "data" / "opcua"


@pytest.fixture
def password(tmp_path: Path) -> Login:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    return Login(USER, file)


@pytest.fixture(scope="module")
def user_certificate(tmp_path_factory: pytest.TempPathFactory) -> Login:
    """A person's certificate and key, both in PEM."""
    where = tmp_path_factory.mktemp("user")
    key = cert_gen.generate_private_key()
    certificate = cert_gen.generate_self_signed_app_certificate(
        key, "reader", {}, [], [ExtendedKeyUsageOID.CLIENT_AUTH], 365
    )
    (where / "user.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (where / "user-key.pem").write_bytes(pem)
    return Login(cert_file=where / "user.pem", key_file=where / "user-key.pem")


def der_of(login: Login) -> bytes:
    certificate, _ = login.certificate()
    return certificate.public_bytes(Encoding.DER)


async def refused(address: str, how: Any, clock: Callable[[], int] = time.time_ns) -> CollectorError:
    with pytest.raises(CollectorError) as failure:
        async with session(address, how, clock):
            pass
    assert failure.value.zh
    assert failure.value.next_zh
    assert failure.value.next_en
    return failure.value


async def test_every_policy_and_mode_is_spoken_with_every_login(
    folder: Path, password: Login, user_certificate: Login
) -> None:
    offered = Security(policies=POLICIES, users={USER: PASSWORD}, user_certificates=[der_of(user_certificate)])
    async with secured(offered) as server:
        await approve(server.address, folder)
        for policy, mode, login in itertools.product(POLICIES, MODES, (Login(), password, user_certificate)):
            async with session(server.address, access(folder, policy, mode, login)) as opened:
                assert ways_in(opened) == (policy, mode)
                assert await opened.client.get_namespace_array()


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (Security(policies=EVERYTHING), ("Aes256Sha256RsaPss", "SignAndEncrypt")),
        (Security(policies=("None", "Basic256Sha256")), ("Basic256Sha256", "SignAndEncrypt")),
        (
            Security(policies=("Basic256Sha256", "Aes128Sha256RsaOaep"), modes=("Sign",)),
            ("Aes128Sha256RsaOaep", "Sign"),
        ),
    ],
)
async def test_the_best_that_is_offered_is_taken(folder: Path, offered: Security, taken: tuple[str, str]) -> None:
    async with secured(offered) as server:
        await approve(server.address, folder)
        async with session(server.address, access(folder)) as opened:
            assert ways_in(opened) == taken


async def test_a_running_gateway_is_never_unencrypted_unless_its_configuration_says_so(folder: Path) -> None:
    async with secured(Security()) as server:
        error = await refused(server.address, access(folder))
        assert isinstance(error, LinkError)
        assert error.code == "opcua.no-secured-endpoint"
        assert "It offers: None" in error.en
        assert "security: none" in error.next_en
        async with session(server.address, access(folder, "none")) as opened:
            assert ways_in(opened) == ("None", "None_")
            assert opened.unencrypted is None


async def test_an_entry_that_says_none_and_a_server_that_only_goes_encrypted_do_not_meet(folder: Path) -> None:
    async with secured(Security(policies=POLICIES)) as server:
        error = await refused(server.address, access(folder, "none"))
        assert isinstance(error, ConfigError)
        assert error.code == "opcua.refused"
        assert "security: none" in error.next_zh


async def test_a_policy_that_the_configuration_names_is_not_replaced_by_another(folder: Path) -> None:
    async with secured(Security(policies=("None", "Basic256Sha256"))) as server:
        await approve(server.address, folder)
        error = await refused(server.address, access(folder, "Aes256Sha256RsaPss"))
        assert error.code == "opcua.no-secured-endpoint"
        assert "Basic256Sha256/SignAndEncrypt" in error.en


async def test_a_server_is_not_spoken_to_before_a_person_has_approved_it(folder: Path) -> None:
    async with secured(Security(policies=EVERYTHING)) as server:
        error = await refused(server.address, access(folder))
        assert error.code == "opcua.certificate-not-approved"
        assert server.fingerprint in error.en
        assert f"plantpulse-gateway trust {server.address}" in error.next_zh
        assert server.sessions == 0


async def test_a_changed_certificate_is_refused_with_both_fingerprints_by_the_gateway_and_by_its_tools(
    folder: Path,
) -> None:
    async with secured(Security(policies=EVERYTHING)) as server:
        await approve(server.address, folder)
        before, port = server.fingerprint, int(server.address.rpartition(":")[2])
    async with secured(Security(policies=EVERYTHING), port=port) as server:
        assert server.fingerprint != before
        for looking in (False, True):
            error = await refused(server.address, access(folder, looking=looking))
            assert error.code == "opcua.certificate-changed"
            assert before in error.en
            assert server.fingerprint in error.en
            assert before in error.zh
            assert "plantpulse-gateway trust" in error.next_en
        await approve(server.address, folder)
        async with session(server.address, access(folder)) as opened:
            assert ways_in(opened)[1] == "SignAndEncrypt"


async def test_an_approval_holds_for_its_own_endpoint_only(folder: Path) -> None:
    async with secured(Security(policies=POLICIES)) as one, secured(Security(policies=POLICIES)) as other:
        await approve(one.address, folder)
        assert (await refused(other.address, access(folder))).code == "opcua.certificate-not-approved"
        Approvals(folder).forget(one.address.upper().replace("OPC.TCP", "opc.tcp") + "/")
        assert (await refused(one.address, access(folder))).code == "opcua.certificate-not-approved"


async def test_a_machine_that_does_not_know_the_gateway_is_told_of_with_thumbprint_and_file_and_then_let_in(
    folder: Path, tmp_path: Path
) -> None:
    clients = tmp_path / "trusted"
    clients.mkdir()
    async with secured(Security(policies=POLICIES, trusted_clients=clients)) as server:
        await approve(server.address, folder)
        error = await refused(server.address, access(folder))
        own = load_or_make(folder, time.time_ns())
        assert isinstance(error, LinkError)  # the gateway tries again and goes on once it is trusted
        assert error.code == "opcua.own-certificate-refused"
        assert "BadCertificateUntrusted" in error.en
        assert own.shown.thumbprint in error.zh
        assert own.application_uri in error.en
        assert str(own.file) in error.next_zh
        (clients / "gateway.der").write_bytes(own.file.read_bytes())
        async with session(server.address, access(folder)) as opened:
            assert await opened.client.get_namespace_array()


@pytest.mark.parametrize("answer", [ua.StatusCodes.BadSecurityChecksFailed, None])
async def test_a_controller_that_turns_an_unknown_client_away_at_the_door_is_understood_too(
    folder: Path, answer: int | None
) -> None:
    async with secured(Security(policies=EVERYTHING)) as server, Doorman(server, answer) as door:
        await approve(door.address, folder)
        error = await refused(door.address, access(folder))
        assert error.code == "opcua.own-certificate-refused"
        assert load_or_make(folder, time.time_ns()).shown.thumbprint in error.en


async def test_a_server_that_refuses_inside_the_answer_for_the_channel_is_understood_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = UaProcessor.open_secure_channel

    def refuses(server: UaProcessor, algorithm: Any, sequence: Any, body: Any) -> None:
        if algorithm.SecurityPolicyURI.endswith("#None"):
            opens(server, algorithm, sequence, body)
            return
        request = struct_from_binary(ua.OpenSecureChannelRequest, body)
        fault = ua.ServiceFault()
        fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadSecurityChecksFailed)
        server.send_response(request.RequestHeader.RequestHandle, sequence, fault, ua.MessageType.SecureOpen)

    monkeypatch.setattr(UaProcessor, "open_secure_channel", refuses)
    async with secured(Security(policies=EVERYTHING)) as server:
        await approve(server.address, folder)
        error = await refused(server.address, access(folder))
        assert error.code == "opcua.own-certificate-refused"
        assert "BadSecurityChecksFailed" in error.en


async def test_a_machine_whose_clock_is_wrong_refuses_our_certificate_and_both_clocks_are_shown(folder: Path) -> None:
    async with (
        secured(Security(policies=EVERYTHING)) as server,
        Doorman(server, ua.StatusCodes.BadCertificateTimeInvalid) as door,
    ):
        await approve(door.address, folder)
        error = await refused(door.address, access(folder))
        assert error.code == "opcua.own-certificate-time"
        assert "the machine's clock says 20" in error.en
        assert "时钟错误的一方" in error.next_zh
        late = await refused(door.address, access(folder), clock_ahead(6 * 366))
        assert "--renew" in late.next_en


async def test_a_wrong_password_stops_the_gateway_and_names_user_and_file(
    folder: Path, password: Login, tmp_path: Path
) -> None:
    async with secured(Security(policies=POLICIES, users={USER: PASSWORD}, anonymous=False)) as server:
        await approve(server.address, folder)
        wrong = tmp_path / "wrong"
        wrong.write_text("guess", encoding="utf-8")
        error = await refused(server.address, access(folder, login=Login(USER, wrong), looking=True))
        assert isinstance(error, ConfigError)  # tried again and again it would lock the account
        assert error.code == "opcua.login-refused"
        assert USER in error.zh
        assert "password_file" in error.next_zh
        assert server.logins == [USER]
        error = await refused(server.address, access(folder))
        assert error.code == "opcua.login-not-taken"
        assert "open are: a login by user and password." in error.en


async def test_a_user_certificate_that_the_machine_does_not_know_is_refused_as_a_user(
    folder: Path, user_certificate: Login
) -> None:
    async with secured(Security(policies=POLICIES, user_certificates=[b"another"], anonymous=False)) as server:
        await approve(server.address, folder)
        error = await refused(server.address, access(folder, login=user_certificate))
        assert error.code == "opcua.login-refused"
        assert "cert_file" in error.next_en


async def test_a_password_is_never_sent_where_nothing_encrypts_it(folder: Path, password: Login) -> None:
    async with secured(Security(users={USER: PASSWORD})) as server:
        for looking in (False, True):
            error = await refused(server.address, access(folder, login=password, looking=looking))
            assert error.code == "opcua.no-secured-endpoint"
        assert server.logins == []


async def test_a_signed_session_is_not_used_for_a_password_that_would_go_in_clear(
    folder: Path, password: Login
) -> None:
    async with secured(Security(policies=("Basic256Sha256",), modes=("Sign",), users={USER: PASSWORD})) as server:
        await approve(server.address, folder)
        async with session(server.address, access(folder, login=password)):
            pass
        for endpoint in server.endpoints:
            for token in endpoint.UserIdentityTokens:
                token.SecurityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#None"
        error = await refused(server.address, access(folder, login=password))
        assert error.code == "opcua.login-not-taken"
        assert "never sent unencrypted" in error.en
        assert "密码绝不" in error.zh
        assert server.logins == [USER]


async def test_a_server_that_used_to_encrypt_and_does_no_longer_is_refused_even_to_tools(folder: Path) -> None:
    async with secured(Security(policies=EVERYTHING)) as server:
        await approve(server.address, folder)
        port = int(server.address.rpartition(":")[2])
    async with secured(Security(), port=port) as server:
        for looking in (False, True):
            error = await refused(server.address, access(folder, looking=looking))
            assert error.code == "opcua.downgraded"
            assert "--forget" in error.next_zh


async def test_better_endpoints_that_discovery_hid_are_noticed_before_anybody_logs_in(
    folder: Path, password: Login
) -> None:
    async with secured(Security(policies=POLICIES, users={USER: PASSWORD})) as server:
        await approve(server.address, folder)
        server.hide_from_discovery("Aes256_Sha256_RsaPss")
        error = await refused(server.address, access(folder, login=password))
        assert error.code == "opcua.downgraded"
        assert "Aes256Sha256RsaPss/SignAndEncrypt" in error.en
        assert server.logins == []


async def test_certificates_are_warned_of_30_days_ahead_and_an_approved_machine_is_still_read_afterwards(
    folder: Path,
) -> None:
    expected = {
        0: [],
        334: [],
        340: ["opcua.certificate-expires"],
        370: ["opcua.certificate-expired"],
        -2: ["opcua.certificate-too-early", "opcua.own-certificate-too-early"],
        5 * 365 - 20: ["opcua.certificate-expired", "opcua.own-certificate-expires"],
        5 * 366 + 1: ["opcua.certificate-expired", "opcua.own-certificate-expired"],
    }
    async with secured(Security(policies=POLICIES, valid_days=365)) as server:
        await approve(server.address, folder)
        for days, codes in expected.items():
            clock = clock_ahead(days)
            async with session(server.address, access(folder), clock) as opened:
                troubles = opened.certificates.troubles(clock())
            assert [t.code for t in troubles] == codes
            assert all(t.next_zh and t.next_en for t in troubles)
            assert {t.subject for t in troubles} <= {
                f"{server.address}/certificate",
                f"{server.address}/own-certificate",
            }


async def test_the_certificate_of_the_user_who_logs_in_is_watched_too(folder: Path, user_certificate: Login) -> None:
    offered = Security(policies=POLICIES, user_certificates=[der_of(user_certificate)], valid_days=4_000)
    async with secured(offered) as server:
        await approve(server.address, folder)
        clock = clock_ahead(350)
        async with session(server.address, access(folder, login=user_certificate), clock) as opened:
            assert [t.code for t in opened.certificates.troubles(clock())] == ["opcua.user-certificate-expires"]


async def test_a_certificate_that_comes_to_its_last_30_days_during_a_session_is_told_of_in_that_session(
    folder: Path,
) -> None:
    ahead_ns = 0
    async with secured(Security(policies=POLICIES, valid_days=365)) as server:
        await approve(server.address, folder)
        taken = collector_of(server.address, folder, clock=lambda: time.time_ns() + ahead_ns)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert not seen.troubles
            ahead_ns = 340 * DAY_NS
            await seen.until(lambda s: bool(s.troubles))
            assert [t.code for t in seen.troubles] == ["opcua.certificate-expires"]
            ahead_ns = 366 * DAY_NS
            await seen.until(lambda s: len(s.troubles) > 1)
            assert seen.troubles[-1].code == "opcua.certificate-expired"
            assert seen.troubles[-1].subject == seen.troubles[0].subject


async def test_samples_go_on_when_the_keys_of_the_channel_have_been_renewed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SecuredClient, "channel_lifetime_ms", 4_000)
    opens = SecuredClient.open_secure_channel
    renewed = 0

    async def counted(client: SecuredClient, renew: bool = False) -> None:
        nonlocal renewed
        await opens(client, renew)
        renewed += renew

    monkeypatch.setattr(SecuredClient, "open_secure_channel", counted)
    async with secured(Security(policies=POLICIES), now_s=fast_clock()) as server:
        await approve(server.address, folder)
        async with watching(collector_of(server.address, folder)) as seen:
            await seen.until(lambda s: renewed == 1)
            seen.forget()
            await seen.until(lambda s: len(s.values("cell", "energy_import")) >= 10)
            assert server.sessions == 1


async def test_who_has_the_approved_certificate_and_not_its_key_learns_nothing(
    folder: Path, tmp_path: Path, password: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.opcua.session._REQUEST_TIMEOUT_S", 1.0)
    real, false = tmp_path / "real", tmp_path / "false"
    async with secured(Security(policies=POLICIES, users={USER: PASSWORD}, folder=real)) as server:
        await approve(server.address, folder)
        port = int(server.address.rpartition(":")[2])
    async with secured(Security(policies=POLICIES, folder=false)):
        pass
    shutil.copy(real / "server.der", false / "server.der")
    async with secured(Security(policies=POLICIES, users={USER: PASSWORD}, folder=false), port=port) as impostor:
        error = await refused(impostor.address, access(folder, login=password))
        assert "another device at this address" in error.next_en
        assert impostor.logins == []


async def scanned(server: OpcuaMachines, folder: Path, **login: Any) -> tuple[list[str], Told]:
    told = Told()
    found = await tools.scan(server.address, 10, time.time_ns, folder, told, **login)
    return [f.device_class for f in found], told


async def test_a_tool_goes_without_encryption_where_nothing_else_is_open_to_it_and_says_so_with_the_reason(
    folder: Path, tmp_path: Path
) -> None:
    async with secured(Security()) as server:
        found, told = await scanned(server, folder)
        assert found == ["cnc"]
        assert told.codes == ["opcua.unencrypted"]
        assert "security: none" in told.troubles[0].next_en
    clients = tmp_path / "trusted"
    clients.mkdir()
    async with secured(Security(policies=EVERYTHING, trusted_clients=clients)) as server:
        found, told = await scanned(server, folder)
        assert found == ["cnc"]
        assert server.fingerprint in told.troubles[0].en, "it must say that the server is not approved"
        await approve(server.address, folder)
        found, told = await scanned(server, folder)
        assert found == ["cnc"]
        assert "BadCertificateUntrusted" in told.troubles[0].en, "it must say that the machine does not know us"
        (clients / "gateway.der").write_bytes(load_or_make(folder, time.time_ns()).file.read_bytes())
        found, told = await scanned(server, folder)
        assert found == ["cnc"]
        assert told.codes == []


async def test_browse_read_and_scan_log_in_encrypted(folder: Path, password: Login) -> None:
    async with secured(Security(policies=EVERYTHING, users={USER: PASSWORD}, anonymous=False)) as server:
        await approve(server.address, folder)
        who = {"username": password.username, "password_file": password.password_file}
        found, told = await scanned(server, folder, **who)
        assert found == ["cnc"]
        assert await tools.browse(server.address, time.time_ns, folder, told, **who)
        entry = entry_of(server.address, **who)
        readings = await tools.read_once(entry, [], time.time_ns, folder, told)
        assert {r.tag for r in readings} >= {"state", "energy_import"}
        assert told.codes == []
        assert server.logins == [USER] * 3


async def test_an_address_that_only_answers_unencrypted_is_told_of_by_the_probing_collector(folder: Path) -> None:
    async with secured(Security()) as server, watching(collector_of(server.address, folder, looking=True)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
        assert [t.code for t in seen.troubles] == ["opcua.unencrypted"]
        assert seen.troubles[0].subject == server.address


async def test_an_unencrypted_session_needs_no_certificate_of_its_own(folder: Path) -> None:
    async with secured(Security()) as server, watching(collector(server.address)) as seen:
        await seen.until(lambda s: "cell" in s.samples)
    assert not list(folder.parent.glob("*"))


async def test_a_gateway_that_waits_for_an_approval_goes_on_by_itself_once_it_is_given(folder: Path) -> None:
    async with secured(Security(policies=POLICIES)) as server:
        taken = collector_of(server.address, folder)
        for _ in range(2):
            with pytest.raises(LinkError) as failure:
                await taken.connect()
            assert failure.value.code == "opcua.certificate-not-approved"
            await taken.close()
        await approve(server.address, folder)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)


async def test_a_machine_that_comes_back_with_another_certificate_is_not_mistaken_for_a_lost_link(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collectors.opcua.session._REQUEST_TIMEOUT_S", 1.0)
    async with secured(Security(policies=POLICIES)) as server:
        await approve(server.address, folder)
        port = int(server.address.rpartition(":")[2])
        taken = collector_of(server.address, folder)
        await taken.connect()
    async with watching_lost(taken), secured(Security(policies=POLICIES), port=port) as server:
        codes = []
        for _ in range(3):
            with pytest.raises(LinkError) as failure:
                await taken.connect()
            codes.append(failure.value.code)
            await taken.close()
        assert codes[-1] == "opcua.certificate-changed", codes
        await approve(server.address, folder)
        await taken.connect()
        seen = Seen(taken)
        await seen.until(lambda s: "cell" in s.samples)


@asynccontextmanager
async def watching_lost(taken: OpcuaCollector) -> AsyncIterator[None]:
    """The collector has noticed that its server is gone, as the runner would; closed at the end."""
    with pytest.raises(LinkError):
        await Seen(taken).until(lambda s: False)
    await taken.close()
    try:
        yield
    finally:
        await taken.close()


@pytest.mark.parametrize("forgotten", [False, True])
async def test_an_encrypted_session_is_taken_up_again_after_a_cut_or_its_subscription_transferred(
    folder: Path, password: Login, forgotten: bool
) -> None:
    offered = Security(policies=POLICIES, users={USER: PASSWORD}, anonymous=False)
    async with secured(offered, now_s=fast_clock()) as server, cuttable(server.address) as relay:
        await approve(relay.address, folder)
        taken = collector_of(relay.address, folder, username=USER, password_file=password.password_file)
        async with watching(taken) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            if forgotten:
                server.forget_sessions()
            relay.drop()
            seen.forget()
            await seen.through(lambda s: "cell" in s.samples)
            assert taken.rung is (Rung.TRANSFERRED if forgotten else Rung.REACTIVATED)
            assert set(server.logins) == {USER}
