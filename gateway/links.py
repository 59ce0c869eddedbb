"""The collectors of a plant's file, made without opening anything."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from inspect import signature

from collectors.base import Collector
from collectors.model import Clock
from gateway.config import PlantConfig


@dataclass(frozen=True, slots=True)
class Link:
    """A collector and the protocol it speaks."""

    protocol: str
    collector: Collector

    @property
    def name(self) -> str:
        """The link's address, unique in a gateway."""
        return self.collector.link

    @property
    def entries(self) -> frozenset[str]:
        """Ids of the entries that it reads."""
        return frozenset(self.collector.entries)


def make_links(config: PlantConfig, clock: Clock, *, looking: bool = False) -> list[Link]:
    """The collectors of every configured entry; imports only the protocols in use.

    `looking`: for a person's tool, which goes without encryption where nothing else is open to it, and
    takes no running gateway's place.
    Raises FileError, ConfigError: before anything is opened.
    """
    links: list[Link] = []
    for protocol, entries in config.entries.items():
        factory = importlib.import_module(f"collectors.{protocol}.factory")
        state_folder = config.gateway.data_dir / protocol
        own = {"looking": looking} if "looking" in signature(factory.collectors_for).parameters else {}
        found = factory.collectors_for(entries, clock, config.gateway.profile_folders, state_folder, **own)
        links.extend(Link(protocol, collector) for collector in found)
    return links
