import pytest

from bff.config import Secret
from bff.ops.listener import Ops
from bff.outside import Outside


class Ready:
    def __init__(self, ready):
        self.ready = ready

    def lines(self):
        return "postgres up since=2015-08-15T00:00:00.000Z\n"


async def ask(path, *, method="GET", ready=True, token=None, headers=()):
    outside = Outside(now=lambda: 0.0, entropy=lambda n: b"\1" * n, connect=None)
    ops = Ops(
        outside, Ready(ready), metrics=lambda: (b"# EOF\n", "text/metrics"), tasks=lambda: "the tree\n", token=token
    )
    sent = []

    async def out(message):
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "scheme": "http",
        "client": ("127.0.0.1", 1),
    }
    await ops.serve(scope, None, out)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readyz_says_by_its_status_whether_work_may_be_sent_here(ready, status):
    answered, headers, body = await ask("/readyz", ready=ready)
    assert answered == status
    assert headers[b"content-type"].startswith(b"text/plain")
    assert body.startswith(b"postgres up since=")


@pytest.mark.parametrize(
    ("path", "body"), [("/livez", b"alive\n"), ("/metrics", b"# EOF\n"), ("/tasks", b"the tree\n")]
)
async def test_each_view_answers(path, body):
    assert (await ask(path))[::2] == (200, body)


async def test_an_unready_instance_is_alive():
    assert (await ask("/livez", ready=False))[0] == 200


async def test_an_unknown_path_names_those_that_there_are():
    status, _, body = await ask("/nope")
    assert status == 404
    assert b"readyz" in body


async def test_nothing_is_changed_by_a_view():
    status, headers, _ = await ask("/livez", method="POST")
    assert (status, headers[b"allow"]) == (405, b"GET")


@pytest.mark.parametrize(
    "given",
    [(), [(b"authorization", b"Bearer wrong")], [(b"authorization", b"Basic the-token")], [(b"x", b"the-token")]],
)
async def test_beyond_loopback_nothing_is_shown_without_the_token(given):
    status, headers, body = await ask("/tasks", token=Secret("the-token"), headers=given)
    assert status == 401
    assert headers[b"www-authenticate"] == b"Bearer"
    assert b"tree" not in body


async def test_the_bearer_of_the_token_sees():
    status, _, body = await ask("/tasks", token=Secret("the-token"), headers=[(b"authorization", b"bearer the-token")])
    assert (status, body) == (200, b"the tree\n")
