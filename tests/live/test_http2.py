"""The whole server over HTTP/2, which is Hypercorn's, on real sockets and real stores."""

import httpx

from bff.outside import real
from bff.wire.dial import connect
from chaos.hotel.fleet.desk import Desk, Operator


async def test_a_desk_that_speaks_http_2_signs_in_and_sees_the_whole_day(hotel):
    first = hotel.said["operators"][0]
    async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client:
        desk = Desk(client, hotel.said["edge"], real(connect), device="http-2")
        await desk.sign_in(Operator(first["tenant"], first["operator"], first["password"]))
        in_hand = await desk.ask("GET", "/v1/session")
        assert (in_hand.http_version, in_hand.status_code) == ("HTTP/2", 200)
        assert in_hand.json()["deviceId"] == "http-2"
        seen = await desk.dashboard()
    assert {widget["status"] for widget in seen.body["widgets"].values()} == {"ok"}
    assert len(seen.body["widgets"]) == 14
