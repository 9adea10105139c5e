"""What a desk does beside reservations: boards, folios, keys, alerts, preferences, and its place in the sync."""

from datetime import timedelta

import pytest
import trio

from chaos.hotel.estate.hotel import BUSINESS_DAY, build_hotel

HOUSE = build_hotel().by_property["resort-praia"]
GUEST = HOUSE.present()[0]
FOLIO = f"/folios/{GUEST.folio_id}"
KEY = GUEST.id.replace("r-", "k-")
REVOKE = f"/locks/{GUEST.room.lock_id}/keys/{KEY}/revoke"
EUROS = {"amountMinor": 1250, "currency": "EUR"}
HOUSES = [house.id for house in build_hotel().properties]


@pytest.fixture(params=["housekeeping", "maintenance"])
def board(request):
    """Service, the word for a card, a board's columns."""
    return {
        "housekeeping": ("housekeeping", "task", ["dirty", "cleaning", "clean", "inspected"]),
        "maintenance": ("maintenance", "order", ["open", "in-progress", "done"]),
    }[request.param]


async def cards(ask, service, word, house="resort-praia"):
    return (await ask.get(service, f"/properties/{house}/board")).body[f"{word}s"]


@pytest.mark.parametrize("house", HOUSES)
async def test_every_house_has_something_to_clean_to_repair_and_to_be_alerted_to(ask, house):
    asks = ask.by(tenant=house.partition("-")[0], scope=house)
    assert len(await cards(asks, "housekeeping", "task", house)) >= 20
    orders = await cards(asks, "maintenance", "order", house)
    assert [order["status"] for order in orders].count("open") >= 2
    alerts = (await asks.get("notification", f"/properties/{house}/alerts")).body["alerts"]
    assert len(alerts) >= 3
    assert {alert["severity"] for alert in alerts} == {"critical", "warning", "info"}
    assert [alert["at"] for alert in alerts] == sorted(alert["at"] for alert in alerts)
    assert len((await asks.get("ai-orchestrator", f"/properties/{house}/suggestions")).body["suggestions"]) >= 2


async def test_a_card_is_moved_to_any_column_and_the_board_shows_it(ask, board):
    service, word, columns = board
    for column in (*columns, columns[0]):
        card = (await cards(ask, service, word))[0]
        moved = await ask.post(service, f"/{word}s/{card['id']}/transition", {"to": column})
        assert (moved.status, moved.body["id"], moved.body["status"]) == (200, card["id"], column)
        assert (await cards(ask, service, word))[0] == card | {"status": column}


async def test_a_card_that_is_moved_to_where_it_is_has_not_moved(ask, board):
    service, word, columns = board
    card = (await cards(ask, service, word))[0]
    target = f"/{word}s/{card['id']}/transition"
    assert (await ask.post(service, target, {"to": card["status"]})).status == 200
    assert ask.counts(service, "transition")["effects"] == 0
    await ask.post(service, target, {"to": columns[1]})
    assert ask.counts(service, "transition")["effects"] == 1


async def test_a_card_is_not_moved_to_a_column_that_is_not_there(ask, board):
    service, word, _ = board
    card = (await cards(ask, service, word))[0]
    assert (await ask.post(service, f"/{word}s/{card['id']}/transition", {"to": "gone"})).code == "INVALID"
    assert (await cards(ask, service, word))[0] == card


async def test_the_rooms_that_guests_leave_are_dirty_in_the_morning(ask):
    tasks = {task["roomId"]: task for task in await cards(ask, "housekeeping", "task")}
    for stay in HOUSE.departures(BUSINESS_DAY):
        assert (tasks[stay.room.id]["kind"], tasks[stay.room.id]["status"]) == ("departure", "dirty")
    for stay in HOUSE.arrivals(BUSINESS_DAY):
        assert stay.room is None or tasks[stay.room.id]["status"] in ("clean", "inspected")


