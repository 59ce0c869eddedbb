"""After a lost link, the shortest way back: reactivate the session, transfer the subscription, or begin anew.

1. The session is activated on another channel and the subscription published on: nothing is lost that the
   server's queues and its store of unacknowledged messages hold.
2. The server has forgotten the session: a new one takes the subscription over (TransferSubscriptions), where
   the server does that, and the same holds.
3. Neither: a new subscription, whose first values are the state now. What lay between is a gap.
"""

from __future__ import annotations

from enum import StrEnum

from collectors.opcua.session import Session, wrapped
from collectors.opcua.subscription import Subscription


class Rung(StrEnum):
    """How a link came back."""

    REACTIVATED = "reactivated"
    TRANSFERRED = "transferred"
    ANEW = "anew"


async def climb(address: str, session: Session, subscription: Subscription | None) -> Rung:
    """Bring the session back, and the subscription where the server still has it.

    After `Rung.ANEW` the session is there and the subscription is not. Raises LinkError, ConfigError: then
    both may be tried again later.
    """
    has_session = await session.resume()
    if subscription is None:
        return Rung.ANEW
    with wrapped(address):
        if has_session:
            return Rung.REACTIVATED if await subscription.resume() else Rung.ANEW
        if await subscription.transfer() and await subscription.resume():
            return Rung.TRANSFERRED
    return Rung.ANEW
