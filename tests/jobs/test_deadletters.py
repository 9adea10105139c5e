import json
from functools import partial

import msgspec
import pytest
import trio

from bff.facts import Forgotten, LettersRaised, OutboxMeasured
from bff.jobs import roster, tidy
from bff.jobs.deadletters import KEPT_SECONDS, DeadLetters
from bff.jobs.tidy import Tidy
from bff.jobs.watch_outbox import OutboxWatch
from bff.meters import Meters
from bff.ops.dead_letters import PATH, Morgue
from bff.stores.keys import Claiming, KeyId, Recording
from bff.wire.asgi import Request
from chaos.hotel.world import open_world
from nurseries import open_owner, within

DAY = 86_400.0


async def bury(office, *letters, reason="400"):
    """As a relay does; the numbers."""
    await office.write(*letters)
    with within(5):
        fence = await office.ledger.lead("relay")
        waiting = [one.number for one in await office.ledger.next_letters(limit=10_000)]
        for number in waiting:
            assert await office.ledger.bury(fence, number, reason)
    return waiting


class Asking:
    """Somebody at the ops listener's room."""

    def __init__(self, office):
        self.nudges = 0
        self.room = Morgue(DeadLetters(office.ledger, self.nudged))

    def nudged(self):
        self.nudges += 1

    async def __call__(self, method, target, body=None, kind=b"application/json"):
        path, _, query = target.partition("?")
        head = Request(method, path, query, ((b"content-type", kind),), "http", "")
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def receive():
            await trio.lowlevel.checkpoint()
            return {"type": "http.request", "body": sent, "more_body": False}

        with within(5):
            answer = await self.room.answer(head, receive)
        return answer.status, getattr(answer, "detail", None) or msgspec.json.decode(answer.body)


async def test_dead_letters_are_listed_by_pages_shown_whole_and_said_after_all_f38(post_office, letter, autojump_clock):
    async with post_office() as office:
        ask = Asking(office)
        numbers = await bury(office, *(letter(number) for number in range(5)), reason="too long")
        status, page = await ask("GET", f"{PATH}?limit=2")
        assert (status, [one["number"] for one in page]) == (200, numbers[:2])
        status, page = await ask("GET", f"{PATH}?after={numbers[1]}")
        assert (status, [one["number"] for one in page]) == (200, numbers[2:])
        assert page[0] == {
            "number": numbers[2],
            "topic": "bff-domain-events",
            "orderingKey": "room:1",
            "kind": "board-changed",
            "messageId": "id-000002",
            "reason": "too long",
            "died": page[0]["died"],
            "bytes": 8,
        }
        status, one = await ask("GET", f"{PATH}/{numbers[2]}")
        assert (status, one) == (200, {**page[0], "payload": '{"n": 2}'})
        assert ask.nudges == 0
        assert await ask("POST", f"{PATH}/replay", {"numbers": [*numbers[:2], 9999]}) == (200, {"raised": 2})
        assert (ask.nudges, await office.left()) == (1, ["id-000000", "id-000001"])
        assert await ask("POST", f"{PATH}/replay", {"numbers": numbers[:2]}) == (200, {"raised": 0}), "asked again"
        assert [fact.count for fact in office.told if isinstance(fact, LettersRaised)] == [2, 0]
        relay, _ = office.relay()
        office.store.outbox.break_leads()
        await office.turn(relay)
        assert office.said() == {"room:1": ["id-000000", "id-000001"]}


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "detail"),
    [
        ("GET", "/7", None, 404, "there is no dead letter '7'"),
        ("GET", "/-1", None, 404, "there is no dead letter '-1'"),
        ("GET", "/99999999999999999999", None, 404, "there is no dead letter '99999999999999999999'"),
        ("GET", "?limit=0", None, 400, "$.limit: Expected `int` >= 1"),
        ("GET", "?after=x", None, 400, "$.after: Expected `int`, got `str`"),
        ("GET", "?before=1", None, 400, "$: Object contains unknown field `before`"),
        ("POST", "", {}, 405, "this path has GET"),
        ("GET", "/replay", None, 405, "this path has POST"),
        ("POST", "/replay", {"numbers": []}, 400, "$.numbers: Expected `array` of length >= 1"),
        ("POST", "/replay", {"numbers": ["1"]}, 400, "$.numbers[0]: Expected `int`, got `str`"),
        ("POST", "/replay", b"{", 400, "$: not JSON"),
    ],
)
async def test_what_cannot_be_asked_of_dead_letters_is_said_in_one_line(
    post_office, autojump_clock, method, target, body, status, detail
):
    async with post_office() as office:
        assert await Asking(office)(method, PATH + target, body) == (status, detail)


async def test_a_replay_is_json_and_with_the_ledger_down_nobody_knows(post_office, autojump_clock):
    async with post_office() as office:
        ask = Asking(office)
        status, detail = await ask("POST", f"{PATH}/replay", {"numbers": [1]}, kind=b"text/plain")
        assert (status, detail) == (415, "a replay is application/json"), "what a page in a browser may send"
        office.store.down()
        for asked in (("GET", PATH), ("GET", f"{PATH}/1"), ("POST", f"{PATH}/replay", {"numbers": [1]})):
            assert (await ask(*asked))[0] == 503
        assert ask.nudges == 0


