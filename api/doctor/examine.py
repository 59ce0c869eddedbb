"""Everything that `plantpulse-county doctor` looks at, in the order in which a person would mend it."""

from __future__ import annotations

from api.clock import Clock
from api.doctor import machine, network, stores
from api.doctor.finding import Finding
from api.register.database import open_register
from api.settings import Settings


def examine(settings: Settings, clock: Clock) -> list[Finding]:
    """Look at everything. Changes nothing, and works beside the running service or without one."""
    found: list[Finding] = [machine.data_folder(settings), machine.disk(settings)]
    found += machine.secrets(settings)
    if not settings.register_url and not (settings.data_dir / "register.sqlite").is_file():
        none = Finding(
            "register",
            "warning",
            "台账尚未建立",
            "there is no register yet",
            "运行 plantpulse-county serve",
            "run plantpulse-county serve",
        )
        return [*found, machine.clock(clock, None), none, *network.service(settings)]
    engine = open_register(settings.register_address)
    try:
        of_register = list(stores.register(engine))
        of_journal, look = stores.journal(settings, engine, clock)
        found.append(machine.clock(clock, None if look is None else look.size.newest_ns))
        found += [*of_register, *of_journal, stores.store(settings), stores.gateways(engine, look)]
    finally:
        engine.dispose()
    return [*found, *network.service(settings), *network.certificates(settings, clock)]
