"""The rules of a Sparkplug host, message by message, without a broker or a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from collectors.model import FOREVER_S, Quality
from collectors.mqtt.config import MqttEntry
from collectors.mqtt.factory import sparkplug_profile
from collectors.mqtt.sparkplug_host import LONGEST_PAUSE_S, EdgeNode, Outcome
from metrics.record import Evidence, MachineState
from simulators.sparkplug_schema import DataType, Metric, encode
from tests.collectors.mqtt.plants import node_entry

S = 1_000_000_000
START_NS = 1_795_460_000 * S
STATE = Metric(DataType.STRING, "Running", "State", 1)
ENERGY = Metric(DataType.DOUBLE, 100.5, "Energy/Total kWh", 2)
PARTS = Metric(DataType.INT64, 7, "Parts", 3)
SERIAL = Metric(DataType.STRING, "SN-1", "Properties/Serial Number", 4)
BIRTH = (STATE, ENERGY, PARTS, SERIAL)
PARTS_TAG, ENERGY_TAG, STATE_TAG = 2, 1, 0


class Talk:
    """An edge node's side of the conversation: numbers its messages unless told otherwise."""

    def __init__(self, pause_s: float = 2.0, reorder_s: float = 0.0) -> None:
        entry = node_entry("mqtt://broker:1883", reorder_s=reorder_s)
        self.node = EdgeNode(entry, sparkplug_profile(entry, []), pause_s=pause_s)
        self.now_ns = START_NS
        self.node.start(self.now_ns)
        self.asked = int(self.node.tick(self.now_ns, Outcome()))
        self.seq = 0

    def say(
        self, kind: str, name: str = "", metrics: Sequence[Metric] = (), *, seq: int | None = -1, after_s: float = 0.1
    ) -> Outcome:
        """One message, then a tick; what it brought."""
        self.now_ns += int(after_s * S)
        number = self.seq if seq == -1 else seq
        if kind != "NDEATH" and number is not None:
            self.seq = (number + 1) % 256
        payload = encode(metrics, at_ms=self.now_ns // 10**6, seq=None if kind == "NDEATH" else number)
        out = Outcome()
        self.node.take(kind, name, payload, self.now_ns, out)
        self.asked += self.node.tick(self.now_ns, out)
        return out

    def birth(self, bd_seq: int = 0, device: Sequence[Metric] = BIRTH) -> Outcome:
        """NBIRTH and the birth of asm-1; what the latter brought."""
        self.seq = 0
        self.say("NBIRTH", metrics=[Metric(DataType.INT64, bd_seq, "bdSeq")])
        return self.say("DBIRTH", "asm-1", device)

    def death(self, bd_seq: int) -> Outcome:
        return self.say("NDEATH", metrics=[Metric(DataType.INT64, bd_seq, "bdSeq")])


def _values(out: Outcome, device: str = "assembly/asm-1") -> dict[int, float]:
    rows = out.rows.get(device)
    return {} if rows is None else dict(zip(rows.tag, rows.value, strict=True))


def _lasts(out: Outcome, device: str = "assembly/asm-1") -> float | None:
    proof = out.proofs.get(device)
    return None if proof is None else proof.lasts_s


def test_a_host_that_starts_asks_once_for_births() -> None:
    assert Talk().asked == 1


def test_a_birth_announces_the_device_as_it_says_it_is() -> None:
    out = Talk().birth()
    [device] = out.devices
    assert device.id == "assembly/asm-1"
    assert device.identity.serial == "SN-1"
    assert device.evidence is Evidence.SELF_IDENTIFIED
    assert (device.carrier, device.unit, device.direction) == ("electricity", "kWh", "import")
    assert [tag.name for tag in device.tags] == ["state", "energy_import", "parts"], "only what it has"
    assert device.address == "mqtt://broker:1883/spBv1.0/plant/assembly/asm-1"
    assert _values(out) == {STATE_TAG: MachineState.RUNNING, ENERGY_TAG: 100.5, PARTS_TAG: 7}
    assert out.rows[device.id].samples().source_ns.tolist() == [0, 0, 0], "a birth's values are the state now"
    assert _lasts(out) == FOREVER_S


def test_a_device_that_is_born_again_unchanged_is_not_announced_again() -> None:
    talk = Talk()
    assert talk.birth().devices
    assert not talk.birth().devices
    assert talk.birth(device=(*BIRTH[:3], Metric(DataType.STRING, "SN-2", "Properties/Serial Number", 4))).devices


def test_data_by_alias_carries_its_own_time() -> None:
    talk = Talk()
    talk.birth()
    for parts in (8, 9, 9000):  # the second is read by the learnt shape
        out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, parts, alias=3)])
        assert _values(out) == {PARTS_TAG: parts}
        assert out.rows["assembly/asm-1"].samples().source_ns.tolist() == [talk.now_ns // 10**6 * 10**6]
        assert _lasts(out) == FOREVER_S


def test_the_sequence_wraps_from_255_to_0() -> None:
    talk = Talk()
    talk.birth()
    for parts in range(300):
        assert _values(talk.say("DDATA", "asm-1", [Metric(DataType.INT64, parts, alias=3)])) == {PARTS_TAG: parts}
    assert talk.asked == 1


def test_a_gap_asks_for_a_rebirth_and_nothing_is_guessed_until_it_comes() -> None:
    talk = Talk()
    talk.birth()
    talk.now_ns += 5 * S
    talk.seq += 1
    lost = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])
    assert talk.asked == 2
    assert not _values(lost)
    assert lost.shed == {"awaiting_rebirth": 1}
    assert _lasts(lost) is None, "the gap says nothing of the device"
    # Meanwhile the node has dealt its aliases anew: 3 is the energy now.
    assert not _values(talk.say("DDATA", "asm-1", [Metric(DataType.DOUBLE, 101.0, alias=3)]))
    talk.birth(device=(Metric(DataType.DOUBLE, 101.0, "Energy/Total kWh", 3), Metric(DataType.INT64, 8, "Parts", 2)))
    out = talk.say("DDATA", "asm-1", [Metric(DataType.DOUBLE, 102.0, alias=3), Metric(DataType.INT64, 9, alias=2)])
    assert sorted(_values(out).values()) == [9.0, 102.0]
    [energy] = [tag for tag, value in _values(out).items() if value == 102.0]
    assert energy == 0  # this birth has no state: its tags are energy and parts


