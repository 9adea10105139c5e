"""Whether a process holds more and more is seen as a trend, and said with the types that grow (F-37)."""

import trio

from bff.facts.cost import MemoryGrows, MemoryMeasured
from bff.jobs.watch_memory import EVERY, GROWS, WARM, MemoryWatch
from bff.memory import REAL, Memory
from nurseries import listening, within

MB = 1_000_000
HOUR = 3600.0


class Held:
    """A process of which `size` says what it holds after so many seconds."""

    def __init__(self, size):
        self._size = size
        self._began = trio.current_time()
        self.told = []

    @property
    def age(self):
        return trio.current_time() - self._began

    def resident(self):
        return int(self._size(self.age))

    async def census(self):
        await trio.lowlevel.checkpoint()
        return {"builtins.dict": 1000 + int(self.age), "hotel.Room": 500, "hotel.Guest": 10 + int(self.age) // 10}

    async def lives(self, seconds):
        watch = MemoryWatch(Memory(self.resident, self.census))
        with listening(self.told.append):
            while self.age < seconds:
                await watch.turn()
                await trio.sleep(EVERY)

    def reports(self):
        return [fact for fact in self.told if isinstance(fact, MemoryGrows)]

    def growth(self):
        return max(fact.growth for fact in self.told if isinstance(fact, MemoryMeasured))


async def test_eleven_per_cent_in_four_hours_are_reported_once_with_the_types_that_grew_f37(autojump_clock):
    held = Held(lambda age: 100 * MB * (1 + 0.14 * age / (4 * HOUR)))
    await held.lives(WARM + 4.5 * HOUR)
    (report,) = held.reports()
    assert GROWS < report.growth < GROWS + 0.01
    first, second = report.types
    assert first.startswith("dict +1") and second.startswith("hotel.Guest +1")


async def test_nine_per_cent_in_four_hours_are_no_leak(autojump_clock):
    held = Held(lambda age: 100 * MB * (1 + 0.09 * age / (4 * HOUR)))
    await held.lives(WARM + 12 * HOUR)
    assert held.reports() == []
    assert held.growth() > 0.07


async def test_what_fills_up_in_the_beginning_and_what_goes_away_again_is_no_leak(autojump_clock):
    def size(age):
        return MB * (100 if age < WARM else 200 + (300 if age % HOUR < 240 else 0))

    held = Held(size)
    await held.lives(9 * HOUR)
    assert held.reports() == []


async def test_a_fast_leak_does_not_wait_for_four_hours_and_a_second_rise_is_a_second_report(autojump_clock):
    def size(age):
        return MB * (100 + 30 * min(1, max(0, age - WARM) / HOUR) + 60 * min(1, max(0, age - 8 * HOUR) / HOUR))

    held = Held(size)
    await held.lives(WARM + HOUR)
    assert len(held.reports()) == 1
    await held.lives(11 * HOUR)
    assert len(held.reports()) == 2


async def test_where_nobody_knows_what_is_held_nothing_is_said(autojump_clock):
    held = Held(lambda _: 0)
    await held.lives(6 * HOUR)
    assert held.told == []


class Left:
    """An object that nobody lets go."""


async def test_the_census_of_a_real_process_counts_what_is_left_and_its_size_is_that_of_a_python():
    left = [Left() for _ in range(1234)]
    with within(10):
        found = await REAL.census()
    assert found[f"{Left.__module__}.Left"] == len(left)
    assert 10 * MB < REAL.resident() < 10_000 * MB
