import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from bff.facts import SwitchTurned
from bff.model import Down
from bff.stores.switchboard import Switch
from bff.stores.switches import BY_NAME, SWITCHES, Switches
from bff.stores.trail import HOUSE
from chaos.hotel.stores.ledger import SimLedger
from nurseries import Owner, Unbounded, listening, open_owner, within

MORNING = 1_439_622_000.0
WHO = {"by": "ann", "why": "the auditor asked for it"}


@dataclass
class Instances:
    """Instances on one ledger, who keeps them true, and what all were told."""

    store: SimLedger
    each: list
    owner: Owner
    told: list = field(default_factory=list)

    def hear(self, fact):
        if isinstance(fact, SwitchTurned):
            self.told.append((fact.name, fact.value, fact.by))

    async def rows(self):
        with within(1):
            return [json.loads(row.entry) for row in await self.store.session().trail(HOUSE, after=0, limit=99)]


@asynccontextmanager
async def instances_on_one_ledger(count=2):
    store, began = SimLedger(), trio.current_time()
    each = [Switches(store.session(), lambda: MORNING + trio.current_time() - began) for _ in range(count)]
    async with open_owner("test", bound=count) as owner:
        instances = Instances(store, each, owner)
        with listening(instances.hear):
            for number, switches in enumerate(each):
                owner.supervise(f"switches {number}", switches.serve, jitter=lambda: 0.0)
            yield instances
            owner.cancel()


async def turned(switches, *given, **said):
    with within(1):
        return await switches.turn(*given, **{**WHO, **said})


async def tripped(switches, name, **said):
    with within(1):
        return await switches.trip(name, **{"by": "the job", "why": "two rows are missing", **said})


def test_the_table_is_the_contract_s():
    defaults = {known.name: known.default for known in SWITCHES}
    on_off = ("traffic", "mutations", "locks", "sensitive")
    assert defaults == {**dict.fromkeys(on_off, "on"), "telemetry-sample": "1", "sse-timeout": "3600"}
    assert {known.name: known.trips for known in SWITCHES if known.trips} == {
        "traffic": "off", "mutations": "off", "locks": "frozen", "sensitive": "off",
    }  # fmt: skip
    allowed = {
        "telemetry-sample": ({"0", "1", "0.25", "1.0"}, {"1.01", "-0", "nan", "inf", "", " 1", "1e-1", "½", "٣"}),
        "sse-timeout": ({"60", "86400", "90.5"}, {"59", "59.9", "86401", "on", "1_000", "0x60", "+60"}),
        **dict.fromkeys(on_off, ({"on", "off"}, {"", "ON", "on ", "frozen", "halted", "0"})),
    }
    for name, (yes, no) in allowed.items():
        assert {value for value in yes | no if BY_NAME[name].values.allow(value)} == yes


async def test_before_the_ledger_was_read_the_defaults_hold(autojump_clock):
    switches = Switches(SimLedger().session(), lambda: MORNING)
    assert not any(switches.off(name) for name in BY_NAME)
    assert not switches.frozen
    assert (switches.number("telemetry-sample"), switches.number("sse-timeout")) == (1.0, 3600.0)
    assert switches.switch("locks") == Switch("locks", "on", 0.0, "", "")
    assert [switch.name for switch in switches.all] == list(BY_NAME)
    with pytest.raises(KeyError):
        switches.value("brakes")


@pytest.mark.parametrize("latency", [0.0, 0.2], ids=["near", "far"])
async def test_a_turn_is_true_on_every_instance_within_a_second(autojump_clock, latency):
    async with instances_on_one_ledger() as instances:
        one, other = instances.each
        instances.store.latency(latency)
        for moment in (0.0, 0.1, 0.27, 0.49):
            await trio.sleep(10 + moment)
            for value in ("off", "on"):
                assert await turned(one, "mutations", value) == one.switch("mutations")
                assert one.value("mutations") == value, "here at once"
                await trio.sleep(1)
                assert other.value("mutations") == value
                await trio.sleep(3)
                assert one.value("mutations") == value
    assert instances.told == [("mutations", value, "ann") for value in ("off", "on") * 4 for _ in instances.each]