def _data(talk: Talk, parts: int, seq: int, **keys: float) -> Outcome:
    return talk.say("DDATA", "asm-1", [Metric(DataType.INT64, parts, alias=3)], seq=seq, **keys)


def test_messages_that_overtook_one_another_are_read_in_their_order() -> None:
    talk = Talk(reorder_s=2.0)
    talk.birth()  # 0 and 1
    for seq in (4, 3):
        assert not _data(talk, seq, seq)
    out = _data(talk, 2, 2)
    assert list(out.rows["assembly/asm-1"].value) == [2.0, 3.0, 4.0]
    assert talk.node.due_ns() is None, "the timer is off"
    assert not _data(talk, 6, 6, after_s=30.0).shed
    assert list(_data(talk, 5, 5).rows["assembly/asm-1"].value) == [5.0, 6.0]
    assert talk.asked == 1


def test_what_is_missing_for_longer_than_the_reorder_time_asks_for_a_rebirth_once() -> None:
    talk = Talk(reorder_s=2.0)
    talk.birth()
    talk.now_ns += 5 * S
    assert not _data(talk, 3, 3)
    assert not _data(talk, 4, 4)
    assert talk.asked == 1
    due_ns = talk.node.due_ns()
    assert due_ns == talk.now_ns - S // 10 + 2 * S, "counted from the first that came too early"
    out = Outcome()
    assert talk.node.tick(due_ns, out)
    assert out.shed == {"awaiting_rebirth": 2}
    assert not talk.node.tick(due_ns, out)
    assert _values(talk.birth()), "and then all is well"
    assert _values(talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 9, alias=3)])) == {PARTS_TAG: 9}


