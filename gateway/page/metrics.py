"""The status as Prometheus reads it: text exposition format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "plantpulse_gateway_"
_NS_PER_S: Final = 1e9
_PRE_EOL: Final = {"normal": 1, "warning": 2, "urgent": 3}
Series = Iterable[tuple[Mapping[str, str], float | int | None]]


def exposition(status: Mapping[str, Any]) -> str:
    """The metrics of a status (`gateway.status.Status.summary`). What is not known is left out, never 0."""
    return "".join(f"{line}\n" for line in _lines(status))


def _lines(status: Mapping[str, Any]) -> Iterator[str]:
    devices, links = status["devices"], status["links"]
    disk, now_ns = status["disk"], status["time_ns"]

    def alone(value: float | int | None) -> Series:
        return [({}, value)]

    yield from _family("ready", "gauge", "1 where records are kept and delivered.", alone(int(status["ready"])))
    yield from _family(
        "samples_total", "counter", "Samples accepted.", (({"protocol": p}, n) for p, n in status["samples"].items())
    )
    yield from _family(
        "records_written_total", "counter", "Interval records written.", alone(status["records_written"])
    )
    yield from _family(
        "records_sent_total", "counter", "Interval records that the county took.", alone(status["records_sent"])
    )
    yield from _family(
        "unsent_batches", "gauge", "Batches that the county has not confirmed.", alone(status["batches_unsent"])
    )
    yield from _family(
        "oldest_unsent_seconds", "gauge", "Age of the oldest of them; 0: none.", alone(status["oldest_unsent_s"])
    )
    yield from _family(
        "set_aside_batches", "gauge", "Batches that the county refuses.", alone(status["batches_set_aside"])
    )
    yield from _family("outbox_bytes", "gauge", "Size of the outbox.", alone(status["outbox_bytes"]))
    yield from _family("outbox_days_to_full", "gauge", "Days until the outbox is full.", alone(status["days_to_full"]))
    yield from _family("disk_free_bytes", "gauge", "Free space beside the outbox.", alone(disk["free_bytes"]))
    yield from _family(
        "disk_life_used_percent",
        "gauge",
        "So much of the disk's rated life is used at most; 110: all of it.",
        alone(disk["life_used_percent"]),
    )
    yield from _family(
        "disk_pre_eol",
        "gauge",
        "The disk's spare blocks; 1 normal, 2 warning (80 % used), 3 urgent (90 %).",
        alone(_PRE_EOL.get(disk["pre_eol"])),
    )
    yield from _family(
        "disk_written_bytes_total",
        "counter",
        "Bytes that this process has had written since it began.",
        alone(disk["written_bytes"]),
    )
    yield from _family(
        "starts_total",
        "counter",
        "Starts since the data folder was made, by how the run before ended.",
        (({"cause": cause}, n) for cause, n in status["starts_by_cause"].items()),
    )
    yield from _family(
        "records_dropped_total", "counter", "Records dropped by the outbox.", alone(status["records_dropped"])
    )
    yield from _family(
        "announcements_refused_total",
        "counter",
        "Announcements that the county did not take.",
        alone(status["announcements_refused"]),
    )
    yield from _family(
        "shed_total",
        "counter",
        "Everything dropped, by reason.",
        (({"reason": r}, n) for r, n in status["shed"].items()),
    )
    contact_ns = status["last_contact_ns"]
    yield from _family(
        "uplink_contact_age_seconds",
        "gauge",
        "Since the county's last good answer.",
        alone((now_ns - contact_ns) / _NS_PER_S if contact_ns else None),
    )
    yield from _family(
        "clock_step_seconds",
        "gauge",
        "System clock before the time line.",
        alone(status["system_clock_ahead_ms"] / 1000),
    )
    ahead_ms = status["county_clock_ahead_ms"]
    yield from _family(
        "clock_county_ahead_seconds",
        "gauge",
        "The county's clock before ours.",
        alone(None if ahead_ms is None else ahead_ms / 1000),
    )
    yield from _family(
        "clock_doubtful", "gauge", "1 where records bear the clock's flag.", alone(int(status["clock_is_doubtful"]))
    )
    yield from _family(
        "device_connected",
        "gauge",
        "1 while proven connected.",
        (({"device": d["id"]}, int(d["connected"])) for d in devices),
    )
    yield from _family(
        "device_state",
        "gauge",
        "1 for the state of the device.",
        (({"device": d["id"], "state": d["state"]}, 1) for d in devices),
    )
    yield from _family(
        "device_samples_total",
        "counter",
        "Samples by quality.",
        (({"device": d["id"], "quality": q}, d[q]) for d in devices for q in ("good", "bad")),
    )
    yield from _family(
        "link_connected",
        "gauge",
        "1 while the link stands.",
        (({"link": k["link"], "protocol": k["protocol"]}, int(k["state"] == "connected")) for k in links),
    )
    yield from _family(
        "link_connects_total", "counter", "Links made.", (({"link": k["link"]}, k["connects"]) for k in links)
    )
    yield from _family(
        "link_errors_total",
        "counter",
        "Lost links, failed attempts and crashes.",
        (({"link": k["link"], "code": code}, n) for k in links for code, n in k["errors"].items()),
    )
    outputs = status["outputs"]
    yield from _family(
        "output_sent_total",
        "counter",
        "Samples that an output delivered.",
        (({"output": o["id"]}, o["sent"]) for o in outputs),
    )
    yield from _family(
        "output_dropped_total",
        "counter",
        "Samples that an output dropped, by reason.",
        (({"output": o["id"], "reason": r}, n) for o in outputs for r, n in o["dropped"].items()),
    )
    yield from _family(
        "output_queued",
        "gauge",
        "Samples that wait for an output.",
        (({"output": o["id"]}, o["queued"]) for o in outputs),
    )
    yield from _family(
        "output_failing",
        "gauge",
        "1 while an output cannot deliver.",
        (({"output": o["id"]}, int(o["failing"])) for o in outputs),
    )
    yield from _family(
        "output_failures_total",
        "counter",
        "Attempts of an output that failed.",
        (({"output": o["id"]}, o["failures"]) for o in outputs),
    )
    yield from _family(
        "trouble",
        "gauge",
        "1 for every open trouble.",
        (({"subject": t["subject"], "code": t["code"]}, 1) for t in status["troubles"]),
    )
    yield from _family(
        "troubles_total",
        "counter",
        "Troubles opened, by code.",
        (({"code": code}, n) for code, n in status["troubles_opened"].items()),
    )


def _family(name: str, kind: str, meaning: str, series: Series) -> Iterator[str]:
    known = [(labels, value) for labels, value in series if value is not None]
    if not known:
        return
    yield f"# HELP {_PREFIX}{name} {meaning}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
    for labels, value in known:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{_PREFIX}{name}{f'{{{inner}}}' if inner else ''} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
