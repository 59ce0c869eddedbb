"""Entries and profiles: what is refused says why, in Chinese and English, with the next step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from collectors.model import ConfigError
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


def test_an_entry_that_says_nothing_of_security_is_never_read_unencrypted() -> None:
    entry = OpcuaEntry.model_validate({key: value for key, value in GOOD.items() if key != "security"})
    assert entry.security == "best"


def test_a_policy_may_be_written_in_any_case_and_an_unknown_one_is_refused_with_those_that_there_are(
    tmp_path: Path,
) -> None:
    assert OpcuaEntry.model_validate(GOOD | {"security": "basic256sha256"}).security == "Basic256Sha256"
    message = refused(tmp_path, security="Basic128Rsa15")
    assert "plant.yaml:4: security = 'Basic128Rsa15'" in message
    assert "Aes256Sha256RsaPss" in message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"username": "operator"}, "sends no user, password or certificate; remove username"),
        ({"cert_file": "u.der", "key_file": "u.pem"}, "remove cert_file, key_file"),
        ({"security_mode": "Sign"}, "remove security_mode"),
        ({"security": "best", "password_file": "p"}, "`password_file` needs `username`"),
        ({"security": "best", "cert_file": "u.der"}, "go together"),
        ({"security": "best", "username": "u", "cert_file": "u.der", "key_file": "u.pem"}, "not by both"),
        ({"security": "best", "ca_file": "ca.pem"}, "plantpulse-gateway trust"),
        ({"security": "best", "security_mode": "Encrypt"}, "SignAndEncrypt"),
    ],
)
def test_a_login_that_does_not_fit_is_refused(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    assert said in refused(tmp_path, **changed)


def test_entries_of_one_server_that_log_in_differently_are_refused_by_name(tmp_path: Path) -> None:
    entries = [
        OpcuaEntry.model_validate(GOOD | {"id": "tools", "security": "best"}),
        OpcuaEntry.model_validate(GOOD | {"id": "arms", "address": "opc.tcp://127.0.0.1:4840/"}),
    ]
    with pytest.raises(ConfigError) as failure:
        collectors_for(entries, time.time_ns, [], tmp_path)
    assert "tools and arms" in failure.value.en
    assert "security" in failure.value.en


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
