"""What every answer says of itself, whichever it is: nobody keeps it, nobody guesses what it is, nobody frames it."""

import pytest

from bff.wire.edge import Room
from bff.wire.limits import EdgeConfig
from chaos.hotel.world import open_world
from nurseries import within

ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
POLICY = "content-security-policy"
PAGE = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"  # the one page that is for people
HSTS = "strict-transport-security"


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/v1/dashboard", "/v1/nothing", "/v1/session"])
@pytest.mark.parametrize("public", [None, "https://desks.example"])
async def test_every_answer_says_so_and_that_it_is_to_be_had_by_tls_alone_where_it_is(autojump_clock, path, public):
    async with open_world(known_as={} if public is None else {"public": public}) as world:
        with within(10):
            answer = await world.client("browser").get(f"http://bff{path}")
        said = {name: answer.headers.get_list(name) for name in (*ALWAYS, HSTS, "server", "x-powered-by")}
        expected = {**ALWAYS, POLICY: PAGE} if path == "/" else ALWAYS
        assert {name: said[name] for name in ALWAYS} == {name: [value] for name, value in expected.items()}
        assert said[HSTS] == ([] if public is None else ["max-age=31536000"])
        assert said["server"] == said["x-powered-by"] == []
        assert answer.headers["x-request-id"]


async def test_a_refusal_of_the_edge_itself_says_so_too(autojump_clock):
    async with open_world() as world:
        room = world.servers["bff"].room
        plain = room.refusal(431, "too large").decode().lower()
        secured = (
            Room(room.app, EdgeConfig(room.config.outside, tls=object())).refusal(431, "too large").decode().lower()
        )
        for name, value in ALWAYS.items():
            assert f"\r\n{name}: {value}\r\n" in plain and f"\r\n{name}: {value}\r\n" in secured
        assert HSTS not in plain and f"\r\n{HSTS}: max-age=31536000\r\n" in secured
