"""Orders to an OPC UA simulator: faults that a running server is told to have."""

from __future__ import annotations

from typing import Any, Final

from simulators.opcua_server import OpcuaMachines
from simulators.orders import OrderError

COMMANDS: Final = (
    "silent | speak | drop | forget | refuse | accept | unplug ID | plug ID | hold ID | release ID | delete ID NAME"
    " | slow SECONDS | clock SECONDS | restart [NAMESPACE …]"
)
"""What each does: docs/developers/simulators.md."""


async def obey(plant: OpcuaMachines, line: str) -> dict[str, Any]:
    """Follow one order of COMMANDS and give its answer. Raises OrderError."""
    try:
        is_known = await _follow(plant, *line.split())
    except (KeyError, ValueError) as error:
        raise OrderError(f"{line}：没有 {error} / there is no {error}") from error
    if not is_known:
        raise OrderError(f"不认识的命令 {line!r}；可用：{COMMANDS} / unknown order; one of: {COMMANDS}")
    return {"ok": line}


async def _follow(plant: OpcuaMachines, order: str, *given: str) -> bool:
    faults = plant.faults
    match order, given:
        case (("silent" | "speak"), ()):
            faults.is_silent = order == "silent"
        case (("refuse" | "accept"), ()):
            faults.refuses_sessions = order == "refuse"
        case "drop", ():
            await plant.expire_sessions()
        case "forget", ():
            plant.forget_sessions()
        case "unplug", (machine,):
            await plant.unplug(machine)
        case "plug", (machine,):
            await plant.plug(machine)
        case "hold", (machine,):
            plant.machine(machine).hold()
        case "release", (machine,):
            plant.machine(machine).release()
        case "delete", (machine, name):
            await plant.delete_node(machine, name)
        case "slow", (seconds,):
            faults.answers_after_s = float(seconds)
        case "clock", (seconds,):
            faults.clock_ahead_s = float(seconds)
        case "restart", namespaces:
            await plant.restart(namespaces)
        case _:
            return False
    return True