@pytest.mark.parametrize("house", HOUSES)
async def test_a_balance_is_the_sum_of_its_lines_and_the_summary_the_sum_of_open_balances(ask, house):
    asks = ask.by(tenant=house.partition("-")[0], scope=house)
    balances = []
    for stay in build_hotel().by_property[house].present():
        folio = (await asks.get("billing", f"/folios/{stay.folio_id}")).body
        assert folio["balanceMinor"] == sum(line["amountMinor"] for line in folio["lines"])
        nights = [line for line in folio["lines"] if line["description"].startswith("Room")]
        assert len(nights) == ((BUSINESS_DAY - stay.arrival).days if stay.booking.rate_minor else 0)
        assert len({line["id"] for line in folio["lines"]}) == len(folio["lines"])
        balances.append(folio["balanceMinor"])
    summary = (await asks.get("billing", f"/properties/{house}/folios")).body
    assert (summary["open"], summary["balanceMinor"]) == (len(balances), sum(balances))
    assert [one["balanceMinor"] for one in summary["folios"]] == sorted(balances, reverse=True)[:8]


async def test_a_charge_is_a_line_and_the_balance_and_the_summary_follow(ask):
    before = (await ask.get("billing", FOLIO)).body
    owed = (await ask.get("billing", "/properties/resort-praia/folios")).body["balanceMinor"]
    posted = await ask.post("billing", f"{FOLIO}/charges", EUROS | {"description": "Minibar"})
    assert posted.status == 201
    whose = {"tenantId": "resort", "propertyId": "resort-praia", "id": "", "folioId": GUEST.folio_id}
    assert posted.body | {"id": ""} == whose | EUROS | {"description": "Minibar"}
    after = (await ask.get("billing", FOLIO)).body
    assert after["balanceMinor"] == before["balanceMinor"] + 1250
    line = {"amountMinor": 1250, "description": "Minibar", "at": after["lines"][-1]["at"], "id": posted.body["id"]}
    assert after["lines"] == [*before["lines"], line]
    assert (await ask.get("billing", "/properties/resort-praia/folios")).body["balanceMinor"] == owed + 1250


async def test_a_refund_lowers_the_balance_and_never_gives_back_more_than_was_charged(ask):
    before = (await ask.get("billing", FOLIO)).body
    charged = sum(line["amountMinor"] for line in before["lines"] if line["amountMinor"] > 0)
    refund = EUROS | {"amountMinor": charged - 1, "reason": "the air-conditioning"}
    posted = await ask.post("billing", f"{FOLIO}/refunds", refund)
    assert (posted.status, posted.body["amountMinor"], posted.body["folioId"]) == (201, charged - 1, GUEST.folio_id)
    after = (await ask.get("billing", FOLIO)).body
    assert after["balanceMinor"] == before["balanceMinor"] - charged + 1
    assert (await ask.post("billing", f"{FOLIO}/refunds", refund | {"amountMinor": 2})).code == "REFUND_TOO_LARGE"
    assert (await ask.post("billing", f"{FOLIO}/refunds", refund | {"amountMinor": 1})).status == 201
    assert ask.counts("billing", "refund") == {"calls": 3, "distinctKeys": 0, "effects": 2}


@pytest.mark.parametrize("what", ["charges", "refunds"])
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"currency": "USD"}, "CURRENCY"),
        ({"amountMinor": 0}, "INVALID"),
        ({"amountMinor": -5}, "INVALID"),
        ({"amountMinor": 12.5}, "INVALID"),
        ({"amountMinor": True}, "INVALID"),
        ({"description": "", "reason": ""}, "INVALID"),
    ],
)
async def test_money_that_is_not_money_of_the_folio_is_refused(ask, what, wrong, code):
    body = EUROS | {"description": "Tea", "reason": "cold"} | wrong
    before = (await ask.get("billing", FOLIO)).body
    refused = await ask.post("billing", f"{FOLIO}/{what}", body)
    assert (refused.status, refused.code) == (422, code)
    assert (await ask.get("billing", FOLIO)).body == before


async def issue(ask, *, lock=GUEST.room.lock_id, stay=GUEST.id, until="2015-08-22T10:00:00Z", key=None):
    return await ask.post("lock-integration", f"/locks/{lock}/keys", {"reservationId": stay, "validUntil": until}, key)


async def test_a_key_is_cut_for_a_guest_and_each_has_an_id_of_its_own(ask):
    one, two = await issue(ask), await issue(ask)
    assert one.status == 201
    assert (one.body["lockId"], one.body["validUntil"]) == (GUEST.room.lock_id, "2015-08-22T10:00:00Z")
    assert one.body["keyId"] != two.body["keyId"]
    assert ask.counts("lock-integration", "issueKey")["effects"] == 2


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"stay": "r-99999"}, 404),
        ({"stay": "r-01119"}, 404),  # a guest of the other house
        ({"lock": "lock-praia-999"}, 404),
        ({"until": "tomorrow"}, 422),
        ({"until": "2015-08-22T10:00:00"}, 422),  # in which time zone?
    ],
)
async def test_no_key_for_a_guest_a_door_or_a_time_that_is_not_there(ask, wrong, status):
    assert (await issue(ask, **wrong)).status == status
    assert ask.counts("lock-integration", "issueKey")["effects"] == 0


