"""Two readings of the contract, the server's and the estate's, made apart from each other: do they meet?"""

from random import Random

import msgspec
import pytest

from bff.upstreams import services
from bff.upstreams.drift import Drift, parsed
from bff.upstreams.schemas.money import Tile
from bff.wire.jose import public_key
from chaos.hotel.estate.hotel import build_hotel
from chaos.hotel.estate.service import Call
from chaos.hotel.estate.services import build_services

HOTEL = build_hotel()
READS = [
    one for one in services.OPERATIONS if one.method == b"GET" and one.tenant_named and one != services.LOCK_OUTCOME
]
DESKS = [(operator, house) for operator in HOTEL.operators for house in operator.properties]


@pytest.fixture
def estate():
    built, _ = build_services(HOTEL, now=lambda: 1_439_618_400.25, entropy=Random(1).randbytes, token_ttl=60)
    return {service.name: service for service in built}


def ask(estate, operation, fields, operator, body=None, key=None):
    """What the estate says to the server's own request for `operation`: its status and its bytes."""
    service = estate[operation.service]
    segments = operation.target(fields).decode().split("/")
    method = operation.method.decode()
    matches = [(one, one.match(segments)) for one in service.operations if one.method == method]
    (found,) = [(one, match) for one, match in matches if match is not None]
    assert found[0].name == operation.name
    call = Call(operation.name, operator.tenant_id, operator.operator_id, operator.properties, found[1], {}, body, key)
    reply = service.answer(found[0], call)
    return reply.status, msgspec.json.encode(reply.body)


def about(operator, house):
    guest, *_ = HOTEL.by_property[house].present()
    ids = {"pid": house, "did": "desk-1", "id": guest.folio_id}
    return {"operator": operator.operator_id, "tenant": operator.tenant_id, **ids}


def named(desk):
    return f"{desk[0].operator_id}-{desk[1]}"


def changes(house):
    """A body for every mutation's upstream call, and what it is done to, in a house as it is in the morning."""
    place = HOTEL.by_property[house]
    guest, *_ = place.present()
    staying = next(stay for stay in place.present() if stay.departure > HOTEL.day)
    leaving, *_ = place.departures(HOTEL.day)
    coming = next(stay for stay in place.arrivals(HOTEL.day) if stay.room is not None)
    broken = next(room for room in place.rooms if room.out_of_order)
    lock, money = guest.room.lock_id, {"amountMinor": 5, "currency": place.currency}
    issue = {"reservationId": guest.id, "validUntil": "2015-08-16T12:00:00Z"}
    return {
        services.CHECK_IN: (coming.id, {}),
        services.CHECK_OUT: (leaving.id, {}),
        services.ASSIGN_ROOM: (staying.id, {"roomId": staying.room.id}),
        services.MOVE_TASK: (f"t-{guest.room.id}", {"to": "inspected"}),
        services.MOVE_ORDER: (f"o-{broken.id}", {"to": "done"}),
        services.CHARGE: (guest.folio_id, {**money, "description": "Minibar"}),
        services.REFUND: (guest.folio_id, {**money, "reason": "The minibar was empty"}),
        services.ISSUE_KEY: (lock, issue),
        services.REVOKE_KEY: (lock, {"reason": "The guest lost it"}),
        services.ACKNOWLEDGE: (f"a-{place.short}-1", {}),
    }


OF_NO_HOUSE = {
    services.SAVE_PREFERENCES: {"version": 1, "values": {"language": "pt", "rows": 20, "dark": True}},
    services.HANDSHAKE: {"cursor": None},
}


CHANGES = tuple(changes(HOTEL.operators[0].properties[0]))


def test_both_know_the_same_services(estate):
    assert tuple(estate) == (*services.SERVICES, "pubsub")


@pytest.mark.parametrize("desk", DESKS, ids=named)
@pytest.mark.parametrize("operation", READS, ids=lambda one: f"{one.service}.{one.name}")
def test_every_read_answers_every_desk_with_what_the_server_expects(estate, operation, desk):
    operator, house = desk
    status, raw = ask(estate, operation, about(operator, house), operator)
    assert status == 200
    value = parsed(raw, operation.decoder, operator.tenant_id)
    assert not isinstance(value, Drift), value
    assert getattr(value, "property_id", house) == house


