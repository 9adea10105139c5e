"""One ops listener that speaks for several workers: what it makes of what they say, and of one that says nothing."""

import math
import re
from contextlib import asynccontextmanager
from functools import partial

import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from bff.config import Secret
from bff.model import Answer
from bff.ops.listener import Ops
from bff.ops.several import (
    ASKED_WITHIN,
    PASSED_ON_WITHIN,
    Door,
    Several,
    labelled,
    metrics_together,
    ready_together,
)
from bff.outside import Outside, rfc3339
from bff.wire.asgi import read_body, request_of, send
from bff.wire.edge import serve_stream
from bff.wire.limits import EdgeConfig
from bff.wire.pool import Pool
from bff.wire.transport import TrioTransport
from nurseries import within

BEGAN = 1_439_624_400.0
OWN = "# HELP bff_workers_alive Workers\n# TYPE bff_workers_alive gauge\nbff_workers_alive 2\n# EOF\n"
LINE = re.compile(r"[a-z0-9-]+ (up|degraded|down) since=\S+Z( .+)?")
STATES = ("up", "degraded", "down")

# -- readyz -------------------------------------------------------------------------------------------------------


def body(states, since=0.0):
    return "".join(f"{name} {state} since={rfc3339(BEGAN + since)}\n" for name, state in states.items())


standings = st.fixed_dictionaries({name: st.sampled_from(STATES) for name in ("postgres", "redis-cache", "iam")})


@given(st.lists(standings, min_size=1, max_size=4))
@settings(max_examples=40)
def test_of_every_dependency_the_worst_that_a_worker_says_is_said(said):
    lines = ready_together([body(states) for states in said], []).splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    assert {line.split()[0]: line.split()[1] for line in lines} == {
        name: max((states[name] for states in said), key=STATES.index) for name in said[0]
    }


@pytest.mark.parametrize(("state", "since"), [("up", 9), ("degraded", 1), ("down", 1)])
def test_it_is_broken_since_the_first_was_and_whole_since_the_last_was(state, since):
    bodies = [body({"iam": state}, seconds) for seconds in (5, 1, 9)]
    assert ready_together(bodies, []) == f"iam {state} since={rfc3339(BEGAN + since)}\n"


@pytest.mark.parametrize("order", [1, -1])
def test_a_dependency_is_not_down_because_a_young_worker_has_not_asked_it_yet(order):
    young = f"postgres down since={rfc3339(BEGAN)} not asked yet\n"
    assert ready_together([young, body({"postgres": "up"})][::order], []) == body({"postgres": "up"})
    assert ready_together([young, young][::order], []) == young


def test_a_worker_that_says_nothing_has_a_line_of_its_own():
    assert ready_together([body({"iam": "up"})], ["worker-2 down since=x why"]).endswith(
        "\nworker-2 down since=x why\n"
    )


# -- metrics ------------------------------------------------------------------------------------------------------


def shown(words, seconds):
    """What a worker shows that has counted `words` and timed `seconds`."""
    registry = CollectorRegistry()
    Gauge("bff_plain", "Without a label", registry=registry).set(len(words))
    Counter("bff_nobody", "Not counted yet", ["word"], registry=registry)
    counted = Counter("bff_words", 'By "word" {and} more', ["word"], registry=registry)
    timed = Histogram("bff_seconds", "Seconds", ["word"], buckets=(0.1, 1.0), registry=registry)
    for word in words:
        counted.labels(word).inc(exemplar={"trace": "x"})
        timed.labels(word).observe(seconds)
    return generate_latest(registry).decode()


def samples(text):
    return [
        (family.name, family.type, sample.name, tuple(sorted(sample.labels.items())), sample.value, sample.exemplar)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ("a 1", 'a{worker="3"} 1'),
        ("a{} 1 5", 'a{worker="3"} 1 5'),
        ('a_bucket{le="+Inf"} 1 # {t="}"} 2', 'a_bucket{worker="3",le="+Inf"} 1 # {t="}"} 2'),
        ('a_total 1 # {t="x"} 2', 'a_total{worker="3"} 1 # {t="x"} 2'),
    ],
)
def test_a_sample_gets_its_label_and_keeps_all_else(sample, expected):
    assert labelled(sample, 3) == expected


words = st.lists(st.text(alphabet='a} {,"\\\n=#', max_size=4), max_size=3)


