"""What a Redis says of its own size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bff.model import Down
from bff.stores.size import Size

if TYPE_CHECKING:
    from bff.stores.redis_line import Line

SECTIONS: Final = ("memory", "clients")


async def size(line: Line) -> Size | Down:
    """Its size now. What it does not say of itself counts as 0."""
    answer = await line.ask(*(("INFO", section) for section in SECTIONS))
    return answer if isinstance(answer, Down) else parsed(b"".join(answer))


def parsed(told: bytes) -> Size:
    """Out of what `INFO` gives: a `name:value` per line."""
    pairs = dict(line.partition(":")[::2] for line in told.decode("utf-8", "replace").splitlines())

    def number(name: str) -> int:
        text = pairs.get(name, "")
        return int(text) if text.isdecimal() else 0

    return Size(number("used_memory"), number("maxmemory"), number("connected_clients"), number("maxclients"))