async def test_the_morning_s_key_of_a_guest_is_revoked_once_and_stays_revoked(autojump_clock, ask):
    first = await ask.post("lock-integration", REVOKE, {"reason": "lost"}, key="a")
    assert (first.status, first.body["keyId"]) == (200, KEY)
    assert first.body["revokedAt"] == "2015-08-15T06:00:00.000Z"
    await trio.sleep(5)
    again = await ask.post("lock-integration", REVOKE, {"reason": "lost"}, key="b")
    assert again.body == first.body
    assert ask.counts("lock-integration", "revokeKey") == {"calls": 2, "distinctKeys": 2, "effects": 1}


async def test_a_key_is_revoked_at_its_own_lock_only(ask):
    other = next(room.lock_id for room in HOUSE.rooms if room is not GUEST.room)
    assert (await ask.post("lock-integration", f"/locks/{other}/keys/{KEY}/revoke", {"reason": "x"})).status == 404
    assert (await ask.post("lock-integration", REVOKE, {})).code == "INVALID"
    assert ask.counts("lock-integration", "revokeKey")["effects"] == 0


async def test_what_an_attempt_came_to_can_be_asked_by_its_key_success_or_failure(ask):
    issued = await issue(ask, key="a key/with a slash")
    refused = await issue(ask, stay="r-99999", key="b")
    outcome = (await ask.get("lock-integration", "/operations/a%20key%2Fwith%20a%20slash")).body
    assert outcome == {
        "tenantId": "resort",
        "key": "a key/with a slash",
        "operation": "issueKey",
        "outcome": "success",
        "status": 201,
        "answer": issued.body,
    }
    outcome = (await ask.get("lock-integration", "/operations/b")).body
    assert (outcome["outcome"], outcome["status"], outcome["answer"]) == ("failure", 404, refused.body)


async def test_an_attempt_that_never_came_or_is_another_s_has_no_outcome(ask):
    await issue(ask, key="a")
    assert (await ask.get("lock-integration", "/operations/b")).code == "NOT_FOUND"
    for stranger in ({"tenant": "city"}, {"operator": "tiago"}):
        assert (await ask.by(**stranger).get("lock-integration", "/operations/a")).code == "NOT_FOUND"


async def test_an_alert_is_acknowledged_once_and_a_repeat_says_the_same(ask):
    first = await ask.post("notification", "/alerts/a-praia-1/ack", {}, key="a")
    again = await ask.post("notification", "/alerts/a-praia-1/ack", {}, key="b")
    assert (first.status, first.body["id"], first.body["acknowledged"]) == (200, "a-praia-1", True)
    assert first.body == again.body
    assert ask.counts("notification", "ack") == {"calls": 2, "distinctKeys": 2, "effects": 1}
    alerts = (await ask.get("notification", "/properties/resort-praia/alerts")).body["alerts"]
    assert [alert["acknowledged"] for alert in alerts] == [True, *[False] * (len(alerts) - 1)]


async def test_preferences_are_written_over_the_version_that_was_read_and_no_other(ask):
    path = "/operators/ines/preferences"
    read = (await ask.get("tenant", path)).body
    values = {"theme": "dark", "rows": 20, "scale": 1.5, "sound": False}
    wrote = await ask("tenant", "PUT", path, {"version": read["version"], "values": values})
    assert wrote.status == 200
    assert wrote.body == read | {"version": read["version"] + 1, "values": values}
    assert (await ask.get("tenant", path)).body == wrote.body
    for version in (read["version"], wrote.body["version"] + 1):
        other = await ask("tenant", "PUT", path, {"version": version, "values": {}})
        assert (other.status, other.code) == (409, "VERSION_CONFLICT")
    assert (await ask.get("tenant", path)).body == wrote.body
    assert ask.counts("tenant", "preferences")["effects"] == 1


async def test_preferences_are_an_operator_s_own(ask):
    await ask("tenant", "PUT", "/operators/ines/preferences", {"version": 1, "values": {"theme": "dark"}})
    assert (await ask.get("tenant", "/operators/tiago/preferences")).body["version"] == 1
    assert (await ask.get("tenant", "/operators/carla/preferences")).code == "NOT_FOUND"  # of the other tenant


