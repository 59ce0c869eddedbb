"""Entries and profiles: what is refused says why, in Chinese and English, with the next step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from collectors.opcua.config import OpcuaEntry
from collectors.opcua.factory import collectors_for
from collectors.opcua.profile import OpcuaProfile
from collectors.profiles.loader import load
from collectors.strict_yaml import FileError, check, read

GOOD = {"id": "cnc", "profile": "opcua-machinery", "address": "opc.tcp://127.0.0.1:4840", "security": "none"}


def refused(tmp_path: Path, **changed: Any) -> str:
    given = {key: value for key, value in (GOOD | changed).items() if value is not None}
    file = tmp_path / "plant.yaml"
    file.write_text("".join(f"{key}: {value}\n" for key, value in given.items()), encoding="utf-8")
    with pytest.raises(FileError) as failure:
        check(read(file), OpcuaEntry)
    return str(failure.value)


def test_an_entry_that_does_not_permit_unencrypted_sessions_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, security=None)
    assert "security = " in message
    assert "security: none" in message
    assert "不加密" in message
    assert "unencrypted" in message


def test_an_encrypted_session_is_not_pretended(tmp_path: Path) -> None:
    assert "security: none" in refused(tmp_path, security="basic256sha256")


def test_a_password_is_never_sent_without_encryption(tmp_path: Path) -> None:
    message = refused(tmp_path, username="operator")
    assert "plant.yaml:5: username" in message
    assert "no user, password" in message


def test_an_address_without_a_port_is_refused_by_line(tmp_path: Path) -> None:
    message = refused(tmp_path, address="opc.tcp://plc-7")
    assert "plant.yaml:3" in message
    assert "4840" in message


@pytest.mark.parametrize("name", ["opcua-machinery", "opcua-machinetool", "opcua-robotics", "opcua-plc"])
def test_built_in_profiles_load_and_prove_at_most_6_s(name: str) -> None:
    profile = load(name, OpcuaProfile)
    assert profile.source.document
    assert profile.liveness_s <= 6
    assert profile.subscription.keep_alive_s * 2 <= profile.liveness_s


def site(tmp_path: Path, *lines: str) -> Path:
    head = [
        "profile: site",
        "protocol: opcua",
        "device_class: plc",
        "evidence: native",
        "title_zh: 现场",
        "title_en: site",
        "source: {document: a test}",
        "liveness_s: 6",
    ]
    (tmp_path / "site.yaml").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["recognise: nodes"], "list nodes"),
        (["nodes: [{tag: a, path: A}]"], "list nodes"),
        (["recognise: nodes", "nodes: [{tag: a}]"], "node or path"),
        (["recognise: nodes", "nodes: [{tag: a, path: A, node: i=1}]"], "node or path"),
        (["recognise: nodes", "nodes: [{tag: s, role: state, path: S}]"], "needs states"),
        (["recognise: nodes", "nodes: [{tag: a, role: parts, path: A}, {tag: b, role: parts, path: B}]"], "one node"),
        (["subscription: {publishing_s: 2, sampling_s: 0.1, queue: 5}"], "queue must be"),
        (["subscription: {keep_alive_s: 4}"], "twice keep_alive_s"),
    ],
)
def test_profiles_that_cannot_work_are_refused(tmp_path: Path, lines: list[str], said: str) -> None:
    folder = site(tmp_path, *lines)
    with pytest.raises(FileError) as failure:
        load("site", OpcuaProfile, [folder])
    assert said in str(failure.value)


def test_entries_of_one_server_share_one_collector_and_its_session(tmp_path: Path) -> None:
    entries = [
        OpcuaEntry.model_validate(GOOD | {"id": "tools", "profile": "opcua-machinetool"}),
        OpcuaEntry.model_validate(
            GOOD | {"id": "arms", "profile": "opcua-robotics", "address": "opc.tcp://127.0.0.1:4840/"}
        ),
        OpcuaEntry.model_validate(GOOD | {"id": "other", "address": "opc.tcp://127.0.0.1:4841"}),
    ]
    collectors = collectors_for(entries, time.time_ns, [], tmp_path)
    assert [c.link for c in collectors] == ["opc.tcp://127.0.0.1:4840", "opc.tcp://127.0.0.1:4841"]


def test_an_unknown_profile_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    entry = OpcuaEntry.model_validate(GOOD | {"profile": "opcua-nothing"})
    with pytest.raises(FileError, match="opcua-nothing"):
        collectors_for([entry], time.time_ns, [], tmp_path)
