"""The state of an old machine, inferred from the power its meter shows."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.model import PowerThresholds
from gateway.clock import NS_PER_S
from metrics.record import MachineState


@dataclass(slots=True)
class PowerState:
    """Hysteresis against a power that wanders about a threshold, dwell against short peaks."""

    state: int = MachineState.UNKNOWN
    candidate: int = MachineState.UNKNOWN
    candidate_ns: int = 0

    def forget(self) -> None:
        """The power is unknown: so is the state, until the next reading."""
        self.state = self.candidate = MachineState.UNKNOWN

    def take(self, power_kw: float, at_ns: int, limits: PowerThresholds) -> tuple[int, int] | None:
        """A reading of the power. Returns (since ns, state) where the state changed, else None.

        A changed state counts from the reading that first showed it; the first state after an unknown
        one counts at once.
        """
        found = self._wanted(power_kw, limits)
        if found == self.state:
            self.candidate = found
            return None
        if self.state == MachineState.UNKNOWN:
            self.state = self.candidate = found
            return at_ns, found
        if found != self.candidate:
            self.candidate, self.candidate_ns = found, at_ns
        if at_ns - self.candidate_ns < limits.dwell_s * NS_PER_S:
            return None
        self.state = found
        return self.candidate_ns, found

    def _wanted(self, power_kw: float, limits: PowerThresholds) -> int:
        off_limit, running_limit = limits.off_below_kw, limits.running_above_kw
        if self.state == MachineState.OFF:
            off_limit += limits.hysteresis_kw
        if self.state == MachineState.RUNNING:
            running_limit -= limits.hysteresis_kw
        if power_kw < off_limit:
            return MachineState.OFF
        return MachineState.RUNNING if power_kw > running_limit else MachineState.IDLE
