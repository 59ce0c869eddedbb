"""How a profile finds values, qualities and times in a document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.model import ConfigError, Quality
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.factory import json_source
from collectors.mqtt.json_device import JsonDevice, Reading
from collectors.mqtt.json_family import JsonFamily
from collectors.mqtt.profile import JsonProfile
from collectors.mqtt.rows import Rows
from collectors.strict_yaml import FileError, Located, check
from metrics.record import MachineState

MS = 1_795_460_000_000
HEADER = {
    "profile": "probe", "protocol": "mqtt", "device_class": "machine", "evidence": "native",
    "title_zh": "测试", "title_en": "probe", "source": {"document": "test"}, "liveness_s": 6,
    "topic": "line/{id}",
}  # fmt: skip


def _device(**profile: Any) -> JsonDevice:
    document = {**HEADER, "tags": [{"tag": "parts", "value": "n"}], **profile}
    return JsonDevice(
        MqttEntry(id="m-1", profile="probe", address="mqtt://b"),
        check(Located("probe.yaml", document, {}), JsonProfile),
    )


def _read(device: JsonDevice, document: Any, topic: str = "line/m-1", retained: bool = False) -> tuple[Rows, Reading]:
    rows = Rows()
    return rows, device.read(topic, document, 7, retained, rows)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("a.b[1].c", {"a": {"b": [0, {"c": 5}]}}),
        ("[0][1]", [[0, 5]]),
        (["x.y", "z"], {"x.y": {"z": 5}}),
        ("", 5),
        ("n", {"n": "5"}),
        ("n", {"n": True and 5.0}),
    ],
)
def test_a_path_finds_the_value(path: Any, document: Any) -> None:
    rows, reading = _read(_device(tags=[{"tag": "parts", "value": path}]), document)
    assert list(rows.value) == [5.0]
    assert reading.alive


@pytest.mark.parametrize("document", [{}, {"a": 1}, {"a": []}, {"a": "text"}, [], "text", 5, None, {"a": {"0": 1}}])
def test_what_is_not_there_is_no_sample(document: Any) -> None:
    rows, reading = _read(_device(tags=[{"tag": "parts", "value": "a[0]"}]), document)
    assert len(rows) == 0
    assert (reading.found, reading.alive) == (0, False)


@pytest.mark.parametrize("value", [None, "", "many", {}, [], "nan", "inf", 10**400])
def test_what_is_no_number_is_bad(value: Any) -> None:
    rows, reading = _read(_device(), {"n": value})
    assert list(rows.quality) == [Quality.BAD]
    assert (reading.found, reading.alive) == (1, False)


def test_scale_turns_the_devices_unit_into_ours() -> None:
    rows, _ = _read(_device(tags=[{"tag": "energy_import", "value": "wh", "scale": 0.001}]), {"wh": 2500})
    assert list(rows.value) == [2.5]


@pytest.mark.parametrize(
    ("time_format", "given_time", "source_ns"),
    [
        ("ms", MS, MS * 10**6),
        ("ms", str(MS), MS * 10**6),
        ("s", MS / 1000, MS * 10**6),
        ("us", MS * 1000, MS * 10**6),
        ("ns", MS * 10**6 + 1, MS * 10**6 + 1),
        ("iso", "2026-11-23T18:53:20Z", MS * 10**6),
        ("iso", "2026-11-24T02:53:20+08:00", MS * 10**6),
    ],
)
def test_times_are_read_in_every_format(time_format: str, given_time: Any, source_ns: int) -> None:
    rows, reading = _read(_device(time="t", time_format=time_format), {"t": given_time, "n": 1})
    assert rows.samples().source_ns.tolist() == [source_ns]
    assert rows.samples().received_ns.tolist() == [7]
    assert not reading.bad_time


@pytest.mark.parametrize(
    ("time_format", "given_time"),
    [("ms", 0), ("ms", -1), ("ms", "soon"), ("s", MS), ("iso", "2026-11-24T02:53:20"), ("iso", "x"), ("ms", 10**30),
     ("ms", [1]), ("s", float("1e308"))],
)  # fmt: skip
def test_a_time_that_cannot_be_is_shown_and_not_used(time_format: str, given_time: Any) -> None:
    rows, reading = _read(_device(time="t", time_format=time_format), {"t": given_time, "n": 1})
    assert rows.samples().source_ns.tolist() == [0]
    assert reading.bad_time


def test_a_tags_own_time_and_quality_go_first() -> None:
    tag = {"tag": "parts", "value": "n.v", "time": "n.t", "quality": "n.q"}
    rows, _ = _read(_device(time="t", tags=[tag]), {"t": MS, "n": {"v": 1, "t": MS - 5, "q": "uncertain"}})
    assert rows.samples().source_ns.tolist() == [(MS - 5) * 10**6]
    assert list(rows.quality) == [Quality.UNCERTAIN]


@pytest.mark.parametrize(
    ("words", "said", "quality"),
    [
        ({}, "GOOD", Quality.GOOD),
        ({}, False, Quality.BAD),
        ({}, "strange", Quality.UNCERTAIN),
        ({192: "good", 0: "bad"}, 192, Quality.GOOD),
        ({192: "good", 0: "bad"}, 0, Quality.BAD),
        ({192: "good", 0: "bad"}, 64, Quality.UNCERTAIN),
    ],
)
def test_the_devices_words_for_quality(words: dict[Any, str], said: Any, quality: Quality) -> None:
    device = _device(qualities=words, tags=[{"tag": "parts", "value": "n", "quality": "q"}])
    rows, _ = _read(device, {"n": 1, "q": said})
    assert list(rows.quality) == [quality]


@pytest.mark.parametrize(
    ("said", "state"), [("RUN", "running"), (3, "fault"), (3.0, "fault"), (True, "idle"), ("run", "unknown")]
)
def test_the_devices_words_for_states(said: Any, state: str) -> None:
    states = {"RUN": "running", 3: "fault", "true": "idle"}
    rows, reading = _read(_device(tags=[{"tag": "state", "value": "s", "states": states}]), {"s": said})
    assert list(rows.value) == [MachineState[state.upper()]]
    assert list(rows.quality) == [Quality.GOOD if state != "unknown" else Quality.UNCERTAIN]
    assert reading.strange == ("run" if state == "unknown" else "")


def test_the_same_tag_time_and_value_change_nothing() -> None:
    device = _device(time="t")
    assert len(_read(device, {"t": MS, "n": 1})[0]) == 1
    rows, reading = _read(device, {"t": MS, "n": 1})
    assert (len(rows), reading.duplicates, reading.alive) == (0, 1, True)
    assert len(_read(device, {"t": MS, "n": 2})[0]) == 1, "another value at the same time is news"
    assert len(_read(device, {"n": 2})[0]) == 1, "without a time nobody can know"
    assert len(_read(device, {"n": 2})[0]) == 1


def test_tags_may_have_topics_of_their_own() -> None:
    tags = [{"tag": "parts", "topic": "{topic}/parts"}, {"tag": "power", "topic": "{topic}/power"}]
    device = _device(tags=tags)
    assert device.topics == ["line/m-1/parts", "line/m-1/power"]
    rows, _ = _read(device, 4.5, topic="line/m-1/power")
    assert (list(rows.tag), list(rows.value)) == ([1], [4.5])


@pytest.mark.parametrize(("said", "value"), [(b"7", 7.0), (b'"7"', 7.0), (b"7.5", 7.5), (b"true", 1.0), (b"[7]", None)])
def test_a_bare_number_or_text_is_a_document(said: bytes, value: float | None) -> None:
    tags = [{"tag": "parts", "topic": "{topic}/parts"}]
    rows, reading = _read(_device(tags=tags), msgspec.json.decode(said), topic="line/m-1/parts")
    assert list(rows.value) == ([value] if value is not None else [0.0])
    assert reading.alive is (value is not None)


@pytest.mark.parametrize(
    "document",
    [
        {"parts": 5, "state": "RUN", "power": 1.5},  # flat
        {"parts": 5, "state": "RUN", "power": 1.5, "more": [1, {"x": None}]},
    ],
)
def test_flat_documents_are_read_too(document: Any) -> None:
    tags = [
        {"tag": "parts", "value": "parts"},
        {"tag": "state", "value": "state", "states": {"RUN": "running"}},
        {"tag": "power", "value": "power"},
    ]
    rows, _ = _read(_device(tags=tags), document)
    assert list(rows.value) == [5.0, float(MachineState.RUNNING), 1.5]


def test_an_old_document_without_a_time_keeps_what_only_grows_and_the_state() -> None:
    tags = [
        {"tag": "parts", "value": "n", "time": "t"},
        {"tag": "energy_import", "value": "e", "time": "t"},
        {"tag": "state", "value": "s", "states": {"RUN": "running"}},
        {"tag": "power", "value": "p"},
        {"tag": "frequency", "value": "f", "time": "t"},
    ]
    device, rows = _device(tags=tags), Rows()
    document = {"n": 1, "e": 2, "s": "RUN", "p": 3, "f": 50}
    reading = device.read("line/m-1", document, 7, False, rows, old=True)
    assert (list(rows.tag), reading.untimed) == ([0, 1, 2], 2)
    rows = Rows()
    reading = device.read("line/m-1", {**document, "t": MS}, 7, False, rows, old=True)
    assert (list(rows.tag), reading.untimed) == ([0, 1, 2, 4], 1), "with a time of its own everything counts"


FAMILY = {"tags": [{"tag": "parts", "topic": "{topic}/n"}], "status": {"topic": "{topic}/alive", "gone": ["0"]}}


def _family(topic: str, **profile: Any) -> JsonFamily:
    document = {**HEADER, **FAMILY, **profile}
    return JsonFamily(
        MqttEntry(id="m", profile="probe", address="mqtt://b", topic=topic),
        check(Located("probe.yaml", document, {}), JsonProfile),
    )


@pytest.mark.parametrize(
    ("filter_", "topic", "name"),
    [
        ("+", "a/n", "a"),
        ("hall/+/press", "hall/3/press/n", "3"),
        ("+/line/+", "north/line/7/n", "north.7"),
        ("hall/+", "hall/测试 1/n", "测试 1"),
        ("hall/+", "hall/a\tb/n", "a_b"),
        ("hall/+", "hall/n", None),
        ("hall/+", "hall//n", None),
        ("hall/+", "hall/a/b/n", None),
        ("h.ll/+", "hall/a/n", None),
        ("hall/+", "hall/a/alive", None),
    ],
)
def test_a_wildcard_yields_the_devices_name(filter_: str, topic: str, name: str | None) -> None:
    family = _family(filter_)
    assert family.topics == [f"{filter_}/n", f"{filter_}/alive"]
    found = family.candidate(topic)
    assert (found[0] if found else None) == name
    if found:
        assert found[1].device.id == f"m/{name}"
        assert found[1].topics == [topic, topic.removesuffix("/n") + "/alive"]


def test_two_topics_of_one_name_are_not_mixed() -> None:
    family = _family("+/+")
    one, two = family.candidate("a.b/c/n"), family.candidate("a/b.c/n")
    assert one is not None
    assert two is not None
    assert one[0] == two[0]
    assert family.admit(*one)
    assert not family.admit(*two)


def test_a_profile_with_topics_that_name_nobody_cannot_have_a_wildcard(tmp_path: Path) -> None:
    entry = MqttEntry(id="m", profile="probe", address="mqtt://b", topic="hall/+")
    document = {**HEADER, "tags": [{"tag": "parts", "topic": "all/parts"}]}
    with pytest.raises(ConfigError) as error:
        json_source(entry, check(Located("probe.yaml", document, {}), JsonProfile))
    assert error.value.code == "mqtt.topic-without-name"
    with pytest.raises(FileError, match="wildcards belong"):
        _device(tags=[{"tag": "parts", "topic": "{topic}/+"}])


def test_only_the_words_for_gone_mean_gone() -> None:
    device = _device(status={"topic": "{topic}/alive", "value": "up", "gone": ["false", "0"]})
    for said, gone in ((False, True), (0, True), (True, False), ("no", False), (None, False)):
        _, reading = _read(device, {"up": said}, topic="line/m-1/alive")
        assert reading.gone is gone
        assert not reading.alive


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("tags", [{"tag": "no_such_quantity", "value": "n"}], "not in the vocabulary"),
        ("tags", [{"tag": "state", "value": "n"}], "needs `states`"),
        ("tags", [{"tag": "state", "value": "n", "states": {True: "running"}}], "quote it"),
        ("tags", [{"tag": "parts", "value": "n"}, {"tag": "parts", "value": "m"}], "twice"),
        ("tags", [{"tag": "energy_import", "value": "n"}, {"tag": "water_volume", "value": "m"}], "at most one"),
        ("tags", [{"tag": "parts", "value": "a[x]"}], "write a path"),
        ("tags", [], "at least 1"),
        ("surprise", 1, "unknown key"),
    ],
)
def test_a_profile_that_cannot_work_says_why(key: str, value: Any, says: str) -> None:
    with pytest.raises(FileError, match=says):
        _device(**{key: value})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["n", "t", "q", "s"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_document_is_fatal_and_bad_has_no_value(document: Any) -> None:
    tags = [
        {"tag": "parts", "value": "n", "quality": "q", "time": "t"},
        {"tag": "state", "value": "s", "states": {"RUN": "running"}},
    ]
    rows, _ = _read(_device(time="t", tags=tags), document)
    samples = rows.samples()
    assert ((samples.quality == Quality.BAD) == (samples.value != samples.value)).all()
    assert (samples.source_ns >= 0).all()


def test_the_shipped_profile_reads_from_a_site_folder_too(tmp_path: Path) -> None:
    from collectors.mqtt.factory import json_profile

    entry = MqttEntry(id="m-1", profile="json-machine", address="mqtt://b:1884", topic="a/b")
    assert JsonDevice(entry, json_profile(entry, [tmp_path])).device.address == "mqtt://b:1884/a/b"
