"""The collector of one OPC UA server: finds its machines, subscribes to them, hands over samples and proofs.

A machine is proven connected while the subscription's keep-alive is fresh and not all of its nodes
are bad. The first value of each node after a subscription is the state now (`source_ns` 0); all
others keep the machine's own time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from asyncua import ua

from collectors.model import Batch, Clock, Device, Identity, LinkError, Proof, Quality, Trouble
from collectors.opcua.address_space import AddressSpace
from collectors.opcua.config import OpcuaEntry
from collectors.opcua.inbox import DEFAULT_LIMIT, Chunk, Inbox
from collectors.opcua.profile import OpcuaProfile
from collectors.opcua.recognise import Item, Machine, machines, named_nodes
from collectors.opcua.security.opening import WITHOUT_SECURITY, Access
from collectors.opcua.session import Session, silent, wrapped
from collectors.opcua.values import NAN, has_overflowed, reading, source_ns_of
from metrics.record import Evidence

RECONNECT_S: Final = 5.0
_MOST_DEVICES_PER_ENTRY: Final = 1_000


@dataclass(slots=True)
class _Input:
    """One input of a state: its latest value, None while bad, and whether it has come at all."""

    value: float | None = None
    quality: Quality = Quality.BAD
    known: bool = False


@dataclass(slots=True)
class _Watched:
    """One device of the present session."""

    device: Device
    machine: Machine
    liveness_s: float
    number: int
    inputs: list[_Input]
    good: set[int] = field(default_factory=set)
    """Handles of its nodes that are not bad at present."""
    state_given: bool = False
    down: bool = False
    """All of its nodes are bad, and that has been said."""
    lasting: list[Trouble] = field(default_factory=list)
    """What is wrong for the whole session: said again once a passing trouble is over."""

    @property
    def alive(self) -> bool:
        return bool(self.good)


@dataclass(slots=True)
class _Monitored:
    """One monitored item, by its client handle."""

    watched: _Watched
    item: Item
    first: bool = True


class _Change(NamedTuple):
    """A new value of one input of a state."""

    source_ns: int
    slot: int
    value: float | None
    quality: Quality


class OpcuaCollector:
    """One server and every entry that names it; see `collectors.base.Collector`.

    Parameters: `entries` with their `profiles`, all of one address; `clock` of the gateway; `access` to
    the server; `limit` of rows held while nobody reads.
    """

    def __init__(
        self,
        entries: Sequence[tuple[OpcuaEntry, OpcuaProfile]],
        clock: Clock,
        *,
        access: Access = WITHOUT_SECURITY,
        limit: int = DEFAULT_LIMIT,
    ) -> None:
        self.link = entries[0][0].address
        self._access = access
        self.reconnect_s = RECONNECT_S
        self._entries = list(entries)
        self._clock = clock
        self._inbox = Inbox(limit)
        self._session: Session | None = None
        self._lost: LinkError | None = None
        self._news = asyncio.Event()
        self._announced: dict[str, Device] = {}
        self._told: set[tuple[str, str]] = set()
        self._repeated: set[str] = set()
        self._watched: list[_Watched] = []
        self._monitored: list[_Monitored] = []
        self._proofs: dict[str, Proof] = {}
        self._devices: list[Device] = []
        self._troubles: list[Trouble] = []
        self._shed: dict[str, int] = {}

    @property
    def devices(self) -> list[Device]:
        """The devices of the present session."""
        return [watched.device for watched in self._watched]

    @property
    def has_shed(self) -> bool:
        """Whether something was dropped that the next batch will tell."""
        return bool(self._shed)

    async def connect(self) -> None:
        """Open a session, find the machines, subscribe. LinkError, ConfigError."""
        await self.close()
        self._lost = None
        told_before, self._repeated = set(self._told), set()
        self._session = Session(self.link, self._access, self._clock, self._lose)
        await self._session.connect()
        if self._session.unencrypted is not None:
            self._say(self._session.unencrypted)
        self._watch_certificates(self._session, self._clock())
        with wrapped(self.link):
            found = await recognise(await AddressSpace.of(self._session.client), self._entries)
        self._watch(found)
        # one subscription serves every entry of the server, so the most demanding settings hold
        settings = min((profile.subscription for _, profile in self._entries), key=lambda s: s.publishing_s)
        nodes = [monitored.item.node for monitored in self._monitored]
        statuses = await self._session.subscribe(nodes, settings, self._published)
        self._refused([h for h, status in enumerate(statuses) if not status.is_good()], statuses)
        self._clear_what_is_over(told_before)

    async def read(self) -> Batch:
        """Wait for what the server publishes. LinkError once the link is lost and all is handed over."""
        while True:
            if self._has_news():
                return self._take()
            if self._lost is not None:
                raise self._lost
            if self._session is None:
                raise LinkError("opcua.closed", "尚未连接。", "not connected.")
            self._news.clear()
            try:
                async with asyncio.timeout(self._session.silence_s):
                    await self._news.wait()
            except TimeoutError:
                self._lose(silent(self.link, self._session.silence_s))

    async def close(self) -> None:
        """Give the session back. Samples that were not handed over are dropped, and counted."""
        if len(self._inbox):
            self._count("closed", len(self._inbox))
            self._inbox.take()
        self._watched, self._monitored = [], []
        self._proofs.clear()
        session = self._session
        if session is not None:
            await session.close()
            self._session = None

    def _watch(self, found: Sequence[Recognised]) -> None:
        for entry, profile, taken, trouble in found:
            if trouble is not None:
                self._say(trouble)
            for device_id, machine in zip(device_ids(entry, taken), taken, strict=True):
                device = describe(entry, profile, machine, device_id)
                watched = _Watched(
                    device,
                    machine,
                    profile.liveness_s,
                    len(self._watched),
                    [_Input() for _ in range(machine.slots)],
                )
                self._watched.append(watched)
                self._monitored.extend(_Monitored(watched, item) for item in machine.items)
                if self._announced.get(device.id) != device:
                    self._announced[device.id] = device
                    self._devices.append(device)
                for trouble in machine.troubles:
                    self._keep_saying(watched, replace(trouble, subject=device.id))
                if not machine.items:
                    watched.down = True
                    self._keep_saying(watched, _nothing_to_read(device))

    def _refused(self, handles: Sequence[int], statuses: Sequence[Any]) -> None:
        for handle in handles:
            monitored = self._monitored[handle]
            monitored.first = False
            if monitored.item.slot is not None:
                monitored.watched.inputs[monitored.item.slot].known = True
            status = statuses[handle].name
            self._keep_saying(
                monitored.watched,
                Trouble(
                    monitored.watched.device.id,
                    "opcua.node-refused",
                    f"服务器不提供节点 {monitored.item.path}（{status}），其余节点照常读取。",
                    f"the server does not give node {monitored.item.path} ({status}); the others are read as usual.",
                    "请检查服务器的访问权限。",
                    "Check the server's access rights.",
                ),
            )

    def _published(self, result: ua.PublishResult) -> None:
        if self._lost is not None:
            return
        received_ns = self._clock()
        if self._session is not None:
            self._watch_certificates(self._session, received_ns)
        chunk = Chunk.empty(received_ns)
        inputs: dict[int, list[_Change]] = {}
        for notification in result.NotificationMessage.NotificationData or ():
            if isinstance(notification, ua.DataChangeNotification):
                for change in notification.MonitoredItems:
                    self._changed(change.ClientHandle, change.Value, chunk, inputs)
        for number, changes in inputs.items():
            self._derive(self._watched[number], changes, chunk)
        self._inbox.put(chunk)
        if self._inbox.shed_rows:
            self._count("inbox_full", self._inbox.shed_rows)
            self._inbox.shed_rows = 0
        for watched in self._watched:
            self._prove(watched, received_ns)
        self._news.set()

    def _changed(
        self,
        handle: int,
        value: ua.DataValue,
        chunk: Chunk,
        inputs: dict[int, list[_Change]],
    ) -> None:
        if not 0 <= handle < len(self._monitored):
            self._count("unknown_handle", 1)
            return
        monitored = self._monitored[handle]
        watched, item = monitored.watched, monitored.item
        number, quality = reading(value, item.convert)
        if has_overflowed(value):
            self._count("server_queue_overflow", 1)
        if quality is Quality.BAD:
            watched.good.discard(handle)
        else:
            watched.good.add(handle)
        source_ns = 0 if monitored.first else source_ns_of(value)
        monitored.first = False
        if item.tag is not None:
            chunk.add(watched.number, item.tag, number, quality, source_ns)
        elif item.slot is not None:
            known = None if quality is Quality.BAD else number
            inputs.setdefault(watched.number, []).append(_Change(source_ns, item.slot, known, quality))

    def _derive(self, watched: _Watched, changes: list[_Change], chunk: Chunk) -> None:
        """States from the inputs, one for each moment at which some of them changed."""
        if watched.machine.derive is None:
            return
        changes.sort(key=lambda change: change.source_ns)
        for index, (source_ns, slot, value, quality) in enumerate(changes):
            watched.inputs[slot] = _Input(value, quality, known=True)
            if index + 1 < len(changes) and changes[index + 1].source_ns == source_ns:
                continue
            if not all(given.known for given in watched.inputs):
                continue
            state = watched.machine.derive([given.value for given in watched.inputs])
            # the first state is the state now, however old the inputs are
            at_ns = source_ns if watched.state_given else 0
            watched.state_given = True
            if state is None:
                chunk.add(watched.number, 0, NAN, Quality.BAD, at_ns)
            else:
                certain = all(given.quality is Quality.GOOD for given in watched.inputs if given.value is not None)
                chunk.add(watched.number, 0, float(state), Quality.GOOD if certain else Quality.UNCERTAIN, at_ns)

    def _prove(self, watched: _Watched, at_ns: int) -> None:
        device = watched.device.id
        if watched.alive:
            self._proofs[device] = Proof(device, at_ns, watched.liveness_s)
            if watched.down:
                watched.down = False
                self._say(Trouble(device, ""))
                for trouble in watched.lasting:
                    self._say(trouble)
            return
        if watched.down or any(self._monitored_first(watched)):
            return
        watched.down = True
        self._proofs[device] = Proof(device, at_ns, 0.0)
        self._say(
            Trouble(
                device,
                "opcua.all-nodes-bad",
                "服务器在线，但这台机器的所有节点都是坏值。",
                "the server is there, but all nodes of this machine are bad.",
                "请检查服务器与机器之间的连接和机器电源。",
                "Check the link between server and machine, and the machine's power.",
            )
        )

    def _monitored_first(self, watched: _Watched) -> list[bool]:
        return [m.first for m in self._monitored if m.watched is watched]

    def _lose(self, error: LinkError) -> None:
        if self._lost is not None:
            return
        self._lost = error
        at_ns = self._clock()
        for watched in self._watched:
            self._proofs[watched.device.id] = Proof(watched.device.id, at_ns, 0.0)
        self._news.set()

    def _watch_certificates(self, session: Session, now_ns: int) -> None:
        if now_ns >= session.certificates.due_ns:
            for trouble in session.certificates.troubles(now_ns):
                self._say(trouble)

    def _keep_saying(self, watched: _Watched, trouble: Trouble) -> None:
        watched.lasting.append(trouble)
        self._say(trouble)

    def _say(self, trouble: Trouble) -> None:
        """Tell it once: a link that reconnects does not repeat what is known."""
        if not trouble.code:
            self._told = {told for told in self._told if told[0] != trouble.subject}
        elif (trouble.subject, trouble.en) not in self._told:
            self._told.add((trouble.subject, trouble.en))
        else:
            self._repeated.add(trouble.subject)
            return
        self._repeated.add(trouble.subject)
        self._troubles.append(trouble)

    def _clear_what_is_over(self, told_before: set[tuple[str, str]]) -> None:
        """After connecting: what an earlier session told and this one did not is over."""
        for subject in {subject for subject, _ in told_before} - self._repeated:
            self._say(Trouble(subject, ""))

    def _count(self, reason: str, rows: int) -> None:
        self._shed[reason] = self._shed.get(reason, 0) + rows

    def _has_news(self) -> bool:
        return bool(len(self._inbox) or self._proofs or self._devices or self._troubles or self._shed)

    def _take(self) -> Batch:
        batch = Batch(
            samples=[(self._watched[number].device.id, samples) for number, samples in self._inbox.take()],
            proofs=list(self._proofs.values()),
            devices=self._devices,
            troubles=self._troubles,
            shed=self._shed,
        )
        self._proofs, self._devices, self._troubles, self._shed = {}, [], [], {}
        return batch


class Recognised(NamedTuple):
    """The machines that belong to an entry, and what is wrong where there are none."""

    entry: OpcuaEntry
    profile: OpcuaProfile
    machines: list[Machine]
    trouble: Trouble | None = None


async def recognise(space: AddressSpace, entries: Sequence[tuple[OpcuaEntry, OpcuaProfile]]) -> list[Recognised]:
    """Machines by entry; a machine belongs to the first entry whose profile takes its class.

    Raises LinkError where no entry finds any: the server may be starting still.
    """
    shown = await machines(space) if any(p.recognise == "machines" for _, p in entries) else []
    found: list[Recognised] = []
    free = list(shown)
    for entry, profile in entries:
        if profile.recognise == "nodes":
            machine = await named_nodes(space, profile.nodes)
            found.append(Recognised(entry, profile, [replace(machine, device_class=profile.device_class)]))
            continue
        taken = [m for m in free if not profile.classes or m.device_class in profile.classes]
        free = [m for m in free if m not in taken]
        trouble = None if taken else _nothing(entry, shown)
        if len(taken) > _MOST_DEVICES_PER_ENTRY:
            trouble = _too_many(entry, len(taken))
        found.append(Recognised(entry, profile, taken[:_MOST_DEVICES_PER_ENTRY], trouble))
    if not any(recognised.machines for recognised in found):
        nothing = _nothing(entries[0][0], shown)
        raise LinkError(nothing.code, nothing.zh, nothing.en, nothing.next_zh, nothing.next_en)
    return found


def device_ids(entry: OpcuaEntry, found: Sequence[Machine]) -> list[str]:
    """The device id of each machine of an entry: the entry's where there is one, else `id/name`."""
    if len(found) == 1:
        return [entry.id]
    return [f"{entry.id}/{name}" for name in device_names(found)]


