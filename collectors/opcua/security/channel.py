"""asyncua's client with one thing mended: why a server refuses a channel is not lost."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from asyncua import Client

_NEVER_PROBE_S: Final = 86_400.0
"""asyncua's own probe of the server is not needed: keep-alives say the same, sooner."""


class ChannelClient(Client):  # type: ignore[misc]  # asyncua is not checked
    """A client of one server. Parameters: its `address`, `timeout_s` of a request."""

    def __init__(self, address: str, timeout_s: float) -> None:
        super().__init__(address, timeout=timeout_s, watchdog_intervall=_NEVER_PROBE_S)
        self.in_channel = False
        """Whether the server is being asked for the channel: the socket stands, the channel does not."""

    async def open_secure_channel(self, renew: bool = False) -> None:
        """As asyncua does. A failure shows by `in_channel` that it happened here.

        Raises UaStatusCodeError also where the server refuses by a fault inside the channel's answer:
        asyncua lets that pass, and then finds its own state wrong.
        """
        if renew:
            await super().open_secure_channel(renew)
            return
        self.in_channel = True
        protocol = self.uaclient.protocol
        answers: list[asyncio.Future[Any]] = []
        send = protocol._send_request

        def noted(*args: Any, **given: Any) -> asyncio.Future[Any]:
            answers.append(send(*args, **given))
            return answers[-1]

        protocol._send_request = noted
        try:
            await super().open_secure_channel()
        except AssertionError as error:
            protocol.check_answer(answers[0].result(), "")
            raise ConnectionError("no channel") from error
        finally:
            protocol._send_request = send
        self.in_channel = False
