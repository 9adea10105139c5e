"""What holds of a line whatever goes wrong, and whenever: each byte once and in order, a bounded window, silence."""

import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chaos.sim import clock
from chaos.sim.link import Network
from chaos.sim.trace import Trace
from chaos.toxics import Drip, Hang, Latency

HOUR = 3600.0


def partition(network):
    return network.partition("desk", {"rooms", "rates"})


def lose_there(network):
    return network.lose("desk", "rooms")


def lose_back(network):
    return network.lose("rooms", {"desk"})


def inject(toxic):
    return lambda network: network.inject("rooms", toxic)


def throttle(pace):
    return lambda network: network.throttle("desk", pace)


def late(ms, jitter):
    return inject(Latency(ms=ms, jitter=jitter))


FAULTS = st.one_of(
    st.sampled_from([partition, lose_there, lose_back, inject(Hang(rate=0.5))]),
    st.builds(late, st.integers(0, 900), st.integers(0, 900)),
    st.sampled_from([3.0, 70.0, 2000.0]).map(lambda pace: inject(Drip(bytes_per_second=pace))),
    st.sampled_from([5.0, 90.0, 3000.0]).map(throttle),
)
TENTHS = st.integers(0, 40).map(lambda tenths: tenths / 10)
EPISODES = st.lists(st.tuples(TENTHS, TENTHS, FAULTS), max_size=6)  # from when, for how long, what
CHUNKS = st.lists(st.tuples(TENTHS, st.binary(max_size=60)), max_size=6)  # after how long, what is sent


class Run:
    """One line from `desk` to `rooms`, both ends sending and reading all the time, while faults come and go."""

    def __init__(self, window, latency, seed=0):
        self.network = Network(window=window, latency=latency, seed=seed)
        self.received = {"desk": bytearray(), "rooms": bytearray()}  # by who received it
        self.moments = {"desk": [], "rooms": []}  # when something was received
        self.fullest = 0  # bytes of one direction that were sent and not yet read
        self.silences = []  # from when to when
        self._ends = {}

    async def play(self, episodes, there, back):
        with trio.fail_after(HOUR):
            async with trio.open_nursery() as nursery:
                self.network.listen("rooms", 80, lambda stream: self._end(stream, back), nursery)
                near = await self.network.host("desk").connect("rooms", 80, None)
                for begins, lasts, fault in episodes:
                    nursery.start_soon(self._episode, begins, lasts, fault)
                await self._end(near, there)
        return self

    async def _episode(self, begins, lasts, fault):
        await trio.sleep(begins)
        with fault(self.network):
            began = trio.current_time()
            await trio.sleep(lasts)
            if fault is partition:
                self.silences.append((began, trio.current_time()))

    async def _end(self, stream, chunks):
        self._ends[stream.host] = stream
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, stream)
            for wait, data in chunks:
                await trio.sleep(wait)
                await stream.send_all(data)
            await stream.send_eof()

    async def _read(self, stream):
        received = self.received[stream.host]
        while data := await stream.receive_some(7):
            self.fullest = max(self.fullest, self._ends[stream.peer].sent - len(received))
            received += data
            self.moments[stream.host].append(trio.current_time())


def run(simulate, episodes, there, back, *, window, latency):
    async def main():
        return await Run(window, latency).play(episodes, there, back)

    return simulate(main)


def whole(chunks):
    return b"".join(data for _, data in chunks)


@given(EPISODES, CHUNKS, CHUNKS, st.sampled_from([1, 16, 4096]), st.sampled_from([0.0, 0.05, 0.5]))
@example([(0.0, 1.0, throttle(5.0)), (0.3, 0.2, partition)], [(0.0, b"0123456789")], [], 16, 0.05)
@example([(0.0, 1.0, partition), (0.5, 1.0, lose_there)], [(0.0, b"abc"), (0.1, b"def")], [(0.2, b"x")], 4, 0.5)
@settings(max_examples=60, deadline=None)
def test_what_is_sent_arrives_once_and_in_order_whatever_came_and_healed(
    simulate, episodes, there, back, window, latency
):
    played = run(simulate, episodes, there, back, window=window, latency=latency)
    assert (played.received["rooms"], played.received["desk"]) == (whole(there), whole(back))


@given(EPISODES, CHUNKS, CHUNKS, st.integers(1, 40))
@example([], [(0.0, bytes(60))], [], 7)
@settings(max_examples=40, deadline=None)
def test_never_more_than_a_window_of_bytes_is_under_way_whatever_comes(simulate, episodes, there, back, window):
    played = run(simulate, episodes, there, back, window=window, latency=0.05)
    assert played.fullest <= window


@given(EPISODES, st.tuples(TENTHS, TENTHS), CHUNKS, CHUNKS, st.sampled_from([0.0, 0.05, 0.5]))
@example([], (0.1, 2.0), [(0.0, b"under way")], [(0.0, b"too")], 0.5)
@settings(max_examples=60, deadline=None)
def test_nothing_passes_a_partition_whatever_else_comes(simulate, episodes, silence, there, back, latency):
    played = run(simulate, [*episodes, (*silence, partition)], there, back, window=16, latency=latency)
    moments = [moment for received in played.moments.values() for moment in received]
    assert [(moment, began) for began, healed in played.silences for moment in moments if began < moment < healed] == []


@given(EPISODES, CHUNKS, CHUNKS, st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_one_seed_is_one_run_whatever_came(episodes, there, back, seed):
    def digest():
        trace = Trace()
        clock.simulate(Run(16, 0.05, seed).play, episodes, there, back, seed=seed, trace=trace)
        return trace.digest()

    assert digest() == digest()
