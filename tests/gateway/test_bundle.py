"""`bundle`: what helps support is in it, and no secret in any form is."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import stat
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.bundle import archive
from gateway.bundle.archive import BundleError, make
from gateway.bundle.scrubber import LEAST_LENGTH, REMOVED, Scrubber, forms, names_a_secret
from gateway.cli import app
from gateway.outbox import Outbox
from gateway.wire import DeviceRef
from tests.api.county_fixtures import minutes
from tests.gateway.test_outbox import announcement

SECRETS = {
    "credential": "ppg_4nRq0-credential_of_the_gateway-5kZ",
    "proxy": "pröxy/pass+word&more=1",
    "mqtt": 'mq"tt\\s3cret <x>',
    "written in the file": "in-the-wrong-place!",
    "in a URL": "url-p@ssw0rd",
    "environment": "env-s3cret-token-value",
    "environment URL": "env:proxy:pass",
    "in a comment": "noted-in-a-comment-7",
    "file of a variable": "token-in-a-file-99",
    "short": "p4ss",
    "a number": "73910462",
}


def likely_forms(secret: str) -> set[bytes]:
    """How somebody who looks for a secret would look for it, written down apart from the code under test."""
    raw = secret.encode()
    found = {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    found |= {text.encode() for text in (quote(secret), quote(secret, safe=""), quote_plus(secret))}
    found |= {json.dumps(secret)[1:-1].encode(), html.escape(secret).encode(), repr(secret)[1:-1].encode()}
    for user in ("u", "ab", "abc"):  # as in `Authorization: Basic`: what comes before moves it
        coded = base64.b64encode(f"{user}:{secret}".encode()).rstrip(b"=")
        found.add(coded[-(-(len(user) + 1) * 8 // 6) : -1])
    return found


def a_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def planted(folder: Path) -> tuple[Path, dict[str, str], list[Path], Path, str]:
    """A plant with a secret everywhere: (its file, its environment, its logs, its status file, a private key)."""
    key = a_key()
    s = SECRETS
    files = {
        "credential": s["credential"] + "\n",
        "proxy-login": f"plant:{s['proxy']}",
        "mqtt-password": s["mqtt"],
        "short-password": s["short"],
        "number-password": s["a number"],
        "variable-token": s["file of a variable"],
        "client.key": key,
        "ca.pem": "not looked at",
        "client.pem": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" + key,
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    data = folder / "data"
    outbox = Outbox(data / "outbox.sqlite3", "demo-plant")
    outbox.announced.add(announcement("m", address=f"mqtt://u:{quote(s['in a URL'])}@10.0.0.9/t", serial="SN-77"))
    outbox.commit([([DeviceRef("m")], minutes(0, 60, 1))], b"c", 1)
    pending = outbox.next_unsent(False)
    assert pending is not None
    outbox.refuse(pending.ordinal, 1, f"400 token={s['environment']}")
    outbox.close()
    (data / "opcua").mkdir()
    (data / "opcua" / "own.pem").write_text(key)
    config = folder / "plant.yaml"
    config.write_text(
        f"""
# 密码 {s["in a comment"]}
site: demo-plant
uplink:
  url: https://127.0.0.1:9
  credential_file: credential
  ca_file: ca.pem
  proxy_credential_file: proxy-login
  proxy: none
gateway: {{data_dir: data}}
devices:
  - {{id: a, profile: json-machine, address: "mqtts://127.0.0.1:9", topic: t, username: u, password_file: mqtt-password,
      cert_file: client.pem, key_file: client.key}}
  - {{id: b, profile: json-machine, address: "mqtt://127.0.0.1:9", topic: t, password_file: short-password}}
  - {{id: c, profile: json-machine, address: "mqtt://127.0.0.1:8", topic: t, password: "{s["written in the file"]}"}}
  - {{id: d, profile: json-machine, address: "mqtt://u:{s["in a URL"]}@127.0.0.1:7", topic: t}}
  - {{id: e, profile: json-machine, address: "mqtt://127.0.0.1:6", topic: t, password_file: number-password}}