@pytest.mark.parametrize("fault", ["down", "stop"])
async def test_while_the_ledger_is_down_the_last_values_hold_f20(autojump_clock, fault):
    async with instances_on_one_ledger() as instances:
        one, other = instances.each
        await turned(one, "telemetry-sample", "0.1")
        await trio.sleep(1)
        getattr(instances.store, fault)()
        await trio.sleep(100)
        assert [switches.number("telemetry-sample") for switches in instances.each] == [0.1, 0.1]
        assert isinstance(await turned(one, "telemetry-sample", "0.5"), Down)
        assert isinstance(await other.read(), Down)
        assert one.number("telemetry-sample") == 0.1
        instances.store.clear()
        await turned(other, "telemetry-sample", "0.7")
        await trio.sleep(1)
        assert [switches.number("telemetry-sample") for switches in instances.each] == [0.7, 0.7]
        assert all(health.restarts == 0 for health in instances.owner.services.values())


async def test_a_turn_that_the_ledger_has_lost_was_none_f19(autojump_clock):
    async with instances_on_one_ledger() as instances:
        one, other = instances.each
        await turned(one, "traffic", "off")
        await trio.sleep(1)
        assert one.off("traffic") and other.off("traffic")
        instances.store.failover(lost=5)
        await trio.sleep(1)
        assert not one.off("traffic") and not other.off("traffic")


async def test_what_a_newer_server_has_turned_is_passed_over(autojump_clock):
    async with instances_on_one_ledger() as instances:
        session = instances.store.session()
        with within(5):
            await session.turn(Switch("locks", "off", 0.0, "ann", "why"), "{}")
            await trio.sleep(1)
            for name, value in (("locks", "half"), ("brakes", "on"), ("sse-timeout", "never"), ("traffic", "off")):
                await session.turn(Switch(name, value, 0.0, "ann", "why"), "{}")
            await trio.sleep(1)
        for switches in instances.each:
            assert (switches.value("locks"), switches.number("sse-timeout")) == ("off", 3600)
            assert switches.off("traffic"), "what it knows it heeds"


async def test_who_and_why_are_in_the_house_s_trail(autojump_clock):
    async with instances_on_one_ledger(1) as instances:
        await trio.sleep(30.5)
        (one,) = instances.each
        switch = await turned(one, "sensitive", "off", why='she said "now" \U0001f511')
        await turned(one, "sensitive", "off", by="bob", why="still")
        first, second = await instances.rows()
    assert switch == Switch("sensitive", "off", MORNING + 30.5, "ann", 'she said "now" \U0001f511')
    assert list(first.items()) == [
        ("kind", "switch"), ("at", "2015-08-15T07:00:30.500Z"), ("name", "sensitive"), ("from", "on"),
        ("value", "off"), ("by", "ann"), ("why", 'she said "now" \U0001f511'),
    ]  # fmt: skip
    assert (second["from"], second["by"]) == ("off", "bob")


