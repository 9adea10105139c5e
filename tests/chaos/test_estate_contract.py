"""CONTRACT section 8, held against every service at once: its table, who may see what, and what each answer names."""

import pytest

from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.services import build_services

# The table as the contract has it.
TABLE = """\
iam               signIn         POST    /sessions
iam               refresh        POST    /sessions/refresh
iam               revoke         DELETE  /sessions/{id}
iam               attestStepUp   POST    /attestations
iam               jwks           GET     /jwks
tenant            operator       GET     /operators/{id}
tenant            status         GET     /tenants/{id}
tenant            preferences    GET     /operators/{id}/preferences
tenant            preferences    PUT     /operators/{id}/preferences
property          property       GET     /properties/{pid}
reservation       arrivals       GET     /properties/{pid}/arrivals
reservation       departures     GET     /properties/{pid}/departures
reservation       inHouse        GET     /properties/{pid}/inHouse
reservation       workbench      GET     /properties/{pid}/workbench
reservation       checkIn        POST    /reservations/{id}/check-in
reservation       checkOut       POST    /reservations/{id}/check-out
reservation       assignRoom     POST    /reservations/{id}/room
inventory         occupancy      GET     /properties/{pid}/occupancy
pricing           rateSnapshot   GET     /properties/{pid}/rates
housekeeping      board          GET     /properties/{pid}/board
housekeeping      transition     POST    /tasks/{id}/transition
maintenance       board          GET     /properties/{pid}/board
maintenance       transition     POST    /orders/{id}/transition
billing           folioSummary   GET     /properties/{pid}/folios
billing           folio          GET     /folios/{id}
billing           charge         POST    /folios/{id}/charges
billing           refund         POST    /folios/{id}/refunds
lock-integration  issueKey       POST    /locks/{id}/keys
lock-integration  revokeKey      POST    /locks/{id}/keys/{keyId}/revoke
lock-integration  outcome        GET     /operations/{key}
notification      inbox          GET     /properties/{pid}/alerts
notification      ack            POST    /alerts/{id}/ack
sync              handshake      POST    /devices/{did}/handshake
sync              cursor         GET     /devices/{did}/cursor
analytics         kpis           GET     /properties/{pid}/kpis
ai-orchestrator   suggestions    GET     /properties/{pid}/suggestions
pubsub            publish        POST    /v1/projects/{p}/topics/{t}:publish
"""
ROWS = [tuple(line.split()) for line in TABLE.splitlines()]
OF_A_HOUSE = [(service, method, path) for service, _, method, path in ROWS if "{pid}" in path]

# Something of resort-serra's for each operation on a thing: its path, and a body that would do.
THINGS = [
    ("reservation", "/reservations/r-01119/check-in", {}),
    ("reservation", "/reservations/r-01119/check-out", {}),
    ("reservation", "/reservations/r-01119/room", {"roomId": "serra-101"}),
    ("housekeeping", "/tasks/t-serra-219/transition", {"to": "clean"}),
    ("maintenance", "/orders/{order}/transition", {"to": "done"}),
    ("billing", "/folios/f-01119/charges", {"amountMinor": 1, "currency": "EUR", "description": "Tea"}),
    ("billing", "/folios/f-01119/refunds", {"amountMinor": 1, "currency": "EUR", "reason": "Cold"}),
    (
        "lock-integration",
        "/locks/lock-serra-101/keys",
        {"reservationId": "r-01119", "validUntil": "2015-08-19T10:00:00Z"},
    ),
    ("lock-integration", "/locks/{lock}/keys/{key}/revoke", {"reason": "lost"}),
    ("notification", "/alerts/a-serra-1/ack", {}),
]


async def filled(ask, path):
    """A path of `THINGS`, with what is drawn from the seed filled in."""
    order = (await ask.get("maintenance", "/properties/resort-serra/board")).body["orders"][0]
    guest = (await ask.get("reservation", "/properties/resort-serra/inHouse")).body["items"][0]
    key = guest["id"].replace("r-", "k-")
    return path.format(order=order["id"], lock=guest["lockId"], key=key)


def test_the_estate_has_the_operations_of_the_contract_and_no_others(ask):
    built = [(s.name, o.name, o.method, o.path) for s in ask.services.values() for o in s.operations]
    assert built == ROWS


