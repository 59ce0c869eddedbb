"""The collector of one OPC UA server: finds its machines, subscribes to them, hands over samples and proofs.

A machine is proven connected while the subscription's keep-alive is fresh and not all of its nodes
are bad. The first value of each node after a subscription is the state now (`source_ns` 0); all
others keep the machine's own time, also those that the server kept while the link was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from asyncua import ua

from collectors.model import Batch, Clock, Device, LinkError, Proof
from collectors.opcua.address_space import AddressSpace
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.decode import Changes, Publication, changes_of
from collectors.opcua.device_names import DeviceNames
from collectors.opcua.devices import Recognised, describe, nothing_to_read, recognise
from collectors.opcua.errors import lost
from collectors.opcua.handover import Handover
from collectors.opcua.health import Health
from collectors.opcua.inbox import DEFAULT_LIMIT
from collectors.opcua.ladder import Rung, climb
from collectors.opcua.limits import NO_LIMITS, limits_of_server
from collectors.opcua.polling import Polling
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.security.opening import WITHOUT_SECURITY, Access
from collectors.opcua.session import Session, wrapped
from collectors.opcua.subscription import Listener, Subscription
from collectors.opcua.telling import Telling
from collectors.opcua.upkeep import Upkeep
from collectors.opcua.watch import NODE_GONE, Watch, Watched

RECONNECT_S: Final = 5.0
CERTIFICATE: Final = "certificate"
RETRY_S: Final = 300.0
"""A node that the server does not give, and a machine that is not there yet, are looked for this often."""
CLOCK_TOLERANCE_S: Final = 60.0
_LEAST_POLL_S: Final = 2.0


class OpcuaCollector:
    """One server and every entry that names it; see `collectors.base.Collector`.

    Parameters: `entries` with their `profiles`, all of one address; `clock` of the gateway; `access` to
    the server; `limit` of rows held while nobody reads; `retry_s` and `clock_tolerance_s` as the constants say.
    """

    def __init__(
        self,
        entries: Sequence[tuple[OpcuaEntry, OpcuaProfile]],
        clock: Clock,
        *,
        access: Access = WITHOUT_SECURITY,
        limit: int = DEFAULT_LIMIT,
        retry_s: float = RETRY_S,
        clock_tolerance_s: float = CLOCK_TOLERANCE_S,
    ) -> None:
        self.link = entries[0][0].address
        self._access = access
        self.reconnect_s = RECONNECT_S
        self.rung: Rung | None = None
        """How the last `connect` came back after a lost link."""
        self._entries = list(entries)
        # one subscription serves every entry of the server, so the most demanding settings hold
        self._settings = min((profile.subscription for _, profile in entries), key=lambda s: s.publishing_s)
        self._clock, self._retry_s, self._clock_tolerance_s = clock, retry_s, clock_tolerance_s
        self._out = Handover(limit)
        self._session: Session | None = None
        self._subscription: Subscription | None = None
        self._polling: Polling | None = None
        self._upkeep: Upkeep | None = None
        self._lost: LinkError | None = None
        self._failed: BaseException | None = None
        self._news = asyncio.Event()
        self._announced: dict[str, Device] = {}
        self._names = DeviceNames(access.folder)
        self._limits = NO_LIMITS
        self._found: Sequence[Recognised] = ()
        self._watch = Watch(())
        self._polled_handles: list[int] = []
        self._telling = Telling()
        self._health = self._health_of(self._watch)

    @property
    def entries(self) -> tuple[str, ...]:
        """Ids of the entries that name this server."""
        return tuple(entry.id for entry, _ in self._entries)

    @property
    def devices(self) -> list[Device]:
        """The devices of the present session."""
        return [watched.device for watched in self._watch.devices]

    @property
    def has_shed(self) -> bool:
        """Whether something was dropped that the next batch will tell."""
        return bool(self._out.shed)

    async def connect(self) -> None:
        """Open a session, find the machines, subscribe; after a lost link take up what the server still has.

        Raises LinkError, ConfigError.
        """
        self.rung = None
        if self._lost is not None and self._session is not None:
            await self._stop()
            self.rung = await self._climb(self._session)
            self._lost = None
            if self.rung is not Rung.ANEW and self._session is not None:
                self._upkeep = Upkeep(self, self._session, self._retry_s, self._fail)
                self._poll(self._session)
                return
        else:
            await self.close()
        if self._session is None:
            self._session = Session(self.link, self._access, self._clock)
            await self._session.connect()
        await self._begin(self._session)

    async def read(self) -> Batch:
        """Wait for what the server publishes. LinkError once the link is lost and all is handed over.

        A mistake of ours in a task of the session is raised as it is.
        """
        while True:
            if self._out or self._telling:
                return self._out.take(self._id_of, self._telling.take())
            if self._failed is not None:
                raise self._failed
            if self._lost is not None:
                raise self._lost
            if self._session is None:
                raise LinkError("opcua.closed", "尚未连接。", "not connected.")
            self._news.clear()
            await self._news.wait()

    async def adopt(self, fresh: OpcuaCollector, changed: frozenset[str]) -> bool:
        """Watch the entries of `fresh` from now on (see `collectors.base.TakesEntries`), in the session that stands.

        A machine belongs to the first entry that takes it, so all are looked for again, and one subscription
        takes the other's place at once: devices that did not change go on with their state now.
        """
        session = self._session
        if session is None or self._lost is not None or (self.link, self._access) != (fresh.link, fresh._access):
            return False
        upkeep, self._upkeep = self._upkeep, None
        if upkeep is not None:
            await upkeep.stop()
        self._out.name(self._id_of)
        self._out.forget("entry_changed", lambda device: device.split("/", 1)[0] in changed)
        self._announced = {d: device for d, device in self._announced.items() if device.entry not in changed}
        self._entries, self._settings = fresh._entries, fresh._settings
        with wrapped(self.link):
            await self._replace(session, await self._search(session))
        self._upkeep = Upkeep(self, session, self._retry_s, self._fail)
        return True

    async def close(self) -> None:
        """Give the session back. Samples that were not handed over are dropped, and counted.

        A lost link's session cannot be given back: it is kept for the next `connect` to take up again, and
        the server forgets it by itself within a minute.
        """
        await self._stop()
        self._failed = None
        if self._lost is not None and self._session is not None:
            self._session.detach()
            if not self._session.can_resume:
                self._session = None
            return
        self._lost = None
        self._out.name(self._id_of)
        self._out.forget("closed", lambda _: True)
        self._watch, self._subscription = Watch(()), None
        if self._session is not None:
            await self._session.close()
            self._session = None

    # The session --------------------------------------------------------------------------------

    async def _stop(self) -> None:
        """Stop every task of this session."""
        upkeep, self._upkeep = self._upkeep, None
        polling, self._polling = self._polling, None
        for part in (upkeep, polling, self._subscription):
            if part is not None:
                await part.stop()

    async def _climb(self, session: Session) -> Rung:
        subscription = self._subscription
        try:
            if subscription is None or subscription.has_published:
                return await climb(self.link, session, subscription)
            # taken up again, and nothing came: a session of its own is the last thing left to try
            if await session.resume():
                await session.close()
                self._session = None
        except BaseException:
            session.detach()
            raise
        return Rung.ANEW

    async def _begin(self, session: Session) -> None:
        try:
            with wrapped(self.link):
                self._limits = await limits_of_server(session.client)
                await self._watch_over(session, await self._search(session))
        except LinkError as error:
            if isinstance(error.__cause__, OSError | TimeoutError):
                self._lost = error  # it may not be possible to give the session back: it is taken up again
            raise
        self._upkeep = Upkeep(self, session, self._retry_s, self._fail)

    async def _search(self, session: Session) -> list[Recognised]:
        return await recognise(await AddressSpace.of(session.client, self._limits), self._entries)

    def _health_of(self, watch: Watch) -> Health:
        return Health(watch, self._telling, self._retry_s, self._clock_tolerance_s, self._settings.queued)

    async def _watch_over(self, session: Session, found: Sequence[Recognised]) -> None:
        """Subscribe to what was found, instead of what was watched before."""
        self._out.name(self._id_of)
        said_before = self._telling.begin_anew()
        self._tell_session(session)
        self._found = found
        self._watch = Watch(list(self._introduced(found)))
        self._health = self._health_of(self._watch)
        everything = list(range(len(self._watch.items)))
        self._polled_handles, self._subscription = everything, None
        if self._settings.mode == "subscribe":
            subscription = Subscription(self.link, session.client, self._settings, self._limits, self._listener())
            statuses = await subscription.create(self._watch.wanted)
            self._polled_handles = self._health.sort_out(everything, statuses)
            self._subscription = subscription
            subscription.start()
        self._telling.end_of_beginning(said_before)
        self._poll(session)

    def _poll(self, session: Session) -> None:
        if self._polled_handles:
            period_s = self._settings.publishing_s if self._subscription is None else _LEAST_POLL_S
            self._polling = Polling(
                self.link, session.client, self._limits, period_s, self._polled, self._lose, self._fail
            )
            self._polling.start([self._watch.items[h].node for h in self._polled_handles], self._polled_handles)

    def _introduced(self, found: Sequence[Recognised]) -> Iterator[Watched]:
        for entry, profile, taken, trouble in found:
            if trouble is not None:
                self._telling.say(trouble)
            for device_id, machine in zip(self._names.remember(entry.id, taken), taken, strict=True):
                device = describe(entry, profile, machine, device_id)
                watched = Watched(device, machine, profile.liveness_s, profile.subscription.deadband)
                if self._announced.get(device.id) != device:
                    self._announced[device.id] = device
                    self._out.introduce(device)
                for trouble in machine.troubles:
                    self._telling.say(replace(trouble, subject=device.id), trouble.en)
                if not machine.items:
                    watched.is_down = True
                    self._telling.say(nothing_to_read(device))
                yield watched

    # Upkeep -------------------------------------------------------------------------------------

    async def check_nodes(self, session: Session) -> None:
        """Find out which nodes the server has no longer. Raises UaError, OSError, TimeoutError."""
        nodes = [item.node for item in self._watch.items]
        values = await AddressSpace(session.client, (), self._limits).read(nodes)
        gone = [(handle, value) for handle, value in enumerate(values) if value.StatusCode.value in NODE_GONE]
        self._take_in(changes_of(gone), self._clock(), is_live=False)
        self._news.set()

    async def retry_refused(self, session: Session) -> None:
        """Ask again for the nodes that the server did not give. Raises UaError, OSError, TimeoutError."""
        handles = list(self._health.refused)
        if self._subscription is None or not handles:
            return
        for handle in handles:
            self._watch.start_anew(handle)
        statuses = await self._subscription.monitor(self._watch.wanted, handles)
        self._health.sort_out(handles, statuses)

    async def search_again(self, session: Session) -> None:
        """Where something was missing, look for it; subscribe anew where it is there now.

        Raises LinkError, UaError, OSError, TimeoutError.
        """
        if any(r.trouble is not None or any(m.troubles for m in r.machines) for r in self._found):
            found = await self._search(session)
            if _nodes_of(found) != _nodes_of(self._found):
                await self._replace(session, found)

    async def subscribe_anew(self, session: Session) -> None:
        """Begin with the state now. Raises UaError, OSError, TimeoutError."""
        await self._replace(session, self._found)

    async def _replace(self, session: Session, found: Sequence[Recognised]) -> None:
        polling, self._polling = self._polling, None
        try:
            if polling is not None:
                await polling.stop()
            if self._subscription is not None:
                await self._subscription.delete()
            await self._watch_over(session, found)
        except (OSError, TimeoutError, ua.UaError) as error:
            self._lose(lost(self.link, error))  # nothing is watched now, and nobody else would notice
            raise

    # What the server says -----------------------------------------------------------------------

    def _listener(self) -> Listener:
        return Listener(
            on_publication=self._published,
            on_replayed=self._replayed,
            on_gap=self._missed,
            on_doubt=lambda _: self._upkeep.check_nodes() if self._upkeep is not None else None,
            on_undecodable=lambda: self._out.count("undecodable", 1),
            on_lost=self._lose,
            on_failed=self._fail,
        )

    def _published(self, published: Publication) -> None:
        received_ns = self._clock()
        if self._session is not None and received_ns >= self._session.certificates.due_ns:
            self._tell_session(self._session)
        for changes in published.changes:
            self._take_in(changes, received_ns, is_live=True)
        self._prove(received_ns)

    def _replayed(self, published: Publication) -> None:
        """What the server kept during a cut: dated, and no proof of the present."""
        for changes in published.changes:
            self._take_in(changes, self._clock(), is_live=False)
        self._news.set()

    def _polled(self, changes: Changes) -> None:
        received_ns = self._clock()
        self._take_in(changes, received_ns, is_live=True)
        self._prove(received_ns)

    def _missed(self, publications: int) -> None:
        self._out.count("publications_lost", publications)
        self._out.put(self._watch.lost(self._clock()))
        if self._upkeep is not None:
            self._upkeep.begin_anew()
        self._news.set()

    def _take_in(self, changes: Changes, received_ns: int, *, is_live: bool) -> None:
        taken = self._watch.take(changes, received_ns)
        self._out.put(taken.chunk)
        if taken.unknown:
            self._out.count("unknown_handle", taken.unknown)
        if len(taken.overflowed):
            self._out.count("server_queue_overflow", len(taken.overflowed))
        self._health.follow(taken, changes, received_ns, is_live=is_live)

    def _prove(self, at_ns: int) -> None:
        if self._lost is None:
            self._out.prove(self._health.prove(at_ns))
        self._news.set()

    def _lose(self, error: LinkError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        at_ns = self._clock()
        self._out.prove(Proof(device.id, at_ns, 0.0) for device in self.devices)
        self._news.set()

    # What people are told -----------------------------------------------------------------------

    def _tell_session(self, session: Session) -> None:
        if session.unencrypted is not None:
            self._telling.say(session.unencrypted)
        for trouble in session.certificates.troubles(self._clock()):
            self._telling.say(trouble, CERTIFICATE)

    def _fail(self, error: BaseException) -> None:
        self._failed = self._failed or error
        self._news.set()

    def _id_of(self, number: int) -> str:
        return self._watch.devices[number].device.id


def _nodes_of(found: Sequence[Recognised]) -> list[tuple[object, ...]]:
    """What tells one search's result from another's."""
    return [
        (r.entry.id, m.root, m.path, m.identity, m.tags, tuple((i.node, i.tag, i.slot) for i in m.items))
        for r in found
        for m in r.machines
    ]