def test_a_birth_that_was_overtaken_by_its_data_is_read_first() -> None:
    talk = Talk(reorder_s=2.0)
    talk.seq = 0
    talk.say("NBIRTH", metrics=[Metric(DataType.INT64, 0, "bdSeq")])
    assert not _data(talk, 8, 2)
    out = talk.say("DBIRTH", "asm-1", BIRTH, seq=1)
    assert list(out.rows["assembly/asm-1"].value)[-2:] == [7.0, 8.0]
    assert not out.shed


def test_a_death_that_is_held_is_believed_when_time_is_up_and_not_before_what_it_ends() -> None:
    talk = Talk(reorder_s=2.0)
    talk.birth()
    early = talk.say("DDEATH", "asm-1", seq=3)
    assert _lasts(early) is None
    out = _data(talk, 8, 2)
    assert _lasts(out) == 0.0, "in its order, after the data"
    talk.birth()
    talk.say("DDEATH", "asm-1", seq=9)
    out = Outcome()
    talk.node.tick(talk.now_ns + 2 * S, out)
    assert _lasts(out) == 0.0


@pytest.mark.parametrize("ends", ["birth", "death", "link"])
def test_what_is_held_ends_with_its_session_and_is_counted(ends: str) -> None:
    talk = Talk(reorder_s=2.0)
    talk.birth(bd_seq=1)
    assert not _data(talk, 8, 5)
    out = Outcome()
    if ends == "birth":
        talk.seq = 0
        out = talk.say("NBIRTH", metrics=[Metric(DataType.INT64, 1, "bdSeq")])
    elif ends == "death":
        out = talk.death(1)
    else:
        talk.node.lose(talk.now_ns, out)
    assert out.shed == {"awaiting_rebirth": 1}


def test_a_number_that_comes_twice_is_counted_and_leads_to_a_rebirth() -> None:
    talk = Talk(reorder_s=2.0)
    talk.birth()
    assert not _data(talk, 8, 7).shed
    assert _data(talk, 9, 7).shed == {"awaiting_rebirth": 1}
    assert _data(talk, 8, 7, after_s=2.0).shed["awaiting_rebirth"] == 2
    assert talk.asked == 2


def test_held_messages_have_a_limit() -> None:
    talk = Talk(reorder_s=60.0)
    talk.birth()
    talk.now_ns += 5 * S
    big = [Metric(DataType.STRING, "x" * 500_000, alias=1)]
    shed = 0
    for seq in range(10, 20):
        shed += talk.say("DDATA", "asm-1", big, seq=seq).shed.get("awaiting_rebirth", 0)
    assert shed >= 9
    assert talk.asked == 2


@pytest.mark.parametrize(
    ("datatype", "value"),
    [(DataType.DATASET, [[1.0, 2.0], [3.0, 4.0]]), (DataType.TEMPLATE, [PARTS, STATE]), (DataType.BYTES, b"7")],
)
def test_data_sets_and_templates_are_stepped_over_and_counted_where_a_tag_was_expected(
    datatype: DataType, value: object
) -> None:
    talk = Talk()
    extra = Metric(datatype, value, "Recipe", 9)
    assert not talk.birth(device=(*BIRTH, extra)).shed, "nobody asked for it"
    for n in range(3):
        out = talk.say("DDATA", "asm-1", [extra, Metric(DataType.INT64, n, alias=3)])
        assert _values(out) == {PARTS_TAG: n}
        assert not out.shed
    out = talk.say("DDATA", "asm-1", [Metric(datatype, value, alias=3), Metric(DataType.DOUBLE, 5.0, alias=2)])
    assert out.shed == {"metric_unsupported": 1}
    rows = out.rows["assembly/asm-1"]
    assert list(zip(rows.tag, rows.quality, strict=True)) == [(PARTS_TAG, Quality.BAD), (ENERGY_TAG, Quality.GOOD)]