@given(st.lists(st.tuples(words, st.sampled_from((0.05, 0.5, math.pi))), max_size=3))
@settings(max_examples=40)
def test_every_sample_of_every_worker_is_there_once_with_its_number_and_it_is_valid_openmetrics(workers):
    expositions = {number: shown(*worker) for number, worker in enumerate(workers, 1)}
    together = metrics_together(OWN, expositions)
    expected = samples(OWN)
    for number, text in expositions.items():
        for family, kind, name, labels, *rest in samples(text):
            expected.append((family, kind, name, tuple(sorted((*labels, ("worker", str(number))))), *rest))
    found = samples(together)
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert together.count("# EOF") == 1
    abouts = [line for line in together.splitlines() if line.startswith(("# HELP", "# TYPE"))]
    assert len(abouts) == len(set(abouts))


# -- the listener, in virtual time, over workers that are the real thing ----------------------------------------------


# Without the moments at which the library made its metrics: those are of this machine's clock.
EXPOSITION = "".join(line for line in shown(["a"], 0.5).splitlines(True) if "_created{" not in line).encode()


class Ready:
    def __init__(self):
        self.ready = True

    def lines(self):
        return body({"postgres": "up" if self.ready else "down"})


class Worker:
    """A worker's ops listener; `hangs` while it is frozen. What is no view it takes note of, as `/switches` would."""

    def __init__(self, number, outside):
        self.number = number
        self.outside = outside
        self.readiness = Ready()
        self.hangs = False
        self.seen = []
        self.token = f"token-{number}"
        self.ops = Ops(
            outside,
            self.readiness,
            metrics=lambda: (EXPOSITION, "text/metrics"),
            tasks=lambda: f"the tree of {number}\n",
            token=Secret(self.token),
        )

    def door(self, gone=""):
        url = "" if gone else f"http://worker-{self.number}:80"
        return Door(self.number, 4000 + self.number, url, self.token, BEGAN, gone)

    async def __call__(self, scope, receive, out):
        if self.hangs:
            await trio.sleep_forever()
        request = request_of(scope)
        if not request.path.startswith(("/switches", "/internal")):
            await self.ops.serve(scope, receive, out)
            return
        with within(1.0):
            self.seen.append((request, await read_body(receive)))
            await send(out, Answer(202, b"done", "text/odd", (("x-by", str(self.number)),)), f"id-of-{self.number}")


class Staff:
    """Two workers and the listener before them."""

    def __init__(self, network, token):
        outside = Outside(
            now=lambda: BEGAN + trio.current_time(), entropy=lambda n: b"\1" * n, connect=network.host("ops").connect
        )
        self.config = EdgeConfig(outside)
        self.workers = [Worker(number, outside) for number in (1, 2)]
        self.doors = [worker.door() for worker in self.workers]
        client = httpx.AsyncClient(transport=TrioTransport(Pool(outside.connect)))
        self.several = Several(outside, client, lambda: self.doors, lambda: OWN, token)
        self._desk = httpx.AsyncClient(
            transport=TrioTransport(Pool(network.host("sre").connect)), base_url="http://ops"
        )

    async def ask(self, path, method="GET", **what):
        with within(30):
            return await self._desk.request(method, path, **what)

    async def readyz(self):
        answer = await self.ask("/readyz")
        return answer.status_code, answer.text.splitlines()


@pytest.fixture
def open_staff(network):
    @asynccontextmanager
    async def opened(token=None):
        staff = Staff(network, token)
        apps = {"ops": staff.several.serve, **{f"worker-{worker.number}": worker for worker in staff.workers}}
        async with trio.open_nursery() as nursery:
            for host, app in apps.items():
                network.listen(host, 80, partial(_serve, app, staff.config), nursery)
            yield staff
            nursery.cancel_scope.cancel()

    return opened


async def _serve(app, config, stream):
    await serve_stream(app, stream, config)


async def test_while_one_is_ready_all_are_and_when_none_is_or_it_drains_none_is(autojump_clock, open_staff):
    async with open_staff() as staff:
        assert await staff.readyz() == (200, body({"postgres": "up"}).splitlines())
        staff.workers[0].readiness.ready = False
        assert await staff.readyz() == (200, body({"postgres": "down"}).splitlines())
        staff.workers[1].readiness.ready = False
        assert (await staff.readyz())[0] == 503
        staff.workers[1].readiness.ready = True
        staff.several.draining = True
        assert (await staff.readyz())[0] == 503
        assert (await staff.ask("/livez")).status_code == 200


async def test_one_that_is_frozen_keeps_nobody_waiting_and_is_named_since_it_fell_silent(autojump_clock, open_staff):
    async with open_staff() as staff:
        staff.workers[1].hangs = True
        began = trio.current_time()
        status, lines = await staff.readyz()
        assert trio.current_time() - began == pytest.approx(ASKED_WITHIN, abs=0.05)
        since = rfc3339(BEGAN + began + ASKED_WITHIN)[:-4]
        assert (status, len(lines)) == (200, 2)
        assert lines[1].startswith(f"worker-2 down since={since}")
        assert lines[1].endswith("no answer within 1 s")
        await trio.sleep(5)
        assert (await staff.readyz())[1][1] == lines[1]
        assert 'worker="1"' in (await staff.ask("/metrics")).text
        staff.workers[1].hangs = False
        assert await staff.readyz() == (200, body({"postgres": "up"}).splitlines())