REFUSED = {
    "no such switch": (("brakes", "on"), {}, "there is no switch 'brakes'"),
    "no such value": (("locks", "half"), {}, "locks cannot be 'half': it should be one of on, off"),
    "a job's value": (("locks", "frozen"), {}, "locks cannot be 'frozen'"),
    "no number": (("sse-timeout", "5"), {}, "it should be a number from 60 to 86400"),
    "no reason": (("locks", "off"), {"why": ""}, "why should have 1 to 500 characters"),
    "a blank reason": (("locks", "off"), {"why": "   "}, "why should have 1 to 500 characters"),
    "nobody": (("locks", "off"), {"by": ""}, "by should have 1 to 500 characters"),
    "too long": (("locks", "off"), {"why": "x" * 501}, "why should have 1 to 500 characters"),
    "two lines": (("locks", "off"), {"why": "a\nb"}, "why should be one line"),
    "a nul": (("locks", "off"), {"by": "a\0b"}, "by should be one line"),
    "half a pair": (("locks", "off"), {"why": "\ud800"}, "why should be one line"),
    "an odd name": (("\n" * 99, "off"), {}, "there is no switch "),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_turn_that_cannot_be_is_refused_in_one_line(autojump_clock, case):
    given, said, why = REFUSED[case]
    async with instances_on_one_ledger(1) as instances:
        refusal = await turned(instances.each[0], *given, **said)
        assert isinstance(refusal, str) and why in refusal
        assert re.fullmatch(r"[ -~]{1,200}", refusal)
        assert await instances.rows() == []


async def test_a_job_freezes_the_locks_and_only_a_person_lifts_that_f27(autojump_clock):
    async with instances_on_one_ledger() as instances:
        one, other = instances.each
        assert (await tripped(one, "locks", mark=2)).mark == 2
        await trio.sleep(1)
        assert other.frozen and not other.off("locks")
        assert await tripped(other, "locks", mark=3) == "locks is frozen already"
        assert other.switch("locks").mark == 2
        lifted = await turned(other, "locks", "on")
        assert (lifted.value, lifted.mark) == ("on", 2), "what was counted stays: it is not tripped for that again"
        assert not other.frozen
        assert (await tripped(one, "locks", mark=3)).mark == 3
        await turned(one, "locks", "off")
        assert await tripped(one, "locks", mark=4) == "locks is off already", "what a person has turned stays"
        assert [(row["from"], row["value"], row["by"]) for row in await instances.rows()] == [
            ("on", "frozen", "the job"), ("frozen", "on", "ann"), ("on", "frozen", "the job"), ("frozen", "off", "ann"),
        ]  # fmt: skip


async def test_a_job_trips_what_the_table_says_and_nothing_else(autojump_clock):
    async with instances_on_one_ledger(1) as instances:
        (one,) = instances.each
        for name in ("traffic", "mutations", "sensitive"):
            assert (await tripped(one, name)).value == "off"
        for name in ("telemetry-sample", "sse-timeout"):
            with pytest.raises(ValueError, match="no job may turn"):
                await tripped(one, name)
        with pytest.raises(ValueError, match="why should be one line"):
            await tripped(one, "locks", why="a\nb")
        assert len(await instances.rows()) == 3


async def test_many_who_turn_one_at_once_each_say_what_it_was_before(autojump_clock):
    async with instances_on_one_ledger(8) as instances:
        answers = []

        async def turn(switches, value):
            answers.append(await turned(switches, "traffic", value))

        async with trio.open_nursery() as nursery:
            for number, switches in enumerate(instances.each):
                nursery.start_soon(turn, switches, ("off", "on")[number % 2])
        await trio.sleep(1)
        rows = await instances.rows()
        values = {switches.value("traffic") for switches in instances.each}
    assert all(isinstance(answer, Switch) or "turned by others" in answer.why for answer in answers)
    assert [row["from"] for row in rows] == ["on", *(row["value"] for row in rows[:-1])]
    assert values == {rows[-1]["value"]}


async def test_a_reading_that_is_older_than_a_turn_does_not_undo_it(autojump_clock):
    async with instances_on_one_ledger(1) as instances:
        (one,) = instances.each
        instances.store.latency(0.02)
        await trio.sleep(10.505)  # half a way into a reading
        instances.store.latency(0.7)  # its way back is long
        await trio.sleep(0.01)
        instances.store.latency(0.0)
        assert await turned(one, "traffic", "off")
        await trio.sleep(3)
        assert one.off("traffic")
    assert instances.told == [("traffic", "off", "ann")]


async def test_no_turn_waits_without_a_deadline_f33(autojump_clock):
    switches = Switches(SimLedger().session(), lambda: MORNING)
    with pytest.raises(Unbounded):
        await switches.turn("locks", "off", **WHO)
