"""Why a broker refuses or ends a connection, in plain words: MQTT's reasons, and those that the library gives."""

from __future__ import annotations

from typing import Final

from paho.mqtt.reasoncodes import ReasonCode

from collectors.causes import Cause

_OF_NAME: Final = {
    "Administrative action": Cause("代理的管理员断开了它", "the broker's administrator ended it"),
    "Bad authentication method": Cause("不支持的登录方式", "a way to log in that it does not know"),
    "Bad user name or password": Cause("用户名或密码不对", "bad user name or password"),
    "Banned": Cause("本客户端被代理禁止", "this client is banned"),
    "Client identifier not valid": Cause("代理不接受本客户端的标识", "our client id is not accepted"),
    "Connection rate exceeded": Cause("连接太频繁", "too many connections in a short time"),
    "Keep alive timeout": Cause("心跳超时", "keep-alive ran out"),
    "Malformed packet": Cause("报文格式错误", "a malformed packet"),
    "Message rate too high": Cause("消息太频繁", "too many messages"),
    "Normal disconnection": Cause("代理正常断开", "ended in order by the broker"),
    "Not authorized": Cause("没有权限", "not authorised"),
    "Packet too large": Cause("报文太大", "a packet is too large"),
    "Protocol error": Cause("协议错误", "protocol error"),
    "Quota exceeded": Cause("超过代理的配额", "the broker's quota is used up"),
    "Receive maximum exceeded": Cause("未确认的消息太多", "too many messages without an acknowledgement"),
    "Server busy": Cause("代理太忙", "the broker is busy"),
    "Server shutting down": Cause("代理正在关闭", "the broker shuts down"),
    "Server unavailable": Cause("代理暂不可用", "the broker is not available now"),
    "Session taken over": Cause("同一标识的另一个客户端接管了会话", "another client took the session over"),
    "Unspecified error": Cause("连接中断，对方没有说明原因", "the connection broke, no reason was given"),
    "Unsupported protocol version": Cause("不支持的协议版本", "a protocol version that it does not know"),
}


def reason_of(reason: ReasonCode) -> Cause:
    """A reason in words; a rare one by MQTT's own name."""
    name = str(reason)
    return _OF_NAME.get(name, Cause(f"MQTT：{name}", f"MQTT: {name}"))