def describe(entry: OpcuaEntry, profile: OpcuaProfile, machine: Machine, device_id: str) -> Device:
    """The device that a recognised machine is, as it is announced."""
    energy = machine.counts_energy and profile.recognise == "machines"
    return Device(
        id=device_id,
        entry=entry.id,
        profile=entry.profile,
        address=entry.address,
        device_class=machine.device_class,
        evidence=evidence_of(machine.identity),
        tags=machine.tags,
        liveness_s=profile.liveness_s,
        identity=machine.identity,
        carrier="electricity" if energy else profile.carrier,
        unit="kWh" if energy else profile.unit,
        direction="import" if energy else profile.direction,
    )


def evidence_of(identity: Identity) -> Evidence:
    """Self-identified where the machine says who it is, else native: its own controller answers."""
    said = identity.manufacturer or identity.serial or identity.product_uri
    return Evidence.SELF_IDENTIFIED if said else Evidence.NATIVE


def device_names(found: Sequence[Machine]) -> list[str]:
    """A name for each machine of one entry: serial, else product URI, else browse path; never an order.

    The first of these that is neither blank nor shared by two machines of the entry; where two share
    even the browse path, it is followed by the node's identifier.
    """
    choices: list[Callable[[Machine], str]] = [
        lambda m: m.identity.serial,
        lambda m: m.identity.product_uri,
        lambda m: m.path,
        lambda m: f"{m.path}~{m.root.Identifier}",
    ]
    names = []
    for machine in found:
        for choice in choices:
            name = choice(machine)
            if name and sum(choice(other) == name for other in found) == 1:
                break
        names.append(name.replace("/", "_"))
    return names


