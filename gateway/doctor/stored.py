"""The check of the outbox: what waits, what was set aside, what was dropped."""

from __future__ import annotations

import sqlite3
from typing import Final

from collectors.causes import cause_of
from gateway.clock import NS_PER_S
from gateway.config import PlantConfig
from gateway.doctor.findings import Finding
from gateway.moving import OUTBOX, whereabouts
from gateway.outbox.view import look

OLD_S: Final = 900
_HOUR_S: Final = 3600


def outbox(config: PlantConfig, now_ns: int) -> Finding:
    """How the outbox is."""
    path = whereabouts(config.gateway.data_dir) / OUTBOX
    subject = str(path)
    try:
        view = look(path)
    except FileNotFoundError:
        return Finding("outbox", "ok", "待发库还没有建立。", "there is no outbox yet.", subject=subject)
    except (OSError, sqlite3.Error, ValueError) as error:
        return Finding(
            "outbox",
            "fail",
            f"待发库无法读取（{cause_of(error).zh}）。",
            f"the outbox cannot be read ({cause_of(error).en}).",
            "以网关的用户再运行一次；仍不行就重启网关：损坏的文件会自动搁置，能救出的批次自动接回。",
            "Run this as the gateway's user; if that does not help restart the gateway: a damaged file is set aside by "
            "itself and what can be read is carried over.",
            subject,
        )
    unsent = view.batches.get("unsent", 0)
    oldest_s = max(0, now_ns - view.oldest_unsent_ns) // NS_PER_S if view.oldest_unsent_ns else 0
    dropped = int(view.meta.get("dropped_rows") or 0)
    values = {
        "unsent_batches": unsent,
        "oldest_unsent_s": oldest_s,
        "confirmed_batches": view.batches.get("acked", 0),
        "set_aside_batches": view.batches.get("poisoned", 0),
        "dropped_rows": dropped,
        "body_bytes": view.body_bytes,
    }
    if view.gateway != config.site:
        return Finding(
            "outbox",
            "fail",
            f"待发库属于 {view.gateway}，不属于 {config.site}。",
            f"the outbox belongs to {view.gateway}, not to {config.site}.",
            "请改回 site，或换一个 data_dir。",
            "Restore site, or use another data_dir.",
            subject,
            values,
        )
    zh = f"{unsent} 批待发，{values['set_aside_batches']} 批搁置，累计丢弃 {dropped} 行。"
    en = f"{unsent} batches wait, {values['set_aside_batches']} set aside, {dropped} rows dropped since it was made."
    if oldest_s > OLD_S:
        return Finding(
            "outbox",
            "warn",
            f"{zh}最旧的已等了 {oldest_s / _HOUR_S:.1f} 小时。",
            f"{en} The oldest has waited for {oldest_s / _HOUR_S:.1f} h.",
            "数据没有丢。请看上面与县级服务有关的检查，恢复后会自动补发。",
            "Nothing is lost. See the checks of the county above; what waits is sent once it is back.",
            subject,
            values,
        )
    if values["set_aside_batches"] or dropped:
        return Finding(
            "outbox",
            "warn",
            zh,
            en,
            "搁置或丢弃过数据：请执行 plantpulse-gateway bundle，把存档交给软件维护方。",
            "Data was set aside or dropped: run plantpulse-gateway bundle and give the archive to the maintainers.",
            subject,
            values,
        )
    return Finding("outbox", "ok", zh, en, subject=subject, values=values)