async def test_one_that_is_not_there_is_named_with_what_it_does_instead(autojump_clock, open_staff):
    async with open_staff() as staff:
        staff.doors[0] = staff.workers[0].door(gone="starting")
        assert (await staff.readyz())[1][-1] == f"worker-1 down since={rfc3339(BEGAN)} starting"
        staff.doors[1] = staff.workers[1].door(gone="starting")
        assert (await staff.readyz())[0] == 503
        assert (await staff.ask("/switches")).status_code == 503


async def test_metrics_of_all_are_one_document_and_trees_come_one_after_the_other(autojump_clock, open_staff):
    async with open_staff() as staff:
        metrics = await staff.ask("/metrics")
        assert metrics.headers["content-type"].startswith("application/openmetrics-text")
        assert {dict(labels).get("worker") for _, _, _, labels, *_ in samples(metrics.text)} == {None, "1", "2"}
        tasks = (await staff.ask("/tasks")).text
        at = [tasks.index(text) for text in ("supervisor", "worker 1, pid 4001", "tree of 1", "worker 2", "tree of 2")]
        assert at == sorted(at)


async def test_what_it_does_not_know_one_worker_answers_with_method_body_and_headers_kept(autojump_clock, open_staff):
    async with open_staff(Secret("hush")) as staff:
        headers = {"authorization": "Bearer hush", "x-why": "a drill", "content-type": "application/json"}
        answer = await staff.ask("/switches/locks?x=%20y", "POST", headers=headers, content=b'{"value": "off"}')
        assert (answer.status_code, answer.text, answer.headers["content-type"]) == (202, "done", "text/odd")
        assert answer.headers["x-by"] == "1"
        assert answer.headers.get_list("x-request-id") == ["id-of-1"]
        [(request, got)] = staff.workers[0].seen
        assert (request.method, request.path, request.query, got) == (
            "POST",
            "/switches/locks",
            "x=%20y",
            b'{"value": "off"}',
        )
        assert (request.all(b"x-why"), request.all(b"authorization")) == ((b"a drill",), (b"Bearer token-1",))
        assert staff.workers[1].seen == []


async def test_who_fell_silent_is_not_given_work_and_who_refuses_is_passed_over(autojump_clock, open_staff, network):
    async with open_staff() as staff:
        staff.workers[0].hangs = True
        await staff.readyz()
        assert (await staff.ask("/switches")).headers["x-by"] == "2"
        staff.workers[0].hangs = False
        await staff.readyz()
        staff.doors[0] = Door(1, 4001, "http://nobody:80", "token", BEGAN)
        assert (await staff.ask("/switches", "POST", content=b"{}")).headers["x-by"] == "2"


async def test_nobody_waits_longer_for_a_worker_than_he_is_told(autojump_clock, open_staff):
    async with open_staff() as staff:
        for worker in staff.workers:
            worker.hangs = True
        began = trio.current_time()
        answer = await staff.ask("/switches", "POST", content=b"{}")
        assert (answer.status_code, answer.text) == (504, "no answer within 5 s\n")
        assert trio.current_time() - began == pytest.approx(PASSED_ON_WITHIN, abs=0.05)


async def test_beyond_loopback_the_ops_token_is_asked_here_and_the_platforms_own_by_the_worker(
    autojump_clock, open_staff
):
    async with open_staff(Secret("hush")) as staff:
        for path in ("/livez", "/readyz", "/metrics", "/tasks", "/switches"):
            assert (await staff.ask(path)).status_code == 401
            assert (await staff.ask(path, headers={"authorization": "Bearer token-1"})).status_code == 401
        bearer = {"authorization": "Bearer of-the-platform"}
        assert (await staff.ask("/internal/events", "POST", headers=bearer, content=b"{}")).status_code == 202
        assert staff.workers[0].seen[0][0].all(b"authorization") == (b"Bearer of-the-platform",)
        assert (await staff.ask("/livez", headers={"authorization": "Bearer hush"})).status_code == 200


async def test_a_view_is_looked_at_and_a_body_that_is_too_large_goes_no_further(autojump_clock, open_staff):
    async with open_staff() as staff:
        assert (await staff.ask("/livez", "POST")).status_code == 405
        assert (await staff.ask("/switches", "POST", content=b"x" * 262_145)).status_code == 413
        assert staff.workers[0].seen == []