@pytest.mark.parametrize(("service", "method", "path"), OF_A_HOUSE)
async def test_a_house_answers_its_tenant_and_is_unknown_to_any_other_and_out_of_scope(
    autojump_clock, ask, service, method, path
):
    target = path.format(pid="resort-serra")
    own = await ask(service, method, target)
    assert own.status == 200
    assert own.body["tenantId"] == "resort"
    assert own.body["propertyId"] == "resort-serra"
    assert (await ask.by(scope=None)(service, method, target)).status == 200  # who claims no scope is bound by none
    for stranger in ({"tenant": "city", "scope": None}, {"tenant": "city"}, {"scope": "resort-praia"}, {"scope": ""}):
        refused = await ask.by(**stranger)(service, method, target)
        assert (refused.status, refused.code) == (404, "NOT_FOUND"), stranger
        assert "serra" not in refused.raw.decode()


@pytest.mark.parametrize(("service", "path", "body"), THINGS)
async def test_a_thing_of_another_tenant_s_or_out_of_scope_is_not_found_and_not_changed(
    autojump_clock, ask, service, path, body
):
    target = await filled(ask, path)
    for stranger in ({"tenant": "city", "scope": None}, {"scope": "resort-praia"}):
        refused = await ask.by(**stranger).post(service, target, body, key="k")
        assert (refused.status, refused.code) == (404, "NOT_FOUND")
    assert not any(count.effects for count in ask.services[service].counts.values())


@pytest.mark.parametrize(("service", "path", "body"), THINGS)
async def test_the_same_change_in_scope_is_answered_and_a_repeat_with_its_key_is_the_same_answer(
    ask, service, path, body
):
    target = await filled(ask, path)
    first = await ask.post(service, target, body, key="k")
    assert first.status != 404
    assert first.body["tenantId"] == "resort"
    effects = {name: count.effects for name, count in ask.services[service].counts.items()}
    again = await ask.post(service, target, body, key="k")
    assert (again.status, again.raw) == (first.status, first.raw)
    assert {name: count.effects for name, count in ask.services[service].counts.items()} == effects


async def test_a_key_is_one_operator_s_of_one_tenant_s(autojump_clock, ask):
    charge = {"amountMinor": 100, "currency": "EUR", "description": "Tea"}
    mine = await ask.post("billing", "/folios/f-01118/charges", charge, key="k")
    hers = await ask.by(operator="tiago").post("billing", "/folios/f-01118/charges", charge, key="k")
    assert mine.body["id"] != hers.body["id"]
    assert ask.counts("billing", "charge") == {"calls": 2, "distinctKeys": 2, "effects": 2}


async def test_without_a_key_nothing_is_remembered(autojump_clock, ask):
    charge = {"amountMinor": 100, "currency": "EUR", "description": "Tea"}
    for _ in range(2):
        await ask.post("billing", "/folios/f-01118/charges", charge)
    assert ask.counts("billing", "charge") == {"calls": 2, "distinctKeys": 0, "effects": 2}


@pytest.mark.parametrize(
    ("service", "target"),
    [
        ("billing", "/folios/f-01118/charges"),
        ("billing", "/folios/f-01118/refunds"),
        ("reservation", "/reservations/r-01118/room"),
        ("housekeeping", "/tasks/t-praia-303/transition"),
        ("lock-integration", "/locks/lock-praia-303/keys"),
        ("sync", "/devices/d1/handshake"),
        ("iam", "/sessions"),
        ("iam", "/sessions/refresh"),
        ("iam", "/attestations"),
    ],
)
@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b'{"a', b'"\xff"', b"[" * 100_000, b'{"amountMinor": "5"}'])
async def test_a_body_that_is_not_what_it_should_be_is_refused_and_nothing_else_happens(
    autojump_clock, ask, service, target, raw
):
    refused = await ask(service, "POST", target, raw=raw)
    assert (refused.status, refused.code) == (422, "INVALID")
    assert not any(count.effects for count in ask.services[service].counts.values())


