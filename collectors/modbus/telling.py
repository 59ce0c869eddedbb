"""What people are told of a Modbus link and its units: the cause, and the next step, in both languages."""

from __future__ import annotations

from typing import Final

from collectors.modbus.address import LinkAddress, lasting_name
from collectors.model import Trouble

_EXCEPTIONS: Final = {
    1: ("不支持该功能码", "function not supported"),
    2: ("寄存器地址不存在", "no such register"),
    3: ("数量不允许", "count not permitted"),
    4: ("设备故障", "device failure"),
    5: ("处理中", "still working on it"),
    6: ("设备忙", "device busy"),
}
"""What the exception codes mean (Modbus Application Protocol V1.1b3, 7)."""
SILENT_NEXT_ZH: Final = "检查设备电源、接线（A/B 是否接反）、站号和波特率。"
SILENT_NEXT_EN: Final = "check the device's power, its wiring (A and B swapped?), unit id and baud rate."


def well(subject: str) -> Trouble:
    """All is well again."""
    return Trouble(subject, "")


def silent(subject: str, unit: int) -> Trouble:
    """A unit does not answer on a link that lives."""
    return Trouble(
        subject,
        "modbus.unit-silent",
        f"站号 {unit} 没有应答。",
        f"unit {unit} does not answer.",
        SILENT_NEXT_ZH,
        SILENT_NEXT_EN,
    )


def slow(subject: str, unit: int, took_s: float, limit_s: float) -> Trouble:
    """A unit answers, but later than anybody waits for it."""
    return Trouble(
        subject,
        "modbus.unit-slow",
        f"站号 {unit} 用了 {took_s:.2f} 秒才应答，超过等待时间 {limit_s:.2f} 秒。",
        f"unit {unit} took {took_s:.2f} s to answer, longer than the time limit of {limit_s:.2f} s.",
        f"在条目里把 timeout_ms 增大到 {int(1500 * took_s)} 左右。",
        f"raise timeout_ms in its entry to about {int(1500 * took_s)}.",
    )


def doubtful(subject: str, unit: int, why: str) -> Trouble:
    """What a unit sends is no reply to what was asked."""
    return Trouble(
        subject,
        "modbus.reply-doubtful",
        f"站号 {unit} 的应答不可信（{why}），已丢弃。",
        f"replies of unit {unit} cannot be trusted ({why}) and were dropped.",
        "检查协议（modbus-tcp 还是 modbus-rtu-tcp）、波特率、是否有另一个主站、线路干扰和终端电阻。",
        "check the framing (modbus-tcp or modbus-rtu-tcp), baud rate, a second master, and noise or termination.",
    )


def refused(subject: str, code: int) -> Trouble:
    """A unit answers with an exception."""
    zh, en = _EXCEPTIONS.get(code, ("未知", "unknown"))
    return Trouble(
        subject,
        f"modbus.exception-{code}",
        f"设备拒绝读取部分寄存器（异常码 {code}：{zh}）。",
        f"the device refuses to read some registers (exception {code}: {en}).",
        "检查型号文件是否与设备型号、固件版本一致。",
        "check that the profile fits the device's model and firmware.",
    )


def unstable_path(address: LinkAddress) -> Trouble | None:
    """A line's name may belong to another adapter after the next start; None where it lasts."""
    name = lasting_name(address)
    if name is None:
        return None
    return Trouble(
        address.url,
        "modbus.unstable-path",
        f"{address.path} 按插入顺序编号，重启或换口后可能变成另一个转换器。",
        f"{address.path} is numbered by plugging order: after a restart it may be another adapter.",
        f"请改用 {name or '/dev/serial/by-id/ 下的名称'}。",
        f"use {name or 'its name below /dev/serial/by-id/'}.",
    )


def overloaded(subject: str, cycle_s: float, period_s: float) -> Trouble:
    """A link needs longer for all its devices than they are to be read in."""
    return Trouble(
        subject,
        "modbus.link-overloaded",
        f"读完所有设备需要 {cycle_s:.1f} 秒，超过读取周期 {period_s:g} 秒，实际按能达到的速度读取。",
        f"reading all devices takes {cycle_s:.1f} s, longer than the period of {period_s:g} s: "
        "they are read as fast as it goes.",
        "提高波特率，把设备分到几条线上，或在条目里写 every_s 放慢读取。",
        "raise the baud rate, spread the devices over several lines, or slow them down with every_s in the entries.",
    )
