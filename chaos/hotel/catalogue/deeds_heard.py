"""What a desk hears: a stream and a poll that bring what is said, and the word that its session is over.

Whoever has something to say says it at the world's last server; the desk listens at the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import trio

from bff.wire.sse import MEDIA, Event, Reader
from chaos.hotel.fleet.desk import Refused
from chaos.hotel.fleet.following import STREAM
from chaos.hotel.fleet.opened import Cut, opened
from nurseries import within

if TYPE_CHECKING:
    from chaos.hotel.catalogue.deeds import Bench
    from chaos.hotel.fleet.opened import Opened

TOLD_SECONDS: Final = 5.0  # in which an event has come (CONTRACT section 5)
AT_LAST: Final = 12.0  # seconds after which a device that was logged out knows it somehow


async def events(bench: Bench) -> str:
    """A stream is opened, and an alert that is said then comes in time."""
    desk, heard = bench.desk, [""]
    headers = desk.proved("GET", STREAM, {"accept": MEDIA})
    with within(2 * TOLD_SECONDS):
        try:
            async with opened(bench.world.network.host(desk.device).connect, f"{desk.base}{STREAM}", headers) as answer:
                return await _listened(bench, answer, heard)
        except Cut:
            raise Refused(0, "UNREACHABLE", "no stream") from None
    return f"silent after {heard[-1]}"


async def _listened(bench: Bench, answer: Opened, heard: list[str]) -> str:
    if answer.status != 200:
        raise _refusal(answer.status, await answer.whole())
    reader = Reader("")
    while piece := await answer.piece():
        for one in reader.feed(piece):
            if not isinstance(one, Event):
                continue
            heard.append(one.event)
            if one.event == "hello":
                await bench.platform.push("alert", bench.key(), bench.person.tenant_id)
            if one.event == "alert":
                return "late, and polled meanwhile" if "bus-stalled" in heard else ""
    return f"over after {heard[-1]}"


def _refusal(status: int, body: bytes) -> Refused:
    try:
        return Refused(status, msgspec.json.decode(body)["code"], "no stream")
    except (msgspec.DecodeError, KeyError, TypeError):
        return Refused(status, str(status), "no stream")


async def poll(bench: Bench) -> str:
    """An alert comes by poll, too."""
    path, name = f"{STREAM}/poll", bench.key()
    place = (await bench.desk.get(path, {"waitMs": "0"})).body["next"]
    status = await bench.platform.push("alert", name, bench.person.tenant_id, data={"name": name})
    said = (await bench.desk.get(path, {"after": place, "waitMs": "4000"})).body["events"]
    came = any(one["data"].get("name") == name for one in said)
    return "" if came else f"nothing came of what was answered {status}"


async def force_logout(bench: Bench) -> str:
    """A device is logged out: it hears so in time, and is not let in any more."""
    who = bench.goer
    began = trio.current_time()
    status = await bench.platform.push("force-logout", bench.key(), bench.person.tenant_id, deviceId=who.device)
    if status != 204:
        raise Refused(status, str(status), "the platform is told to come again")
    with within(AT_LAST):
        await bench.ears.over.wait()
    heard = [word.event for word in bench.ears.words if word.at - began <= TOLD_SECONDS]
    try:
        await who.get("/v1/session")
    except Refused as refused:
        if refused.code != "SESSION_EXPIRED":
            raise
        return "" if "force-logout" in heard else "told by its stream's end"
    return "let in"
