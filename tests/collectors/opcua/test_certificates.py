"""The gateway's own certificate, the approvals, and what a person is shown before one is given."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from collectors.model import CollectorError, LinkError
from collectors.opcua.security.approvals import Approvals, endpoint_of
from collectors.opcua.security.certificates import described, first_of_chain
from collectors.opcua.security.own import load_or_make, renew
from collectors.opcua.trust import present
from simulators.opcua_security import POLICIES, Security
from tests.collectors.opcua.plants import plain_server
from tests.collectors.opcua.secured import DAY_NS, clock_ahead, secured

NOW_NS = time.time_ns()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "opcua"


def test_the_first_run_makes_a_certificate_as_machines_ask_for_it_and_the_second_finds_it(folder: Path) -> None:
    own = load_or_make(folder, NOW_NS)
    names = own.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [own.application_uri]
    assert own.application_uri.startswith("urn:")
    assert names.get_values_for_type(x509.DNSName)
    usage = own.parsed.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    purposes = own.parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in purposes
    assert not own.parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    own.parsed.verify_directly_issued_by(own.parsed)
    assert own.shown.valid_from_ns < NOW_NS - DAY_NS / 2, "a machine whose clock is an hour behind must take it"
    assert own.shown.key_bits == 2048
    assert load_or_make(folder, NOW_NS).shown == own.shown


def test_the_key_is_for_the_gateway_alone_and_the_certificate_for_everybody(folder: Path) -> None:
    own = load_or_make(folder, NOW_NS)
    key = own.file.with_name("private-key.pem")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(own.file.stat().st_mode) == 0o644
    assert b"PRIVATE" not in own.file.read_bytes()


def test_what_root_makes_belongs_to_the_owner_of_the_data_folder(folder: Path) -> None:
    folder.parent.mkdir()
    if os.geteuid() == 0:
        os.chown(folder.parent, 4321, 4321)
    owner = folder.parent.stat().st_uid
    own = load_or_make(folder, NOW_NS)
    Approvals(folder).approve("opc.tcp://10.0.0.1:4840", own.shown, NOW_NS)
    assert {path.stat().st_uid for path in folder.rglob("*")} == {owner}


def test_a_gateway_and_a_tool_that_start_at_once_share_one_certificate(folder: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(lambda _: load_or_make(folder, NOW_NS).shown.fingerprint, range(4)))
    assert len(set(made)) == 1
    assert [path.name for path in folder.iterdir()] == ["own"]


def test_a_clock_that_was_never_set_makes_no_certificate(folder: Path) -> None:
    with pytest.raises(LinkError) as failure:
        load_or_make(folder, 0)
    assert failure.value.code == "opcua.clock-not-set"
    assert "1970-01-01" in failure.value.zh
    assert "NTP" in failure.value.next_en


def test_a_renewed_certificate_keeps_the_application_uri_and_the_old_pair(folder: Path) -> None:
    old = load_or_make(folder, NOW_NS)
    new = renew(folder, NOW_NS + 1_800 * DAY_NS)
    assert new.application_uri == old.application_uri
    assert new.shown.fingerprint != old.shown.fingerprint
    assert new.shown.valid_to_ns > old.shown.valid_to_ns
    (aside,) = folder.glob("own.before-*")
    assert described((aside / "certificate.der").read_bytes()) == old.shown


@pytest.mark.parametrize("damage", ["no key", "another key", "no certificate", "rubbish"])
def test_a_pair_that_does_not_fit_is_refused_by_its_folder_and_never_overwritten(folder: Path, damage: str) -> None:
    own = load_or_make(folder, NOW_NS)
    key = own.file.with_name("private-key.pem")
    match damage:
        case "no key":
            key.unlink()
        case "another key":
            other = load_or_make(folder.with_name("other"), NOW_NS)
            key.write_bytes(other.file.with_name("private-key.pem").read_bytes())
        case "no certificate":
            own.file.unlink()
        case _:
            own.file.write_bytes(b"rubbish")
    before = sorted(p.name for p in own.file.parent.iterdir())
    with pytest.raises(LinkError) as failure:
        load_or_make(folder, NOW_NS)
    assert str(own.file.parent) in failure.value.en
    assert failure.value.next_zh
    assert sorted(p.name for p in own.file.parent.iterdir()) == before


def test_approvals_are_remembered_by_endpoint_however_it_is_spelt(folder: Path) -> None:
    own = load_or_make(folder, NOW_NS)
    Approvals(folder).approve("opc.tcp://CNC-7.plant:4840/server/", own.shown, NOW_NS)
    known = Approvals(folder).of("opc.tcp://cnc-7.plant:4840/server")
    assert known is not None
    assert known.fingerprint == own.shown.fingerprint
    assert Approvals(folder).of("opc.tcp://cnc-7.plant:4841/server") is None
    assert Approvals(folder).of("opc.tcp://cnc-7.plant:4840/Server") is None, "paths are told apart by case"
    assert endpoint_of("opc.tcp://[FE80::1]:4840/") == "opc.tcp://[fe80::1]:4840"
    assert Approvals(folder).forget("opc.tcp://cnc-7.plant:4840/server")
    assert not Approvals(folder).forget("opc.tcp://cnc-7.plant:4840/server")


def test_approvals_given_at_once_are_all_kept(folder: Path) -> None:
    own = load_or_make(folder, NOW_NS)
    addresses = [f"opc.tcp://10.0.0.{n}:4840" for n in range(1, 25)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda address: Approvals(folder).approve(address, own.shown, NOW_NS), addresses))
    assert sorted(Approvals(folder).listed()) == sorted(addresses)


@pytest.mark.parametrize("content", [b"{", b'{"version": 2, "servers": {}}', b'{"version": 1, "servers": {}, "x": 1}'])
def test_a_damaged_file_of_approvals_is_told_by_name_and_approves_nothing(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    Approvals(folder).file.write_bytes(content)
    with pytest.raises(LinkError) as failure:
        Approvals(folder).of("opc.tcp://10.0.0.1:4840")
    assert str(Approvals(folder).file) in failure.value.zh
    own = load_or_make(folder, NOW_NS)
    with pytest.raises(LinkError):
        Approvals(folder).approve("opc.tcp://10.0.0.1:4840", own.shown, NOW_NS)
    assert Approvals(folder).file.read_bytes() == content


def test_of_a_certificate_with_its_chain_the_first_is_the_server_s(folder: Path) -> None:
    one, other = load_or_make(folder, NOW_NS), load_or_make(folder.with_name("other"), NOW_NS)
    chain = one.file.read_bytes() + other.file.read_bytes()
    assert described(first_of_chain(chain)) == one.shown
    assert first_of_chain(b"") == b""
    assert first_of_chain(b"\x30\x82") == b"\x30\x82"


async def test_a_person_is_shown_what_speaks_against_a_certificate(folder: Path) -> None:
    async with secured(Security(policies=POLICIES, valid_days=365)) as server:
        shown = await present(server.address, folder, time.time_ns)
        assert shown.remarks == ()
        assert not shown.is_approved
        assert not shown.is_changed
        assert shown.certificate.fingerprint == server.fingerprint
        codes = [r.code for r in (await present(server.address, folder, clock_ahead(340))).remarks]
        assert codes == ["opcua.certificate-expires", "opcua.clocks-apart"]


async def test_another_host_name_or_application_uri_than_the_certificate_s_is_shown(folder: Path) -> None:
    async with secured(Security(policies=POLICIES, hosts=("cnc-7.plant",))) as server:
        for endpoint in server.endpoints:
            endpoint.Server.ApplicationUri = "urn:somebody:else"
        remarks = (await present(server.address, folder, time.time_ns)).remarks
        assert [r.code for r in remarks] == ["opcua.host-name-differs", "opcua.application-uri-differs"]
        assert "cnc-7.plant" in remarks[0].zh
        assert "127.0.0.1" in remarks[0].en
        assert "urn:somebody:else" in remarks[1].zh
        assert all(r.next_zh and r.next_en for r in remarks)


async def test_where_nothing_is_encrypted_there_is_nothing_to_approve(folder: Path) -> None:
    async with plain_server() as (_, address):
        with pytest.raises(CollectorError) as failure:
            await present(address(), folder, time.time_ns)
    assert failure.value.code == "opcua.nothing-to-approve"
    assert "it offers: None" in failure.value.en
    assert "security: none" in failure.value.next_zh


async def test_nobody_there_is_a_lost_link(folder: Path) -> None:
    listener = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    with pytest.raises(LinkError) as failure:
        await present(f"opc.tcp://127.0.0.1:{port}", folder, time.time_ns)
    assert failure.value.code == "opcua.link-lost"
    assert "（连接被拒绝）" in failure.value.zh