@pytest.mark.parametrize("desk", DESKS, ids=named)
def test_every_change_answers_every_desk_with_what_the_server_expects_and_whose_house_it_was_f4(estate, desk):
    operator, house = desk
    guest, *_ = HOTEL.by_property[house].present()
    for operation, (target, body) in changes(house).items():
        fields = {"id": target, "lockId": target, "keyId": f"k-{guest.booking.row:05d}"}
        status, raw = ask(estate, operation, fields, operator, body, operation.name)
        assert status == (201 if operation.name in {"charge", "refund", "issueKey"} else 200), (operation.name, raw)
        value = parsed(raw, operation.decoder, operator.tenant_id)
        assert not isinstance(value, Drift), (operation.name, value)
        assert value.property_id == house
    status, raw = ask(estate, services.LOCK_OUTCOME, {"key": "issueKey"}, operator)
    outcome = parsed(raw, services.LOCK_OUTCOME.decoder, operator.tenant_id)
    assert (status, outcome.outcome, outcome.status) == (200, "success", 201)
    assert services.ISSUE_KEY.decoder.decode(outcome.answer).lock_id == guest.room.lock_id


@pytest.mark.parametrize("operation", OF_NO_HOUSE, ids=lambda one: f"{one.service}.{one.name}")
def test_a_change_of_no_house_answers_with_what_the_server_expects(estate, operation):
    operator = HOTEL.operators[0]
    fields = about(operator, operator.properties[0])
    status, raw = ask(estate, operation, fields, operator, OF_NO_HOUSE[operation], "k-1")
    value = parsed(raw, operation.decoder, operator.tenant_id)
    assert (status, isinstance(value, Drift)) == (200, False), value


@pytest.mark.parametrize("desk", DESKS, ids=named)
def test_every_tile_parses_on_its_own(estate, desk):
    operator, house = desk
    _, raw = ask(estate, services.KPIS, about(operator, house), operator)
    tiles = msgspec.json.decode(raw, type=services.KPIS.answer).tiles
    assert len(tiles) >= 4
    for tile in tiles:
        msgspec.json.decode(tile, type=Tile, strict=True)


@pytest.mark.parametrize("operator", HOTEL.operators, ids=lambda one: one.operator_id)
def test_signing_in_stepping_up_renewing_and_signing_out_answer_what_the_server_expects(estate, operator):
    who = {"tenant": operator.tenant_id, "operator": operator.operator_id, "password": operator.password}
    status, raw = ask(estate, services.SIGN_IN, {}, operator, who | {"deviceId": "desk-1", "jkt": "key"})
    assert status == 201
    signed = parsed(raw, services.SIGN_IN.decoder, operator.tenant_id)
    assert [house.id for house in signed.properties] == list(operator.properties)
    resource = about(operator, operator.properties[0])["id"]
    factor = {"sessionId": signed.session_id, "jkt": "key", "code": operator.mfa_code}
    asked = {**factor, "action": "folio.refund", "resource": resource}
    status, raw = ask(estate, services.ATTEST_STEP_UP, {}, operator, asked)
    assert status == 201
    attested = parsed(raw, services.ATTEST_STEP_UP.decoder, operator.tenant_id)
    assert (attested.action, attested.resource) == ("folio.refund", resource)
    status, raw = ask(estate, services.REFRESH, {}, operator, {"refreshToken": signed.refresh_token, "jkt": "key"})
    assert status == 200
    renewed = parsed(raw, services.REFRESH.decoder, operator.tenant_id)
    assert renewed.session_id == signed.session_id
    status, raw = ask(estate, services.REVOKE, {"sid": signed.session_id}, operator)
    assert status == 200
    assert parsed(raw, services.REVOKE.decoder, operator.tenant_id).revoked


def test_iam_s_keys_are_keys_to_the_server(estate):
    _, raw = ask(estate, services.JWKS, {}, HOTEL.operators[0])
    (jwk,) = msgspec.json.decode(raw)["keys"]
    assert public_key(jwk) is not None


def test_every_operation_of_the_server_s_table_was_asked_here():
    others = {services.SIGN_IN, services.REFRESH, services.REVOKE, services.ATTEST_STEP_UP, services.JWKS}
    others |= {*CHANGES, *OF_NO_HOUSE, services.LOCK_OUTCOME}
    assert {*READS, *others} == set(services.OPERATIONS)