@pytest.mark.parametrize("values", [{"a": None}, {"a": [1]}, {f"n{i}": i for i in range(65)}])
async def test_preferences_are_plain_values_and_not_too_many(ask, values):
    refused = await ask("tenant", "PUT", "/operators/ines/preferences", {"version": 1, "values": values})
    assert (refused.status, refused.code) == (422, "INVALID")


async def test_a_tenant_sees_its_own_standing_alone_and_at_once_when_it_changes(ask):
    assert (await ask.get("tenant", "/tenants/resort")).body["status"] == "active"
    assert ask.authority.stand("resort", "suspended")
    assert (await ask.get("tenant", "/tenants/resort")).body["status"] == "suspended"
    assert (await ask.get("tenant", "/tenants/city")).code == "NOT_FOUND"
    assert (await ask.by(tenant="city").get("tenant", "/tenants/city")).body["status"] == "active"
    assert not ask.authority.stand("nobody", "active")
    assert not ask.authority.stand("resort", "closed")


async def test_a_handshake_moves_the_device_s_cursor_and_a_lost_device_is_told_that_it_is_behind(autojump_clock, ask):
    async def shake(cursor):
        return (await ask.post("sync", "/devices/d1/handshake", {"cursor": cursor})).body

    fresh = (await ask.get("sync", "/devices/d1/cursor")).body
    assert fresh == {
        "tenantId": "resort",
        "deviceId": "d1",
        "cursor": "c-000001",
        "serverTime": "2015-08-15T06:00:00.000Z",
        "staleSync": False,
    }
    await trio.sleep(1.5)
    first = await shake(None)
    assert (first["staleSync"], first["serverTime"]) == (False, "2015-08-15T06:00:01.500Z")
    assert first["cursor"] != fresh["cursor"]
    second = await shake(first["cursor"])
    assert not second["staleSync"]
    lost = await shake(first["cursor"])
    assert lost["staleSync"]
    assert (await ask.get("sync", "/devices/d1/cursor")).body["cursor"] == lost["cursor"]
    assert not (await shake(lost["cursor"]))["staleSync"]


async def test_devices_of_two_tenants_are_two_though_their_ids_are_the_same(ask):
    await ask.post("sync", "/devices/d1/handshake", {"cursor": None})
    assert (await ask.by(tenant="city").get("sync", "/devices/d1/cursor")).body["cursor"] == "c-000001"


@pytest.mark.parametrize("house", HOUSES)
async def test_rates_are_what_was_booked_that_night_but_for_who_pays_nothing(ask, house):
    asks = ask.by(tenant=house.partition("-")[0], scope=house)
    for night in (BUSINESS_DAY + timedelta(days) for days in range(7)):
        rates = (await asks.get("pricing", f"/properties/{house}/rates?date={night}")).body["rates"]
        paying = [stay.booking for stay in build_hotel().by_property[house].asleep(night) if stay.booking.rate_minor]
        assert [rate["roomType"] for rate in rates] == sorted({booking.room_type for booking in paying})
        for rate in rates:
            booked = sorted(booking.rate_minor for booking in paying if booking.room_type == rate["roomType"])
            assert (rate["lowestMinor"], rate["highestMinor"]) == (booked[0], booked[-1])
            assert rate["amountMinor"] == booked[len(booked) // 2]


@pytest.mark.parametrize("house", HOUSES)
async def test_inventory_and_analytics_agree_on_how_full_the_house_is(ask, house):
    asks = ask.by(tenant=house.partition("-")[0], scope=house)
    occupancy = (await asks.get("inventory", f"/properties/{house}/occupancy")).body
    tiles = {tile["id"]: tile for tile in (await asks.get("analytics", f"/properties/{house}/kpis")).body["tiles"]}
    assert occupancy["occupied"] == len(build_hotel().by_property[house].asleep(BUSINESS_DAY))
    assert tiles["occupancy"]["value"] == pytest.approx(occupancy["occupancyPercent"], abs=0.06)
    assert tiles["arrivals"]["value"] == occupancy["arrivals"]
    assert tiles["revpar"]["value"] < tiles["adr"]["value"]
    assert all(set(tile) == {"id", "label", "value", "unit", "trend"} for tile in tiles.values())