def test_aliases_dealt_anew_at_a_rebirth_are_followed() -> None:
    talk = Talk()
    talk.birth()
    talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])
    talk.birth(
        device=(STATE, Metric(DataType.DOUBLE, 1.0, "Energy/Total kWh", 3), Metric(DataType.INT64, 9, "Parts", 2))
    )
    out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 10, alias=2)])
    assert _values(out) == {PARTS_TAG: 10}
    assert _values(talk.say("DDATA", "asm-1", [Metric(DataType.DOUBLE, 2.0, alias=3)])) == {ENERGY_TAG: 2.0}


def test_rebirth_requests_are_throttled_more_and_more_while_nobody_obeys() -> None:
    talk = Talk(pause_s=2.0)
    asked_at_s: list[float] = []
    for tenth in range(12_000):
        before = talk.asked
        talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])
        if talk.asked > before:
            asked_at_s.append(tenth / 10)
    pauses = [b - a for a, b in pairwise(asked_at_s)]
    assert asked_at_s[0] == pytest.approx(1.9, abs=0.2)
    assert pauses[:4] == pytest.approx([4, 8, 16, 32], abs=0.2)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_S, abs=0.2)


def test_a_node_that_does_not_answer_is_shown_and_cleared_by_its_birth() -> None:
    talk = Talk()
    codes = []
    for _ in range(30):
        codes += [t.code for t in talk.say("DDATA", "asm-1", [PARTS], after_s=1.0).troubles]
    assert codes == ["mqtt.rebirth-unanswered"]
    talk.seq = 0
    assert [t.code for t in talk.say("NBIRTH", metrics=[Metric(DataType.INT64, 0, "bdSeq")]).troubles] == [""]


def test_an_unknown_alias_asks_for_a_rebirth_and_the_known_ones_count() -> None:
    talk = Talk()
    talk.birth()
    talk.now_ns += 5 * S
    out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3), Metric(DataType.INT64, 1, alias=99)])
    assert _values(out) == {PARTS_TAG: 8}
    assert out.shed == {"metric_unknown": 1}
    assert talk.asked == 2


def test_data_before_any_birth_is_not_believed() -> None:
    talk = Talk()
    out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, "Parts")], seq=4)
    assert not out.proofs
    assert not out.rows
    talk.birth()
    out = talk.say("DDATA", "asm-2", [Metric(DataType.INT64, 8, "Parts")])
    assert out.shed == {"data_before_birth": 1}


def test_a_death_counts_only_with_the_bdseq_of_the_birth() -> None:
    talk = Talk()
    talk.birth(bd_seq=5)
    old = talk.death(4)
    assert not old.proofs
    assert old.shed == {"death_of_earlier_session": 1}
    assert _values(talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])) == {PARTS_TAG: 8}
    out = talk.death(5)
    assert _lasts(out) == 0.0
    assert list(out.rows["assembly/asm-1"].quality) == [Quality.BAD] * 3, "its values are stale"
    late = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 9, alias=3)])
    assert _lasts(late) is None
    assert _lasts(talk.birth(bd_seq=6)) == FOREVER_S


@pytest.mark.parametrize("answers", [True, False])
def test_a_death_of_a_later_session_is_believed_unless_the_node_is_born_again(answers: bool) -> None:
    talk = Talk()
    talk.birth(bd_seq=255)
    talk.now_ns += 3 * S  # the pause since the first request is over
    out = talk.death(0)
    assert out.shed == {"death_of_later_session": 1}
    assert not out.proofs, "its number is not the birth's"
    assert talk.asked == 2, "asked whether it is there"
    late = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])
    assert late.shed == {"awaiting_rebirth": 1}
    if answers:
        assert _lasts(talk.birth(bd_seq=0)) == FOREVER_S
    out = Outcome()
    talk.node.tick(talk.now_ns + 6 * S, out)
    assert _lasts(out) == (None if answers else 0.0)


def test_a_devices_death_leaves_its_neighbours_alone() -> None:
    talk = Talk()
    talk.birth()
    talk.say("DBIRTH", "asm-2", BIRTH)
    out = talk.say("DDEATH", "asm-1")
    assert _lasts(out) == 0.0
    assert _lasts(out, "assembly/asm-2") is None
    out = talk.say("DDATA", "asm-2", [Metric(DataType.INT64, 8, alias=3)])
    assert _values(out, "assembly/asm-2") == {PARTS_TAG: 8}
    assert _lasts(talk.say("DBIRTH", "asm-1", BIRTH)) == FOREVER_S


