"""`plantpulse-gateway trust`, and the tools beside it, against secured servers: what a person sees and answers."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simulators.ledger import Ledger
from simulators.opcua_security import POLICIES, Security
from simulators.opcua_server import OpcuaMachines
from simulators.physics import Machine
from tests.gateway.county_stub import CREDENTIAL
from tests.gateway.test_cli import ROOT, invoke, invoke_beside
from tests.waiting import until

PATIENCE_S = 40.0


async def started(security: Security, port: int = 0) -> OpcuaMachines:
    machine = Machine("cnc-1", "cnc", manufacturer="示例", model="M-1", serial="SN-1")
    server = OpcuaMachines([machine], Ledger(), period_s=0.1, port=port, security=security)
    await server.start()
    return server


@pytest.fixture
async def server() -> AsyncIterator[OpcuaMachines]:
    made = await started(Security(policies=("None", *POLICIES)))
    yield made
    await made.stop()


@pytest.fixture
async def open_server() -> AsyncIterator[OpcuaMachines]:
    made = await started(Security())
    yield made
    await made.stop()


def plant_file(folder: Path, address: str, more: str = "") -> Path:
    (folder / "credential").write_text(CREDENTIAL)
    path = folder / "plant.yaml"
    path.write_text(
        f"""
site: g-1
uplink: {{url: "http://127.0.0.1:9", credential_file: credential}}
gateway: {{data_dir: state}}
devices:
  - {{id: cnc-1, profile: opcua-machinery, address: "{address}"{more}}}