@pytest.mark.parametrize(
    ("said", "status"),
    [("2015-08-16", 200), ("", 200), ("9999-12-31", 400), ("0001-01-01", 400), ("tomorrow", 400), ("2015-13-01", 400)],
)
@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("reservation", "arrivals"),
        ("reservation", "workbench"),
        ("inventory", "occupancy"),
        ("pricing", "rates"),
        ("analytics", "kpis"),
    ],
)
async def test_a_day_is_the_business_day_where_none_is_said_and_nonsense_is_refused(
    autojump_clock, ask, service, name, said, status
):
    answer = await ask.get(service, f"/properties/resort-praia/{name}?date={said}")
    assert answer.status == status
    if status == 200:
        assert answer.body["date"] == (said or "2015-08-15")


async def test_a_path_that_is_no_operation_is_refused_and_counted_nowhere(autojump_clock, ask):
    for method, target in (("GET", "/folios"), ("PUT", "/folios/f-01118"), ("GET", "/folios/f-01118/"), ("GET", "/")):
        refused = await ask("billing", method, target)
        assert (refused.status, refused.code) == (404, "NO_OPERATION")
    assert not any(count.calls for count in ask.services["billing"].counts.values())


async def test_an_id_is_percent_decoded_and_cannot_leave_its_segment(autojump_clock, ask):
    assert (await ask.get("billing", "/folios/f%2D01118")).status == 200
    assert (await ask.get("billing", "/folios/x%2Ff-01118")).code == "NOT_FOUND"


async def test_a_read_is_encoded_once_until_a_change_has_an_effect(autojump_clock, ask):
    service = ask.services["notification"]
    inbox = next(one for one in service.operations if one.name == "inbox")
    asked_for = []

    def handler(call):
        asked_for.append(call)
        return inbox.handler(call)

    service.operations = (
        type(inbox)("inbox", "GET", inbox.path, handler, kept=True),
        *(one for one in service.operations if one is not inbox),
    )
    for _ in range(3):
        first = await ask.get("notification", "/properties/resort-praia/alerts")
    assert len(asked_for) == 1
    assert ask.counts("notification", "inbox")["calls"] == 3
    await ask.by(scope="resort-praia").get("notification", "/properties/resort-praia/alerts")
    assert len(asked_for) == 2  # on whose behalf is a part of the question
    await ask.post("notification", "/alerts/a-praia-1/ack", {}, key="k")
    after = await ask.get("notification", "/properties/resort-praia/alerts")
    assert len(asked_for) == 3
    assert first.body["alerts"][0]["acknowledged"] is False
    assert after.body["alerts"][0]["acknowledged"] is True


async def test_the_memory_of_encoded_reads_and_of_keys_is_bounded(ask, monkeypatch):
    monkeypatch.setattr("chaos.hotel.estate.service.READS_KEPT", 10)
    monkeypatch.setattr("chaos.hotel.estate.service.KEYS_KEPT", 10)
    service = ask.services["billing"]
    charge = {"amountMinor": 100, "currency": "EUR", "description": "Tea"}
    kept = []
    for number in range(25):
        await ask.get("billing", f"/folios/f-01118?n={number}")
        kept.append(len(service._reads))
    assert max(kept) == 10
    for number in range(25):
        await ask.post("billing", "/folios/f-01118/charges", charge, key=f"k{number}")
    assert len(service._answers) == 10
    again = await ask.post("billing", "/folios/f-01118/charges", charge, key="k24")
    assert again.body["id"] == "f-01118-25"  # the youngest are those that are kept


async def test_the_same_seed_and_the_same_calls_give_the_same_answers_byte_for_byte(make_estate, autojump_clock):
    who = {"tenant": "resort", "operator": "ines", "password": "ines-desk-2015", "deviceId": "d1", "jkt": "key"}

    async def told(seed):
        ask = make_estate(seed)
        signed = await ask.post("iam", "/sessions", who)
        issued = await ask.post(
            "lock-integration",
            "/locks/lock-praia-303/keys",
            {"reservationId": "r-01118", "validUntil": "2015-08-17T10:00:00Z"},
        )
        return signed.raw, issued.raw, (await ask.get("iam", "/jwks")).raw

    assert await told(1) == await told(1)
    assert (await told(1))[0] != (await told(2))[0]


def test_two_estates_share_no_memory():
    hotel = build_hotel()
    (one, _), (other, _) = (build_services(hotel, now=lambda: 0.0, entropy=bytes, token_ttl=1) for _ in range(2))
    assert not {id(service) for service in one} & {id(service) for service in other}
