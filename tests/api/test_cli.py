"""plantpulse-county from the shell: import, users, credentials, what goes wrong."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import app
from api.credentials import Credentials
from api.register.admin import register_of
from tests.api.county_fixtures import HandClock, register_files, settings_for, write_csv


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("PLANTPULSE_DATA_DIR", str(tmp_path / "county"))
    return CliRunner()


def test_import_tells_what_it_did_and_where_it_failed(shell: CliRunner, tmp_path: Path) -> None:
    folder = write_csv(tmp_path / "register", register_files())
    done = shell.invoke(app, ["import", "--folder", str(folder)])
    assert done.exit_code == 0
    assert "assets.csv: 新增 new 6" in done.output
    files = register_files()
    files["assets.csv"] = files["assets.csv"].replace("cnc,cnc", "cnc,nc")
    write_csv(folder, files)
    failed = shell.invoke(app, ["import", "--folder", str(folder)])
    assert failed.exit_code == 1
    assert "assets.csv:2: control='nc'" in failed.output
    assert "nothing was changed" in failed.output


def test_a_credential_is_printed_or_written_for_its_owner_only(shell: CliRunner, tmp_path: Path) -> None:
    printed = shell.invoke(app, ["gateway", "add", "gw-1"])
    file = tmp_path / "secrets" / "credential"
    written = shell.invoke(app, ["gateway", "add", "gw-2", "--credential-file", str(file)])
    assert (printed.exit_code, written.exit_code) == (0, 0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text("utf-8").strip()
    assert secret not in written.output
    with register_of(settings_for(tmp_path / "county")) as engine:
        known = Credentials(engine, HandClock())
        known.read()
        grants = [known.grant(credential) for credential in (printed.output.strip(), secret)]
        assert [grant and grant.gateway for grant in grants] == ["gw-1", "gw-2"]
        known.close()


def test_users_are_made_from_a_password_file(shell: CliRunner, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("a-long-password\n", "utf-8")
    call = ["user", "add", "demo", "--password-file", str(password)]
    assert shell.invoke(app, [*call, "--role", "viewer"]).exit_code == 0
    wrong = shell.invoke(app, [*call, "--role", "king"])
    assert wrong.exit_code == 2
    assert "administrator" in wrong.output
    missing = shell.invoke(app, [*call[:-1], str(tmp_path / "none"), "--role", "viewer"])
    assert missing.exit_code == 1
    assert "cannot be read" in missing.output


def test_a_setting_that_is_wrong_is_named(shell: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTPULSE_PORT", "99999")
    done = shell.invoke(app, ["serve"])
    assert done.exit_code == 1
    assert "PLANTPULSE_PORT" in done.output


def test_a_wrong_call_ends_with_2(shell: CliRunner) -> None:
    assert shell.invoke(app, ["import"]).exit_code == 2
    assert shell.invoke(app, ["serve", "--nonsense"]).exit_code == 2


@pytest.mark.parametrize(
    "call",
    [
        ["recompute", "--from", "yesterday"],
        ["recompute", "--to", "2026-13-01"],
        ["recompute", "--from", "2026-11-02", "--to", "2026-11-01"],
        ["recompute", "--scheduler", "http://x"],
        ["publish", "--set", "1"],
        ["publish", "--withdraw", "1", "--note", " "],
        ["publish", "--draft", "--set", "1"],
        ["publish", "--draft", "--period", "october"],
        ["publish", "--period", "2026-02..2026-11"],
    ],
    ids=" ".join,
)
def test_an_option_without_a_value_that_it_can_have_is_a_wrong_call(shell: CliRunner, call: list[str]) -> None:
    done = shell.invoke(app, call)
    assert done.exit_code == 2
    assert call[1] in done.output or "--note" in done.output or "--period" in done.output


@pytest.mark.parametrize(
    "call",
    [
        ["audit"],
        ["gateway", "list"],
        ["gateway", "revoke", "gw-1"],
        ["hold", "list"],
        ["hold", "release", "1"],
        ["publish"],
        ["export"],
        ["recompute"],
    ],
    ids=" ".join,
)
def test_a_mistyped_folder_is_no_empty_county(shell: CliRunner, tmp_path: Path, call: list[str]) -> None:
    done = shell.invoke(app, call)
    assert done.exit_code == 1, done.output
    assert "这里没有台账" in done.output
    assert "PLANTPULSE_DATA_DIR" in done.output
    assert not (tmp_path / "county").exists()


@pytest.mark.parametrize("call", [["gateway", "list"], ["user", "add", "a"], ["audit"], ["publish"]], ids=" ".join)
def test_a_damaged_register_is_told_in_words(shell: CliRunner, tmp_path: Path, call: list[str]) -> None:
    (tmp_path / "county").mkdir()
    (tmp_path / "county" / "register.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 40)
    (tmp_path / "password").write_text("a-long-password")
    more = ["--role", "viewer", "--password-file", str(tmp_path / "password")] if call[0] == "user" else []
    done = shell.invoke(app, [*call, *more])
    assert done.exit_code == 1
    assert "台账无法使用" in done.output
    assert "doctor" in done.output
    assert "Traceback" not in done.output


def test_a_damaged_journal_is_told_in_words_and_the_service_does_not_start(tmp_path: Path) -> None:
    settings = settings_for(tmp_path / "county")
    settings.journal_dir.mkdir(parents=True)
    (settings.journal_dir / "kept.sqlite").write_bytes(b"not a database, but long enough to be looked at" * 40)
    environment = os.environ | {"PLANTPULSE_DATA_DIR": str(tmp_path / "county"), "PLANTPULSE_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve"],
        env=environment,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "接收日志无法使用" in done.stderr
    assert "restore" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (["hold", "add", "xx", "2026-01-02", "--reason", "a"], 2, "应为日期"),
        (["hold", "add", "2026-01", "2026-01-02", "--reason", "a"], 2, "YYYY-MM-DD"),
        (["hold", "add", "2026-02-02", "2026-01-02", "--reason", "a"], 2, "首日不能晚于末日"),
        (["publish", "--note", "十月快报"], 2, "--draft"),
        (["recompute", "--gateway", "nope"], 1, "gateway list"),
        (["import", "--folder", "no-such-folder"], 1, "no-such-folder: 应为文件夹 expected a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_call_that_cannot_be_is_told_with_what_was_expected(
    shell: CliRunner, tmp_path: Path, call: list[str], code: int, words: str
) -> None:
    with register_of(settings_for(tmp_path / "county")):
        done = shell.invoke(app, call)
    assert (done.exit_code, words in done.output) == (code, True), done.output


def test_what_the_county_does_not_hold_is_no_wrong_call(shell: CliRunner, tmp_path: Path) -> None:
    shell.invoke(app, ["import", "--folder", str(write_csv(tmp_path / "register", register_files()))])
    done = shell.invoke(app, ["publish", "--set", "7", "--note", "十月快报"])
    assert (done.exit_code, "there is no such set" in done.output) == (1, True)


def test_a_code_is_made_listed_without_its_text_and_withdrawn(shell: CliRunner, tmp_path: Path) -> None:
    printed = shell.invoke(app, ["gateway", "code", "gw-1", "--hours", "2"])
    file = tmp_path / "code"
    written = shell.invoke(app, ["gateway", "code", "gw-2", "--code-file", str(file)])
    assert (printed.exit_code, written.exit_code) == (0, 0)
    code = printed.stdout.strip()
    assert "does not name gw-1 yet" in printed.stderr, "a mistyped id is noticed"
    assert re.fullmatch(r"(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}", code)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text("utf-8").strip() not in written.output
    shell.invoke(app, ["gateway", "add", "gw-1"])
    listed = json.loads(shell.invoke(app, ["gateway", "list", "--json"]).output)
    assert [(g["gateway"], bool(g["code_expires"])) for g in listed] == [("gw-1", True), ("gw-2", True)]
    assert [c["state"] for c in listed[0]["credentials"]] == ["valid"]
    assert code not in json.dumps(listed)
    shell.invoke(app, ["import", "--folder", str(write_csv(tmp_path / "register", register_files()))])
    assert shell.invoke(app, ["gateway", "code", "gw-2"]).stderr == ""
    assert shell.invoke(app, ["gateway", "revoke", "gw-1"]).exit_code == 0
    again = shell.invoke(app, ["gateway", "revoke", "gw-1"])
    assert again.exit_code == 1
    assert "no valid credential" in again.output
    after = shell.invoke(app, ["gateway", "list"]).output
    assert "gw-1" in after
    assert "revoked" in after
    assert "code" not in after.split("gw-2")[0]