"""
    )
    return path


async def test_a_machine_can_be_approved_and_scanned_while_the_plants_file_names_no_device_yet(
    server: OpcuaMachines, tmp_path: Path
) -> None:
    path = plant_file(tmp_path, server.address)
    path.write_text(path.read_text().split("devices:")[0] + "devices: []\n")
    asked = (server.address, "--config", str(path))
    code, out, err = await invoke_beside("trust", *asked, "--fingerprint", server.fingerprint)
    assert code == 0, err
    assert str(tmp_path / "state" / "opcua" / "approved.json") in out
    code, out, err = await invoke_beside("scan", *asked)
    assert code == 0, err
    assert (out.split()[2], err) == ("cnc", "")
    code, _, err = await invoke_beside("check", "--config", str(path))
    assert code == 1
    assert "还没有设备" in err


async def test_nothing_is_approved_without_an_answer_and_the_fingerprint_is_shown(
    server: OpcuaMachines, tmp_path: Path
) -> None:
    where = ("--data-dir", str(tmp_path))
    code, out, err = await invoke_beside("trust", server.address, *where)
    assert code == 1
    assert server.fingerprint in out
    assert "CN=PlantPulse simulator" in out
    assert "有效期" in out
    assert str(tmp_path / "opcua" / "own" / "certificate.der") in out
    assert f"--fingerprint {server.fingerprint}" in err
    code, out, _ = await invoke_beside("trust", server.address, *where, "--json")
    assert code == 1
    assert json.loads(out)["approved"] is False
    code, _, err = await invoke_beside("trust", server.address, *where, "--fingerprint", "AB" * 32)
    assert code == 1
    assert "指纹不符" in err


async def test_an_approval_by_fingerprint_is_kept_shown_and_withdrawn(server: OpcuaMachines, tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path))
    plain = server.fingerprint.replace(":", "").lower()
    code, out, _ = await invoke_beside("trust", server.address, *where, "--fingerprint", plain, "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["approved"] is True
    assert answer["changed"] is False
    assert answer["certificate"]["fingerprint"] == server.fingerprint
    assert "Aes256Sha256RsaPss/SignAndEncrypt" in answer["offers"]
    assert answer["own_certificate"]["application_uri"].startswith("urn:")
    assert (await invoke_beside("trust", server.address, *where))[0] == 0
    code, out, _ = invoke("trust", *where, "--json")
    assert code == 0
    assert json.loads(out)["approved"][server.address]["fingerprint"] == server.fingerprint
    assert invoke("trust", server.address, *where, "--forget")[0] == 0
    assert invoke("trust", server.address, *where, "--forget")[0] == 1
    assert json.loads(invoke("trust", *where, "--json")[1])["approved"] == {}


async def test_a_changed_certificate_is_shown_beside_the_one_that_was_approved(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path))
    before = await started(Security(policies=POLICIES))
    port = int(before.address.rpartition(":")[2])
    assert (await invoke_beside("trust", before.address, *where, "--yes"))[0] == 0
    await before.stop()
    after = await started(Security(policies=POLICIES), port)
    try:
        code, out, _ = await invoke_beside("trust", after.address, *where)
        assert code == 1
        assert "证书变了" in out
        assert before.fingerprint in out
        assert after.fingerprint in out
        code, _, err = await invoke_beside("scan", after.address, *where)
        assert code == 1
        assert before.fingerprint in err
        assert after.fingerprint in err
        assert (await invoke_beside("trust", after.address, *where, "--yes"))[0] == 0
        code, out, err = await invoke_beside("scan", after.address, *where)
        assert code == 0
        assert err == ""
    finally:
        await after.stop()


@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("y\n", 0)])
async def test_at_a_terminal_the_person_is_asked(server: OpcuaMachines, tmp_path: Path, typed: str, code: int) -> None:
    ours, theirs = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.cli", "trust", server.address, "--data-dir", str(tmp_path)),
            cwd=ROOT,
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
        )
        os.write(ours, typed.encode())
        out, _ = await process.communicate()
        assert process.returncode == code
        assert server.fingerprint in out.decode()
        assert (tmp_path / "opcua" / "approved.json").exists() == (code == 0)
    finally:
        os.close(ours)
        os.close(theirs)


async def test_the_approval_lies_in_the_data_folder_of_the_plant_s_file_and_probe_finds_it(
    server: OpcuaMachines, tmp_path: Path
) -> None:
    path = plant_file(tmp_path, server.address)
    assert (await invoke_beside("trust", server.address, "--config", str(path), "--yes"))[0] == 0
    assert (tmp_path / "state" / "opcua" / "approved.json").exists()
    code, out, _ = await invoke_beside("probe", "--config", str(path), "--json")
    assert code == 0
    (result,) = json.loads(out)
    assert result["ok"] is True
    assert result["troubles"] == []


async def test_probe_of_a_machine_that_only_goes_unencrypted_reads_it_and_says_so(
    open_server: OpcuaMachines, tmp_path: Path
) -> None:
    path = plant_file(tmp_path, open_server.address)
    code, out, _ = await invoke_beside("probe", "--config", str(path), "--json")
    assert code == 0
    (result,) = json.loads(out)
    assert [t["code"] for t in result["troubles"]] == ["opcua.unencrypted"]
    code, out, _ = await invoke_beside("probe", "--config", str(path))
    assert "security: none" in out
    path = plant_file(tmp_path, open_server.address, ", security: none")
    code, out, _ = await invoke_beside("probe", "--config", str(path), "--json")
    assert json.loads(out)[0]["troubles"] == []


async def test_tools_say_on_stderr_that_nothing_was_encrypted_and_keep_stdout_for_the_answer(
    open_server: OpcuaMachines, tmp_path: Path
) -> None:
    where = ("--data-dir", str(tmp_path))
    for command in (["scan"], ["browse"], ["read", "--profile", "opcua-machinery"]):
        code, out, err = await invoke_beside(command[0], open_server.address, *command[1:], *where, "--json")
        assert code == 0
        assert json.loads(out)
        assert "没有加密" in err
        assert "without encryption" in err
    (tmp_path / "password").write_text("x")
    login = ("--username", "u", "--password-file", str(tmp_path / "password"))
    code, out, err = await invoke_beside("scan", open_server.address, *where, *login)
    assert code == 1
    assert out == ""
    assert open_server.logins == []
    code, _, err = await invoke_beside("trust", open_server.address, *where, "--yes")
    assert code == 1
    assert "nothing to approve" in err


def test_the_gateway_s_own_certificate_is_renewed_on_order(tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path), "--json")
    before = json.loads(invoke("trust", *where)[1])["own_certificate"]
    after = json.loads(invoke("trust", "--renew", *where)[1])["own_certificate"]
    assert after["thumbprint"] != before["thumbprint"]
    assert after["application_uri"] == before["application_uri"]
    assert json.loads(invoke("trust", *where)[1])["own_certificate"] == after


@pytest.mark.parametrize("address", ["opc.tcp://10.0.4.21", "opc.tcp://:4840", "opc.tcp://h:99999"])
@pytest.mark.parametrize("command", [["trust"], ["trust", "--forget"], ["scan"], ["browse"]])
def test_an_address_without_host_or_port_is_told_how_it_should_be(
    address: str, command: list[str], tmp_path: Path
) -> None:
    code, _, err = invoke(command[0], address, *command[1:], "--data-dir", str(tmp_path))
    assert code == 1
    assert "opc.tcp://host:port (usually 4840)" in err
    assert "主机:端口" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["mqtt://h:1883"],
        ["--forget"],
        ["opc.tcp://h:4840", "--renew"],
        ["opc.tcp://h:4840", "--yes", "--fingerprint", "AB"],
        ["http://h"],
    ],
)
def test_a_wrong_call_ends_with_2_and_touches_nothing(arguments: list[str], tmp_path: Path) -> None:
    assert invoke("trust", *arguments, "--data-dir", str(tmp_path))[0] == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.long
async def test_a_running_gateway_says_what_is_missing_and_goes_on_step_by_step_as_people_provide_it(
    tmp_path: Path,
) -> None:
    clients, secret, status = tmp_path / "trusted", tmp_path / "secret", tmp_path / "status.json"
    clients.mkdir()
    secret.write_text("s3cret\n")
    server = await started(
        Security(policies=POLICIES, anonymous=False, users={"reader": "s3cret"}, trusted_clients=clients, valid_days=20)
    )
    path = plant_file(tmp_path, server.address, f", username: reader, password_file: {secret}")

    def troubles() -> dict[str, str]:
        shown = json.loads(status.read_text())["troubles"] if status.exists() else []
        return {t["code"]: t["subject"] for t in shown if t["code"].startswith("opcua.")}

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.cli", "run", "--config", str(path), "--status-file", str(status)),
        cwd=ROOT,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: troubles() == {"opcua.certificate-not-approved": server.address}, PATIENCE_S)
        assert (await invoke_beside("trust", server.address, "--config", str(path), "--yes"))[0] == 0
        await until(lambda: troubles() == {"opcua.own-certificate-refused": server.address}, PATIENCE_S)
        own = tmp_path / "state" / "opcua" / "own" / "certificate.der"
        (clients / "gateway.der").write_bytes(own.read_bytes())
        await until(lambda: json.loads(status.read_text())["connected_devices"] == 1, PATIENCE_S)
        await until(lambda: troubles() == {"opcua.certificate-expires": f"{server.address}/certificate"}, PATIENCE_S)
    finally:
        process.terminate()
        await process.wait()
        await server.stop()


async def test_browse_begins_at_a_path_and_says_where_it_stopped(open_server: OpcuaMachines, tmp_path: Path) -> None:
    where = ("--data-dir", str(tmp_path), "--json")
    code, out, err = await invoke_beside("browse", open_server.address, *where)
    everything = [node["path"] for node in json.loads(out)]
    assert code == 0
    assert "Machines/cnc-1/Identification/SerialNumber" in everything
    assert not [path for path in everything if path.startswith("Server")]
    assert "--below" not in err
    code, out, err = await invoke_beside(
        "browse", open_server.address, *where, "--below", "Machines/cnc-1/Identification", "--most", "3"
    )
    assert code == 0
    assert len(json.loads(out)) == 3
    assert all(node["path"].startswith("Machines/cnc-1/Identification/") for node in json.loads(out))
    assert "--below" in err
    assert "3 个" in err
    code, _, err = await invoke_beside("browse", open_server.address, "--data-dir", str(tmp_path), "--below", "No/Such")
    assert code == 1
    assert "there is no No/Such below Objects" in err
