"""Why the last run ended, found out at the start: an order, a killed process, a machine that stopped, its watchdog.

The data folder keeps the last starts in a small file. A run that ends in order says so there; one that did not is told
apart by the boot in which it ran. Programs that do not know the file leave it alone.
"""

from __future__ import annotations

from collections import Counter as Counts
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import structlog

from gateway.secret_file import secret_file

FILE: Final = "starts.json"
MOST: Final = 20
"""Starts that are kept."""
_CARD_RESET: Final = 0x20
"""WDIOF_CARDRESET of the kernel's watchdog interface: the last reset was the watchdog's."""
_ROOT: Final = Path("/")
_log = structlog.get_logger("gateway")

Cause = Literal["first", "ordered", "killed", "machine", "watchdog", "unknown"]
"""How the run before ended. `first`: there was none; `ordered`: stopped by an order; `killed`: the process alone ended,
within the same boot; `machine`: the machine went down with it, by a power cut or a reset; `watchdog`: the hardware
watchdog reset it."""


class Start(msgspec.Struct, frozen=True):
    """One start of the gateway. `at_ns` on the time line, 0: the time was not known."""

    at_ns: int
    boot: str
    """Which boot of the machine that was; blank where nobody knows."""
    cause: Cause


class _Kept(msgspec.Struct):
    starts: list[Start] = msgspec.field(default_factory=list)
    """The latest last."""
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    """Of all starts, by cause."""
    is_ended: bool = False
    """Whether the last of them was stopped in order."""


class Starts:
    """The starts of one data folder. Everything blocks for as long as a small file takes."""

    def __init__(self, data_dir: Path | None = None, root: Path = _ROOT) -> None:
        self._path = None if data_dir is None else data_dir / FILE
        self._root = root
        self._kept = _Kept()

    @property
    def counts(self) -> Counts[str]:
        """Starts since the data folder was made, by how the run before ended."""
        return Counts(self._kept.counts)

    def begin(self, at_ns: int, boot: str) -> None:
        """This run starts: find out how the last one ended."""
        kept, is_readable = self._read()
        cause = self._cause(kept, boot) if is_readable else "unknown"
        kept.starts = [*kept.starts, Start(at_ns, boot, cause)][-MOST:]
        kept.counts[cause] = kept.counts.get(cause, 0) + 1
        kept.is_ended = False
        self._kept = kept
        _log.info("started", last_run_ended=cause)
        self._write()

    @property
    def is_undated(self) -> bool:
        """Whether nobody knew yet when this run started."""
        return bool(self._kept.starts) and not self._kept.starts[-1].at_ns

    def date(self, at_ns: int) -> None:
        """The time is known now: this run started at `at_ns`."""
        self._kept.starts[-1] = msgspec.structs.replace(self._kept.starts[-1], at_ns=at_ns)
        self._write()

    def end(self) -> None:
        """This run ends in order."""
        if self._kept.starts:
            self._kept.is_ended = True
            self._write()

    def as_json(self) -> dict[str, Any]:
        """For the status: the starts, the latest first, and how many there were, by cause."""
        return {
            "starts": msgspec.to_builtins(self._kept.starts[::-1]),
            "starts_by_cause": dict(self._kept.counts),
        }

    def _cause(self, kept: _Kept, boot: str) -> Cause:
        if not kept.starts:
            return "first"
        last = kept.starts[-1]
        if kept.is_ended:
            return "ordered"
        if not boot or not last.boot:
            return "unknown"
        if boot == last.boot:
            return "killed"
        return "watchdog" if self._was_reset_by_watchdog() else "machine"

    def _was_reset_by_watchdog(self) -> bool:
        for path in sorted((self._root / "sys/class/watchdog").glob("watchdog*/bootstatus")):
            try:
                if int(path.read_text(encoding="ascii"), 0) & _CARD_RESET:
                    return True
            except (OSError, ValueError):
                continue
        return False

    def _read(self) -> tuple[_Kept, bool]:
        if self._path is None:
            return _Kept(), True
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Kept), True
        except FileNotFoundError:
            return _Kept(), True
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            _log.warning("the list of starts cannot be read: begun anew", file=str(self._path), error=str(error))
            return _Kept(), False

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            with secret_file(self._path) as write:
                write(msgspec.json.encode(self._kept).decode() + "\n")
        except OSError as error:
            _log.warning("the list of starts cannot be kept", file=str(self._path), error=str(error))