@pytest.mark.parametrize("reorder_s", [0.0, 2.0])
@pytest.mark.parametrize("missing", [0, 3])
def test_a_devices_death_is_believed_even_after_a_gap_and_has_its_own_time(missing: int, reorder_s: float) -> None:
    talk = Talk(reorder_s=reorder_s)
    talk.birth()
    talk.seq += missing
    out = talk.say("DDEATH", "asm-1")
    said_ns = talk.now_ns
    if missing and reorder_s:
        assert _lasts(out) is None, "what is missing may still come"
        talk.node.tick(talk.now_ns + int(reorder_s * S), out)
    assert _lasts(out) == 0.0
    samples = out.rows["assembly/asm-1"].samples()
    assert samples.quality.tolist() == [Quality.BAD] * 3
    assert samples.source_ns.tolist() == [said_ns] * 3, "stale since the time in the DDEATH's payload"


def test_a_birth_may_begin_at_any_number() -> None:
    talk = Talk()
    talk.say("NBIRTH", metrics=[Metric(DataType.INT64, 0, "bdSeq")], seq=254)
    for device in ("asm-1", "asm-2"):
        assert _lasts(talk.say("DBIRTH", device, BIRTH), f"assembly/{device}") == FOREVER_S
    assert talk.seq == 1
    assert _values(talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])) == {PARTS_TAG: 8}
    assert talk.asked == 1


def test_a_message_without_a_number_is_read_and_no_sign_of_a_loss() -> None:
    talk = Talk()
    talk.birth()
    out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)], seq=None)
    assert _values(out) == {PARTS_TAG: 8}
    assert _values(talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 9, alias=3)])) == {PARTS_TAG: 9}
    assert talk.asked == 1


def test_a_device_that_is_not_reborn_with_its_node_is_gone() -> None:
    talk = Talk()
    talk.birth()
    talk.say("DBIRTH", "asm-2", BIRTH)
    talk.birth()  # asm-1 only
    out = Outcome()
    talk.node.tick(talk.now_ns + 4 * S, out)
    assert not out.proofs
    due_ns = talk.node.due_ns()
    assert due_ns is not None
    talk.node.tick(due_ns, out)
    assert {device: proof.lasts_s for device, proof in out.proofs.items()} == {"assembly/asm-2": 0.0}


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        (DataType.INT8, -1), (DataType.INT16, -300), (DataType.INT32, -70_000), (DataType.INT64, -5_000_000_000),
        (DataType.UINT8, 255), (DataType.UINT32, 2**32 - 1), (DataType.UINT64, 2**53), (DataType.FLOAT, -1.5),
        (DataType.BOOLEAN, True), (DataType.STRING, "12.5"),
    ],
)  # fmt: skip
def test_numbers_of_every_type_keep_their_sign(datatype: DataType, value: object) -> None:
    talk = Talk()
    born = talk.birth(device=(Metric(datatype, value, "Power kW", 9),))
    assert _values(born) == {0: float(value)}  # type: ignore[arg-type]
    for _ in range(2):
        out = talk.say("DDATA", "asm-1", [Metric(datatype, value, alias=9, with_datatype=False)])
        assert _values(out) == {0: float(value)}  # type: ignore[arg-type]


def test_null_is_bad_and_no_value() -> None:
    talk = Talk()
    talk.birth()
    out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, None, alias=3)])
    assert list(out.rows["assembly/asm-1"].quality) == [Quality.BAD]
    samples = out.rows["assembly/asm-1"].samples()
    assert str(samples.value[0]) == "nan"


def test_a_metrics_own_quality_counts_in_every_message() -> None:
    talk = Talk()
    talk.birth()
    qualities = []
    for said in (192, 192, 500, 192, 192, 0, 64, None, None):
        out = talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3, quality=said)])
        qualities += list(out.rows["assembly/asm-1"].quality)
        assert _lasts(out) == FOREVER_S, "the node is there, whatever it thinks of its value"
    good, uncertain, bad = Quality.GOOD, Quality.UNCERTAIN, Quality.BAD
    assert qualities == [good, good, bad, good, good, bad, uncertain, good, good]