def _too_many(entry: OpcuaEntry, shown: int) -> Trouble:
    most = _MOST_DEVICES_PER_ENTRY
    return Trouble(
        entry.id,
        "opcua.too-many-machines",
        f"服务器有 {shown} 台机器，一个条目最多 {most} 台，其余没有读取。",
        f"the server shows {shown} machines; one entry takes {most}, the rest are not read.",
        "请用 classes 不同的型号文件分成多个条目。",
        "Split it into several entries with profiles of different classes.",
    )


def _nothing_to_read(device: Device) -> Trouble:
    return Trouble(
        device.id,
        "opcua.nothing-to-read",
        "这台机器没有给出状态、产量或电量，无法证明它已联网。",
        "this machine gives neither state nor pieces nor energy, so nothing can prove it connected.",
        "请在控制器上启用 MachineryItemState，或写一个指明节点的型号文件。",
        "Switch on MachineryItemState in its controller, or write a profile that names its nodes.",
    )


def _nothing(entry: OpcuaEntry, shown: Sequence[Machine]) -> Trouble:
    if shown:
        seen = ", ".join(f"{m.path} ({m.device_class})" for m in shown)
        return Trouble(
            entry.id,
            "opcua.no-machine-of-class",
            f"服务器上的机器都不属于型号文件 {entry.profile} 的类别：{seen}。",
            f"no machine on the server is of the classes of profile {entry.profile}: {seen}.",
            "请改用 opcua-machinery。",
            "Use the profile opcua-machinery.",
        )
    return Trouble(
        entry.id,
        "opcua.nothing-recognised",
        f"在 {entry.address} 上没有找到配套规范的机器（Machines 与 DeviceSet 均为空）。",
        f"no machine of a companion specification at {entry.address} (Machines and DeviceSet are empty).",
        "运行 plantpulse-gateway browse 查看节点，为它写一个 recognise: nodes 的型号文件。",
        "Run plantpulse-gateway browse to see its nodes and write a profile with recognise: nodes.",
    )