""",
        "utf-8",
    )
    log = folder / "gateway.log"
    lines = []
    for secret in [*s.values(), key.splitlines()[1]]:
        basic = base64.b64encode(f"user:{secret}".encode()).decode()
        lines += [
            f"raw {secret}",
            json.dumps({"event": "trouble", "detail": secret, "nested": json.dumps({"x": secret})}),
            f"GET /?x={quote(secret, safe='')} and {quote_plus(secret)}",
            f"Proxy-Authorization: Basic {basic}",
            f"hidden {basic} {base64.urlsafe_b64encode(secret.encode()).decode()} {secret.encode().hex()}",
            f"cut {secret[: max(13, len(secret) - 3)]}",
        ]
    lines += [
        "Authorization: Bearer unknown-to-everybody-123456",
        'password="never seen elsewhere" api_key=abcdef123456',
        "https://someone:whoever@10.0.0.1/x",
        "code 7Q2M-K4XD-0VWA-9HTR",
        f"old credential ppg_{'x' * 43}",
        a_key(),
    ]
    log.write_text("\n".join(lines), "utf-8")
    status = folder / "status.json"
    status.write_text(
        json.dumps({"gateway": "demo-plant", "detail": s["mqtt"], "n": int(s["a number"]), "password": 5})
    )
    environment = {
        "PLANTPULSE_API_TOKEN": s["environment"],
        "HTTPS_PROXY": f"http://plant:{quote(s['environment URL'])}@10.0.0.1:3128",
        "PLANTPULSE_STORE_TOKEN_FILE": str(folder / "variable-token"),
        "PATH": "/usr/bin",
        "UNRELATED": "left out",
    }
    return config, environment, [log], status, key


def unpacked(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read()
    return found


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def test_no_planted_secret_is_in_the_archive_in_any_likely_form(tmp_path: Path) -> None:
    config, environment, logs, status, key = planted(tmp_path)
    made = await make(config, output=tmp_path / "b.tar.gz", status_file=status, logs=logs, environment=environment)
    files = unpacked(made.path)
    whole = b"\n".join([name.encode() for name in files] + list(files.values()))
    for what, secret in SECRETS.items():
        if what == "in a comment":
            continue  # nobody can know that it is one: the log that names it stays, the file's comments go
        for form in likely_forms(secret):
            assert form not in whole, (what, form)
    assert SECRETS["in a comment"].encode() not in files["plant.yaml"]
    for line in key.splitlines()[1:-1]:
        assert line.encode() not in whole
    for text in (
        b"PRIVATE KEY", b"unknown-to-everybody", b"never seen elsewhere", b"abcdef123456", b"whoever",
        b"7Q2M-K4XD", b"ppg_",
    ):  # fmt: skip
        assert text not in whole, text
    assert made.removed > 50
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600


async def test_what_helps_support_is_in_the_archive(tmp_path: Path) -> None:
    config, environment, logs, status, _ = planted(tmp_path)
    made = await make(config, output=tmp_path / "b.tar.gz", status_file=status, logs=logs, environment=environment)
    files = unpacked(made.path)
    assert set(files) == {
        "README.txt", "devices.json", "doctor.json", "doctor.txt", "environment.json", "logs/0-gateway.log",
        "manifest.json", "outbox.json", "plant.yaml", "set-aside.json", "status.json",
    }  # fmt: skip
    manifest = json.loads(files["manifest.json"])
    assert manifest["packages"]["numpy"]
    assert manifest["python"]
    assert json.loads(files["status.json"]) == {
        "gateway": "demo-plant", "detail": REMOVED, "n": REMOVED, "password": REMOVED,
    }  # fmt: skip
    assert json.loads(files["environment.json"])["PATH"] == "/usr/bin"
    assert "UNRELATED" not in json.loads(files["environment.json"])
    text = files["plant.yaml"].decode()
    assert "credential_file: credential" in text, "where a secret lies is no secret"
    assert "mqtts://127.0.0.1:9" in text
    assert f"mqtt://{REMOVED}@127.0.0.1:7" in text
    outbox, devices = json.loads(files["outbox.json"]), json.loads(files["devices.json"])
    assert outbox["batches"] == {"poisoned": 1}
    assert outbox["set_aside"][0]["reason"] == f"400 token={REMOVED}"
    (refused,) = json.loads(files["set-aside.json"])
    assert refused["reason"] == f"400 token={REMOVED}"
    assert [(row["device"], row["start"]) for row in refused["content"]] == [("m", 60)]
    assert (devices[0]["serial"], devices[0]["address"]) == ("SN-77", f"mqtt://{REMOVED}@10.0.0.9/t")
    assert any(c["check"] == "configuration" for c in json.loads(files["doctor.json"])["checks"])


async def test_a_file_that_is_no_yaml_comes_along_without_its_comments(tmp_path: Path) -> None:
    config = tmp_path / "plant.yaml"
    config.write_text("site: [unclosed\n# password hunter2\npassword: hunter2-and-more\n")
    made = await make(config, output=tmp_path / "b.tar.gz", environment={})
    files = unpacked(made.path)
    assert b"site: [unclosed" in files["plant.yaml.txt"]
    assert b"hunter2" not in b"".join(files.values())


async def test_an_archive_that_still_held_a_secret_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, environment, logs, _, _ = planted(tmp_path)
    monkeypatch.setattr(Scrubber, "text", lambda self, text: text)
    with pytest.raises(BundleError, match="still holds a secret"):
        await make(config, output=tmp_path / "b.tar.gz", logs=logs, environment=environment)
    assert not (tmp_path / "b.tar.gz").exists()


async def test_the_command_says_where_the_archive_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _, logs, status, _ = planted(tmp_path)
    monkeypatch.chdir(tmp_path)
    call = ["bundle", "--config", str(config), "--status-file", str(status), "--log-file", str(logs[0]), "--json"]
    done = await asyncio.to_thread(CliRunner().invoke, app, call)
    said = json.loads(done.stdout)
    assert done.exit_code == 0
    assert "doctor.json" in said["files"]
    assert unpacked(Path(said["archive"]))
    missing = await asyncio.to_thread(CliRunner().invoke, app, [*call, "--output", str(tmp_path / "no" / "b.tar.gz")])
    assert missing.exit_code == 1


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=LEAST_LENGTH, max_size=40))
def test_a_known_secret_leaves_no_trace_in_any_form(secret: str) -> None:
    secret = secret.strip()
    if len(secret) < LEAST_LENGTH or set(secret) <= set(REMOVED):
        return
    scrubber = Scrubber([secret])
    text = "  ".join(["begin", *sorted(forms(secret)), "end"])
    cleaned = scrubber.text(text)
    assert not scrubber.leaks(cleaned.encode())
    assert secret not in cleaned


def test_harmless_text_is_left_as_it_is() -> None:
    scrubber = Scrubber(["s3cret-value"])
    for text in (
        "uplink: credential_file: /etc/plantpulse/credential",
        "opc.tcp://10.0.4.21:4840 connected, 17 tags",
        '{"check": "county.credential", "result": "ok"}',
        "mqtt://10.0.4.9:1883/plant/edm-1/status",
        "请把 用户名:密码 写入一个文件",
    ):
        assert scrubber.text(text) == text
    tree: dict[str, Any] = {"password_file": "x", "tokens": None, "secret": True, "n": 5, "list": [1, "a"]}
    assert scrubber.tree(tree) == tree


def test_the_archive_names_the_site_and_time(tmp_path: Path) -> None:
    assert archive._default_name(archive.Examination()).startswith("plantpulse-bundle-2")


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("PWD", False),
        ("OLDPWD", False),
        ("CREDENTIALS_DIRECTORY", False),
        ("password_file", False),
        ("DB_PWD", True),
        ("PLANTPULSE_API_TOKEN", True),
        ("password", True),
    ],
)
def test_a_place_is_no_secret(name: str, is_secret: bool) -> None:
    assert names_a_secret(name) == is_secret