def test_history_keeps_its_time_and_proves_nothing() -> None:
    talk = Talk()
    talk.birth()
    then_ms = START_NS // 10**6 - 3_600_000
    old = Metric(DataType.INT64, 3, alias=3, at_ms=then_ms, historical=True)
    out = talk.say("DDATA", "asm-1", [old])
    assert _values(out) == {PARTS_TAG: 3}
    assert out.rows["assembly/asm-1"].samples().source_ns.tolist() == [then_ms * 10**6]
    assert not out.proofs
    mixed = talk.say("DDATA", "asm-1", [old, Metric(DataType.INT64, 9, alias=3)])
    assert _lasts(mixed) == FOREVER_S


def test_an_unknown_state_word_is_unknown_and_shown_once() -> None:
    talk = Talk()
    talk.birth()
    codes = []
    for word in ("Dancing", "Dancing", "Running", "Running"):
        out = talk.say("DDATA", "asm-1", [Metric(DataType.STRING, word, alias=1)])
        rows = out.rows["assembly/asm-1"]
        known = word == "Running"
        assert list(rows.value) == [MachineState.RUNNING if known else MachineState.UNKNOWN]
        assert list(rows.quality) == [Quality.GOOD if known else Quality.UNCERTAIN]
        codes += [(t.subject, t.code) for t in out.troubles]
    assert codes == [("assembly/asm-1", "mqtt.state-unknown"), ("assembly/asm-1", "")]


def test_a_broken_payload_is_counted_and_shown_and_asks_for_a_rebirth_with_the_next() -> None:
    talk = Talk()
    talk.birth()
    talk.now_ns += 5 * S
    out = Outcome()
    talk.node.take("DDATA", "asm-1", b"\x12\xff\x01", talk.now_ns, out)
    assert out.shed == {"payload_broken": 1}
    assert [t.code for t in out.troubles] == ["mqtt.payload-broken"]
    talk.seq += 1  # the node had numbered it
    talk.say("DDATA", "asm-1", [Metric(DataType.INT64, 8, alias=3)])
    assert talk.asked == 2


def test_a_node_with_metrics_of_its_own_is_a_machine_of_the_entrys_name() -> None:
    talk = Talk()
    out = talk.say("NBIRTH", metrics=[Metric(DataType.INT64, 0, "bdSeq"), STATE, ENERGY])
    assert [device.id for device in out.devices] == ["assembly"]
    assert _lasts(out, "assembly") == FOREVER_S
    out = talk.say("NDATA", metrics=[Metric(DataType.DOUBLE, 5.0, alias=2)])
    assert _values(out, "assembly") == {ENERGY_TAG: 5.0}


def test_an_entry_has_at_most_a_thousand_devices() -> None:
    talk = Talk()
    talk.birth()
    for n in range(998):
        assert not talk.say("DBIRTH", f"more-{n}", [PARTS]).shed
    out = talk.say("DBIRTH", "one-too-many", [PARTS])
    assert out.shed == {"too_many_devices": 1}
    assert [t.code for t in out.troubles] == ["mqtt.too-many-devices"]


def test_loss_of_our_link_withdraws_everything() -> None:
    talk = Talk()
    talk.birth()
    out = Outcome()
    talk.node.lose(talk.now_ns, out)
    assert _lasts(out) == 0.0
    talk.node.start(talk.now_ns)
    assert talk.node.tick(talk.now_ns, Outcome())


def test_commands_are_not_among_the_topics() -> None:
    entry = MqttEntry(id="n", profile="sparkplug-node", address="mqtt://b", group="g", node="e")
    node = EdgeNode(entry, sparkplug_profile(entry, []))
    assert not [topic for topic in node.topics if "CMD" in topic]
    assert "spBv1.0/g/DDATA/e/+" in node.topics
    assert node.command_topic == "spBv1.0/g/NCMD/e"
