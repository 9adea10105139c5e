"""What is small on the wire and large once it is read: from a desk and from a service, in the whole hotel."""

import gzip
import tracemalloc
from contextlib import closing

import pytest
import trio

from bff.facts import SchemaDrifted
from chaos.hotel.checks.answers import judge
from chaos.hotel.world import open_world
from nurseries import within

MiB = 1 << 20
BOMB = gzip.compress(bytes(64 * MiB), 9)  # 64 KB
CHARGE = "/v1/folios/f-1/charges"


def held():
    return tracemalloc.get_traced_memory()[1]


@pytest.fixture(autouse=True)
def _measured():
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def posted(world, desk, body, headers):
    """What a desk gets for a body that its own client would never send."""
    key = {"idempotency-key": "k-000000000000000000001", "content-type": "application/json", **headers}
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    proved = desk.proved("POST", CHARGE, key)
    with within(10):
        answer = await world.client("bomber").post(f"{desk.base}{CHARGE}", content=body, headers=proved)
        return answer, held() - before
    raise AssertionError("no answer")


async def test_a_body_that_would_inflate_to_a_thousand_times_its_size_is_refused_unread(autojump_clock):
    async with open_world() as world:
        desk = await world.desk()
        answer, more = await posted(world, desk, BOMB, {"content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert more < 4 * MiB
        judge(await desk.dashboard(), {})


@pytest.mark.parametrize(
    "body",
    [b"[" * 262_144, b'{"a":' * 50_000, b"[" * 131_072 + b"]" * 131_072, b'{"amountMinor":' + b"9" * 200_000 + b"}"],
    ids=["arrays", "objects", "arrays that end", "a number without end"],
)
async def test_json_that_is_nested_or_long_without_sense_is_a_400_and_costs_no_more_than_its_size(autojump_clock, body):
    async with open_world() as world:
        desk = await world.desk()
        answer, more = await posted(world, desk, body, {})
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
        assert more < 8 * MiB
        judge(await desk.dashboard(), {})


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
ANSWERS = {
    "gzip that nobody asked for": (HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB), BOMB),
    "a length of a gigabyte": (HEAD + b"content-length: 1073741824\r\n\r\n", bytes(MiB)),
    "chunks without end": (HEAD + b"transfer-encoding: chunked\r\n\r\n", (b"10000\r\n" + bytes(65_536) + b"\r\n")),
    "a head without end": (b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"a" * 60_000 + b"\r\n"),
    "interim answers without end": (b"", b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" * 2_000),
    "nesting": (HEAD + b"content-length: 200000\r\n\r\n", b"[" * 100_000),
}


@pytest.mark.parametrize(("head", "piece"), ANSWERS.values(), ids=ANSWERS)
async def test_a_service_that_answers_with_a_bomb_costs_one_widget_and_little_memory(autojump_clock, head, piece):
    async def bomb(stream):
        try:
            while await stream.receive_some(65_536):
                await stream.send_all(head)
                for _ in range(40):
                    await stream.send_all(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()
        finally:
            await trio.aclose_forcefully(stream)

    async with open_world() as world, trio.open_nursery() as nursery:
        desk = await world.desk()
        world.inject("pricing", "down")
        with closing(world.network.listen("pricing.estate", world.estate.doors["pricing"].port, bomb, nursery)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            seen = await desk.dashboard()
            assert held() - before < 12 * MiB
            assert seen.took <= 0.8
            widgets = seen.body["widgets"]
            assert [name for name, one in widgets.items() if one["status"] != "ok"] == ["rateSnapshot"]
        drifted = [fact.service for fact in world.facts if isinstance(fact, SchemaDrifted)]
        assert drifted in ([], ["pricing"])
        world.heal()
        await world.quiet()