def a_claim(number):
    key = KeyId("resort", "ines", f"key-{number}")
    return Claiming(key, b"f", (f"room:{number}",), b"", lease=10.0)


async def test_keys_go_after_eight_days_and_dead_letters_after_seven_by_one_process_at_a_time_f32_f38(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        job, other = Tidy(office.ledger), Tidy(office.store.session())
        await bury(office, *(letter(number) for number in range(2 * tidy.BATCH + 1)))
        with within(5):
            claimed = await office.ledger.claim(a_claim(1))
            await office.ledger.record(Recording(a_claim(1).id, claimed.fence, "open"))
        await trio.sleep(KEPT_SECONDS - 60)
        await job.turn()
        assert len(await office.dead()) == 2 * tidy.BATCH + 1
        await trio.sleep(61)
        await other.turn()
        assert len(await office.dead()) == 2 * tidy.BATCH + 1, "another leads"
        await job.turn()
        assert await office.dead() == ()
        with within(5):
            assert (await office.ledger.claim(a_claim(1))).before == "open", "still there"
            await office.ledger.record(Recording(a_claim(1).id, claimed.fence + 1, "open"))
        office.told.clear()
        await trio.sleep(DAY)
        await job.turn()
        with within(5):
            assert (await office.ledger.claim(a_claim(1))).before == "new"
        assert office.told == [Forgotten("keys", 1)]
        office.store.down()
        await job.turn()


async def test_every_instance_counts_the_outbox_and_says_so_when_letters_wait_for_a_minute_f21(
    post_office, letter, autojump_clock
):
    async with post_office() as office:
        failing = ""
        meters = Meters()
        watch = OutboxWatch(office.ledger, lambda: failing)
        assert await watch.ping() is None
        await bury(office, letter(0))
        await office.write(letter(1), letter(2))
        await trio.sleep(60)
        await watch.turn()
        assert await watch.ping() is None
        await trio.sleep(1)
        await watch.turn()
        assert (await watch.ping()).why == "2 wait, the eldest for 61 s"
        assert office.told[-1] == OutboxMeasured(2, 61.0, 1)
        meters.hear(office.told[-1])
        shown = meters.shown()[0].decode()
        for line in ("bff_outbox_depth 2.0", "bff_outbox_oldest_seconds 61.0", "bff_dlq_depth 1.0"):
            assert line in shown
        failing = "bff-telemetry: status 503"
        assert (await watch.ping()).why == "2 wait, the eldest for 61 s; bff-telemetry: status 503"
        office.store.down()
        await watch.turn()
        assert (await watch.ping()).why == "nobody can count it: nobody listens"


async def test_in_the_house_letters_go_out_and_an_outage_of_pubsub_degrades_a_line_and_nothing_else_f22(
    letter, autojump_clock
):
    async with open_world() as world:
        (server,) = world.servers.values()
        ledger = world.stores.ledger.session()
        await trio.sleep(1)
        assert line_of(server, "outbox") == "up"
        world.inject("pubsub", "status code=503")
        with within(5):
            await ledger.append((letter(1), letter(2, "room:2")))
        await trio.sleep(90)
        assert line_of(server, "outbox") == "degraded"
        assert "2 wait" in server.house.readiness.lines()
        assert server.house.readiness.ready
        world.clear("pubsub")
        await trio.sleep(40)
        assert line_of(server, "outbox") == "up"
        assert world.authority.pubsub.published("bff-domain-events").distinct == 2


def line_of(server, name):
    (line,) = [line for line in server.house.readiness.lines().splitlines() if line.startswith(f"{name} ")]
    return line.split()[1]


async def test_a_job_that_is_not_on_the_roster_or_has_nobody_to_do_it_does_not_begin(autojump_clock):
    done = []

    def services(*names):
        return {name: partial(record, name) for name in names}

    async def record(name):
        done.append(name)
        await trio.sleep_forever()

    names = [job.name for job in roster.ROSTER]
    async with open_owner("server", bound=100) as owner:
        with pytest.raises(ValueError, match="not on the roster: stranger"):
            roster.begin(owner, services(*names, "stranger"), jitter=lambda: 0.0)
        assert owner.live == ()
        with pytest.raises(KeyError, match=names[-1]):
            roster.begin(owner, services(*names[:-1]), jitter=lambda: 0.0)
    async with open_owner("server", bound=100) as owner:
        roster.begin(owner, services(*names), jitter=lambda: 0.0)
        await trio.sleep(1)
        assert sorted(done) == sorted(names)


def test_every_job_names_rows_of_the_catalogue_and_no_two_have_one_name():
    assert len({job.name for job in roster.ROSTER}) == len(roster.ROSTER)
    assert all(job.rows and set(job.rows) <= {f"F-{number}" for number in range(1, 42)} for job in roster.ROSTER)
