"""Every word of the local page, in Chinese and English."""

from __future__ import annotations

from typing import Final, Literal

from aiohttp import web

Language = Literal["zh", "en"]
LANGUAGE_COOKIE: Final = "plantpulse-language"

TEXTS: Final[dict[str, tuple[str, str]]] = {
    "product": ("厂脉网关", "PlantPulse gateway"),
    "other_language": ("English", "中文"),
    "overview": ("概览", "Overview"),
    "sent": ("上报内容", "Sent to the county"),
    "log_in": ("登录", "Sign in"),
    "log_out": ("退出", "Sign out"),
    "password": ("密码", "Password"),
    "wrong_password": ("密码不正确，请重试。", "Wrong password. Try again."),
    "too_many": ("错误次数太多，请一分钟后再试。", "Too many attempts. Try again in a minute."),
    "stale": ("页面未能更新，数据可能是旧的。", "The page could not be refreshed: what it shows may be old."),
    "ready": ("上报正常：记录已保存，县里能收到。", "Reporting works: records are kept and reach the county."),
    "not_ready": ("有问题需要处理", "Something needs attention"),
    "next_step": ("怎么办", "Next step"),
    "troubles": ("问题与处理办法", "Troubles and next steps"),
    "no_troubles": ("没有问题。", "None."),
    "devices": ("设备", "Devices"),
    "device": ("设备", "Device"),
    "connected_devices": ("已连接设备", "Devices connected"),
    "connection": ("连接", "Connection"),
    "connected": ("已连接", "connected"),
    "not_connected": ("未连接", "not connected"),
    "state": ("状态", "State"),
    "state_unknown": ("未知", "unknown"),
    "state_running": ("运行", "running"),
    "state_idle": ("待机", "idle"),
    "state_fault": ("故障", "fault"),
    "state_off": ("停机", "off"),
    "since": ("持续", "For"),
    "last_proof": ("最近应答", "Last heard"),
    "never": ("从未", "never"),
    "ago": ("前", "ago"),
    "profile": ("型号", "Profile"),
    "address": ("地址", "Address"),
    "samples": ("样本 好/坏", "Samples good/bad"),
    "retry": ("立即重试", "Try again now"),
    "retried": ("已要求立即重试：", "Asked again now: "),
    "retried_none": ("没有正在等待的设备或链路。", "Nothing was waiting."),
    "values": ("最新数值", "Last values"),
    "no_values": ("还没有读到数值。", "No value has been read yet."),
    "not_found_yet": ("还没有找到这台设备。", "This device has not been found yet."),
    "tag": ("点", "Tag"),
    "value": ("数值", "Value"),
    "unit": ("单位", "Unit"),
    "quality": ("质量", "Quality"),
    "quality_good": ("好", "good"),
    "quality_uncertain": ("存疑", "uncertain"),
    "quality_bad": ("坏", "bad"),
    "quality_none": ("—", "—"),
    "age": ("距今", "Age"),
    "source_time": ("设备时间", "Device's time"),
    "links": ("链路", "Links"),
    "link": ("链路", "Link"),
    "link_connecting": ("连接中", "connecting"),
    "link_connected": ("已连接", "connected"),
    "link_waiting": ("等待重连", "waiting to reconnect"),
    "link_stopped": ("已停止，需人工处理", "stopped, a person must act"),
    "connects": ("连接次数", "Connects"),
    "errors": ("错误", "Errors"),
    "outputs": ("厂内转发", "Outputs within the plant"),
    "output": ("输出", "Output"),
    "output_target": ("目的地", "Where to"),
    "output_state": ("状态", "State"),
    "output_good": ("正常", "delivering"),
    "output_failing": ("送不出去", "cannot deliver"),
    "output_sent": ("已送样本", "Samples delivered"),
    "output_queued": ("等待", "Waiting"),
    "last_sent": ("最近一次送出", "Last delivered"),
    "outbox": ("待发库", "Outbox"),
    "unsent": ("未送达", "Unsent"),
    "records": ("条记录", "records"),
    "batches": ("批", "batches"),
    "oldest_unsent": ("最旧的未送达", "Oldest unsent"),
    "days_to_full": ("预计写满", "Full in"),
    "days": ("天", "days"),
    "not_known": ("未知", "not known"),
    "none": ("无", "none"),
    "disk_free": ("磁盘剩余", "Disk free"),
    "disk_life": ("存储寿命已用", "Disk's life used"),
    "disk_life_beyond": ("已超过额定寿命", "beyond its rated life"),
    "disk_life_most": ("最多", "at most"),
    "pre_eol_warning": ("备用块已用 80 %", "80 % of spare blocks used"),
    "pre_eol_urgent": ("备用块已用 90 %", "90 % of spare blocks used"),
    "disk_written": ("启动以来写入", "Written since the start"),
    "time_unknown": ("时间未知", "time not known"),
    "last_end": ("上次运行的结束", "How the last run ended"),
    "starts": ("历次启动", "Starts"),
    "end_first": ("这是第一次启动", "this is the first start"),
    "end_ordered": ("按命令停止", "stopped in order"),
    "end_killed": (
        "进程中途退出（被杀死、崩溃或内存不足）",
        "the process alone ended (killed, crashed, no memory)",
    ),
    "end_machine": ("机器停电或被复位", "the machine lost its power, or was reset"),
    "end_watchdog": ("机器卡死，由硬件看门狗复位", "the machine hung; its hardware watchdog reset it"),
    "end_unknown": ("未知", "not known"),
    "set_aside": ("被拒批次", "Refused batches"),
    "set_aside_title": ("县级拒收、已搁置的批次", "Batches that the county refused, set aside"),
    "set_aside_latest": ("只列最近的 20 批。", "Only the latest 20 are listed."),
    "set_aside_next": (
        "不会再发送。在本机用 plantpulse-gateway set-aside 查看内容；把 bundle 的存档交给软件维护方。",
        "They are not sent again. plantpulse-gateway set-aside shows them here; give a bundle to the maintainers.",
    ),
    "when": ("时间", "When"),
    "batch_number": ("纪元/序号", "Epoch/sequence"),
    "rows": ("行数", "Rows"),
    "county_words": ("县级原话", "The county's words"),
    "dropped": ("丢弃的记录", "Records dropped"),
    "shed": ("丢弃计数", "Drops by reason"),
    "uplink": ("上行", "Uplink"),
    "county": ("县级服务", "County service"),
    "last_contact": ("最近一次应答", "Last answer"),
    "records_sent": ("已送达记录", "Records delivered"),
    "clock": ("时钟", "Clock"),
    "gateway_time": ("网关时间", "Gateway's time"),
    "county_ahead": ("县级时钟超前", "County's clock ahead by"),
    "system_ahead": ("系统时钟超前", "System clock ahead by"),
    "clock_good": ("可信", "trusted"),
    "clock_doubtful": ("不可信，记录已标记", "doubtful; records are flagged"),
    "time_not_known": ("还不知道现在几点，记录稍后补日期", "the time is not known yet; records get their dates later"),
    "clock_behind": ("设备时钟落后", "Device's clock behind by"),
    "configuration": ("配置", "Configuration"),
    "file": ("文件", "File"),
    "applied": ("生效于", "In force since"),
    "config_digest": ("配置指纹", "Digest of the configuration"),
    "reloads": ("运行中更新次数", "Changes while running"),
    "running_for": ("已运行", "Running for"),
    "sent_explained": (
        "下面就是本网关最近一次送到县里的全部内容，原样解码。原始读数不出厂。",
        "This is exactly what this gateway last sent to the county, decoded. Raw readings stay in the plant.",
    ),
    "sent_records": ("最近一批记录", "Last batch of records"),
    "sent_presence": ("最近一次在线状态", "Last presence"),
    "sent_announcements": ("最近一次设备说明", "Last announcements"),
    "nothing_sent": ("启动以来还没有送出。", "Nothing was sent since the start."),
    "sent_at": ("送达时间", "Taken at"),
    "bytes": ("字节", "bytes"),
    "sequence": ("序号", "sequence"),
    "gaps": ("缺口说明", "Gaps told"),
    "whole_as_json": ("全部内容（JSON）", "All of it (JSON)"),
    "first_rows": ("只显示前 200 行。", "Only the first 200 rows are shown."),
    "back": ("返回概览", "Back to the overview"),
    "second": ("秒", "s"),
    "minute": ("分", "min"),
    "hour": ("小时", "h"),
    "day": ("天", "d"),
    "local_time": ("时间为北京时间（UTC+8）。", "Times are in UTC+8."),
}


def language_of(request: web.Request) -> Language:
    """What was asked for, else what was chosen before, else what the browser prefers; Chinese by default."""
    for wanted in (request.query.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if wanted in ("zh", "en"):
            return "zh" if wanted == "zh" else "en"
    for part in request.headers.get("Accept-Language", "").split(","):
        name = part.split(";")[0].strip().lower()
        if name.startswith("en"):
            return "en"
        if name.startswith("zh"):
            return "zh"
    return "zh"


def text(key: str, language: Language) -> str:
    """The words of a key. Raises KeyError."""
    return TEXTS[key][0 if language == "zh" else 1]
