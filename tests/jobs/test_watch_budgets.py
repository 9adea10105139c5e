"""What is used is compared with what may be, and is said once where it is more (F-39, F-40)."""

from random import Random

import trio

from bff.budgets import Budgets
from bff.facts.cost import BudgetExceeded, BudgetMeasured, InstancesSeen, StoreConnected
from bff.jobs.watch_budgets import EVERY, HERE, BudgetWatch
from bff.outside import Outside
from chaos.hotel.stores.ledger import SimLedger
from chaos.hotel.stores.tier import SimTier
from chaos.hotel.world import open_world
from nurseries import listening

DAY = 86_400.0


class Fleet:
    """Processes before one tier; each publishes as `sent` says, and has `streams` of a hundred open."""

    def __init__(self, **budgets):
        self.tier, self.ledger = SimTier(), SimLedger()
        self.budgets = Budgets(**budgets)
        self.sent, self.streams = {}, 0
        self.began = trio.current_time()
        self.told = []

    def now(self):
        return 1_000 * DAY + trio.current_time() - self.began

    def process(self, name):
        self.sent[name] = 0
        outside = Outside(self.now, Random(name).randbytes, None)
        return BudgetWatch(
            self.tier,
            self.ledger.session(),
            self.budgets,
            outside,
            streams=lambda: (self.streams, 100),
            sent=lambda: self.sent[name],
        )

    async def look(self, *watches):
        """One turn of each; gives what was told last of each budget."""
        with listening(self.told.append):
            for watch in watches:
                await watch.turn()
        return {fact.budget: (fact.used, fact.allowed) for fact in self.told if isinstance(fact, BudgetMeasured)}

    def over(self):
        return [fact.budget for fact in self.told if isinstance(fact, BudgetExceeded)]

    def seen(self):
        return [fact.count for fact in self.told if isinstance(fact, InstancesSeen)][-1]


async def test_processes_are_counted_while_they_say_that_they_are_here_and_one_too_many_is_said_once_f39(
    autojump_clock,
):
    fleet = Fleet(instances=2)
    watches = [fleet.process(name) for name in ("one", "two", "three")]
    await fleet.look(*watches[:2])
    assert (fleet.seen(), fleet.over()) == (2, [])
    for _ in range(4):
        await fleet.look(*watches)
        await trio.sleep(EVERY)
    assert fleet.seen() == 3
    assert fleet.over() == 3 * ["instances"], "once by each process"
    await trio.sleep(HERE)
    assert (await fleet.look(watches[0]))["instances"] == (1, 2)
    await fleet.look(*watches)
    await fleet.look(*watches)
    assert fleet.over().count("instances") == 5, "again, by the two that have seen it below"


async def test_what_all_processes_publish_in_a_day_is_one_sum_and_a_new_day_begins_at_nothing_f40(autojump_clock):
    fleet = Fleet(egress=1000)
    one, two = fleet.process("one"), fleet.process("two")
    fleet.sent.update(one=400, two=500)
    assert (await fleet.look(one, two))["egress"] == (900, 1000)
    assert (await fleet.look(one, two))["egress"] == (900, 1000)
    assert fleet.over() == []
    fleet.sent["two"] += 200
    assert (await fleet.look(one, two))["egress"] == (1100, 1000)
    await fleet.look(one, two)
    assert fleet.over() == ["egress", "egress"], "once by each process"
    await trio.sleep(DAY)
    fleet.sent["one"] += 7
    assert (await fleet.look(one, two))["egress"] == (7, 1000)


async def test_what_was_sent_while_the_tier_was_away_is_told_when_it_is_back_f40(autojump_clock):
    fleet = Fleet(egress=1000)
    one = fleet.process("one")
    fleet.sent["one"] = 300
    fleet.tier.down()
    assert "egress" not in await fleet.look(one)
    fleet.tier.start()
    assert (await fleet.look(one))["egress"] == (300, 1000)


async def test_where_nobody_has_said_a_figure_it_is_measured_and_never_over(autojump_clock):
    fleet = Fleet()
    one = fleet.process("one")
    fleet.sent["one"], fleet.streams = 10**9, 40
    assert await fleet.look(one) == {"instances": (1, 0), "egress": (10**9, 0), "streams": (40, 100)}
    assert fleet.over() == []
    fleet.streams = 101
    await fleet.look(one)
    assert fleet.over() == ["streams"]


async def test_two_servers_of_a_hotel_see_each_other_and_what_they_publish_is_measured_f39_f40(autojump_clock):
    async with open_world(servers=("one", "two")) as world:
        desk = await world.desk(server="one")
        events = [{"name": "click", "at": "2015-08-15T07:00:00Z", "attributes": {}}]
        answer = await desk.ask("POST", "/v1/telemetry", body={"events": events})
        assert answer.status_code == 202
        await trio.sleep(4 * EVERY)
        seen = [fact.count for fact in world.facts if isinstance(fact, InstancesSeen)]
        assert seen[-1] == 2
        (egress,) = {fact for fact in world.facts if isinstance(fact, BudgetMeasured) and fact.budget == "egress"} - {
            BudgetMeasured("egress", 0, 0)
        }
        assert egress.used > 100
        connected = [fact for fact in world.facts if isinstance(fact, StoreConnected) and fact.store == "postgres"]
        assert connected[-1].used == 2
        shown = world.meters
        shown.hear(egress)
        assert f'bff_budget_used{{budget="egress"}} {float(egress.used)}' in shown.shown()[0].decode()
        await world.servers["two"].end()
        await trio.sleep(HERE + EVERY)
        assert [fact.count for fact in world.facts if isinstance(fact, InstancesSeen)][-1] == 1
