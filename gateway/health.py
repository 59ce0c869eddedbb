"""Whether the gateway is alive, and whether it does its whole job."""

from __future__ import annotations

from typing import Final

from collectors.model import Trouble
from gateway import outbox_troubles, uplink_troubles
from gateway.keeper import Keeper
from gateway.troubles import Troubles
from gateway.watchdog import Progress

_OF_THE_JOB: Final = frozenset(
    {outbox_troubles.DISK, outbox_troubles.FOLDER, uplink_troubles.SUBJECT, uplink_troubles.HARDWARE}
)
"""Subjects whose troubles keep records from being kept or delivered."""
_HOLDS_BACK: Final = frozenset({"time_not_known"})
"""Codes of other troubles that hold records back."""
_STALLED: Final = {
    "loop": ("主循环", "the main loop"),
    "checkpoint": ("检查点", "the checkpoint"),
    "window": ("窗口结算", "the closing of windows"),
}


class Health:
    """Reads what the parts say; the same progress feeds systemd's watchdog."""

    def __init__(self, progress: Progress, keeper: Keeper, troubles: Troubles) -> None:
        self._progress, self._keeper, self._troubles = progress, keeper, troubles

    def stalls(self) -> list[Trouble]:
        """What does not go on; empty while the gateway is alive."""
        return [
            Trouble(
                f"gateway/{name}",
                "stalled",
                f"{_STALLED[name][0]}停滞不前。",
                f"{_STALLED[name][1]} does not go on.",
                "请检查存储卡；若无看门狗，请重启网关。",
                "Check the card; restart the gateway where no watchdog does.",
            )
            for name in self._progress.stalls()
        ]

    def reasons(self) -> list[Trouble]:
        """Why the gateway is not ready: records are not kept, or do not reach the county. Machines that are
        switched off are no reason."""
        found = self.stalls()
        if not self._keeper.is_safe:
            found.append(
                Trouble(
                    "gateway",
                    "starting",
                    "网关正在启动，还没有写入检查点。",
                    "the gateway is starting: no checkpoint is written yet.",
                    "请稍候。",
                    "Wait a moment.",
                )
            )
        listed = self._troubles.listed()
        return found + [t for t in listed if t.subject in _OF_THE_JOB or t.code in _HOLDS_BACK]
