"""What is wrong with a device behind a server that answers, in words for the person at the cabinet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collectors.model import Trouble

REFUSED: Final = "opcua.node-refused"
ALL_BAD: Final = "opcua.all-nodes-bad"
OVERFLOW: Final = "opcua.queue-overflow"
WRONG_CLOCK: Final = "opcua.clock-wrong"
_SHOWN: Final = 5


def nodes_refused(device: str, nodes: Sequence[tuple[str, str]], retry_s: float) -> Trouble:
    """Nodes (path, status) that the server does not give; the others are read."""
    listed = ", ".join(f"{path} ({status})" for path, status in nodes[:_SHOWN])
    more = f" … +{len(nodes) - _SHOWN}" if len(nodes) > _SHOWN else ""
    return Trouble(
        device,
        REFUSED,
        f"服务器不提供 {len(nodes)} 个节点：{listed}{more}。其余节点照常读取，每 {retry_s:.0f} 秒重试一次。",
        f"the server does not give {len(nodes)} node(s): {listed}{more}. The others are read as usual; these are"
        f" tried again every {retry_s:.0f} s.",
        "请检查服务器的访问权限，以及节点是否被删除或改名。",
        "Check the server's access rights, and whether the node was deleted or renamed.",
    )


def all_bad(device: str) -> Trouble:
    """The server answers and this machine does not."""
    return Trouble(
        device,
        ALL_BAD,
        "服务器在线，但这台机器的所有节点都是坏值。",
        "the server is there, but all nodes of this machine are bad.",
        "请检查服务器与机器之间的连接和机器电源。",
        "Check the link between server and machine, and the machine's power.",
    )


def absent(device: str) -> Trouble:
    """The server says that the machine is not connected to it."""
    return Trouble(
        device,
        ALL_BAD,
        "服务器在线，但它说这台机器没有连接（IsPresent 为假）。",
        "the server is there, and says that this machine is not connected to it (IsPresent is false).",
        "请检查服务器与机器之间的连接和机器电源。",
        "Check the link between server and machine, and the machine's power.",
    )


def overflowed(device: str, paths: Sequence[str], queue: int) -> Trouble:
    """The server threw values away before we fetched them."""
    listed = ", ".join(paths[:_SHOWN]) + (" …" if len(paths) > _SHOWN else "")
    return Trouble(
        device,
        OVERFLOW,
        f"服务器的队列溢出，丢失了 {listed} 的部分数值；这段时间记为未知。",
        f"the server's queue overflowed and lost values of {listed}; that time is recorded as unknown.",
        f"请求的队列长度为 {queue}。请加大 sampling_s，或检查服务器允许的队列长度和网络。",
        f"Queues of {queue} were asked for. Make sampling_s longer, or check what the server permits, and the network.",
    )


def clock_wrong(device: str, ahead_s: float) -> Trouble:
    """The machine's own time is not ours."""
    way_zh, way_en = ("快", "ahead") if ahead_s > 0 else ("慢", "behind")
    return Trouble(
        device,
        WRONG_CLOCK,
        f"机器的时钟比网关{way_zh} {abs(ahead_s):.0f} 秒；数值按实测偏差换算到网关时间。",
        f"the machine's clock is {abs(ahead_s):.0f} s {way_en} of the gateway's; its times are corrected by the"
        " measured offset.",
        "请在控制器上校准时间，或为它配置 NTP。",
        "Set the controller's clock, or give it an NTP server.",
    )
