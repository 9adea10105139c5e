"""The table of widgets, and what a row does with an answer."""

import msgspec
import pytest

from bff.facts import SchemaDrifted
from bff.reads.widgets import WIDGETS, ShownTile, SkeletonTile, tiles
from bff.upstreams.services import KPIS, SERVICES
from nurseries import listening

GOOD = b'{"id":"adr","label":"ADR","value":101.5,"unit":"EUR","trend":null}'


def kpis(*raw):
    body = b'{"tenantId":"resort","propertyId":"p1","date":"2015-08-15","tiles":[%b]}' % b",".join(raw)
    return KPIS.decoder.decode(body)


def test_each_widget_is_one_call_and_two_services_have_none():
    asked = [widget.operation for widget in WIDGETS]
    assert len(WIDGETS) == len(set(asked)) == 14
    assert set(SERVICES) - {operation.service for operation in asked} == {"iam", "lock-integration"}


@pytest.mark.parametrize(
    ("raw", "tile", "path"),
    [
        (b'{"id":"revpar","label":"R","value":"7","unit":"","trend":null}', SkeletonTile("revpar"), "$.tiles[1].value"),
        (b'{"id":"revpar"}', SkeletonTile("revpar"), "$.tiles[1]"),
        (b'{"id":7}', SkeletonTile(None), "$.tiles[1].id"),
        (b'"drifted"', SkeletonTile(None), "$.tiles[1]"),
        (b'{"id":"\xff","label":"","value":1,"unit":"","trend":null}', SkeletonTile(None), "$.tiles[1]"),
    ],
)
async def test_a_tile_that_drifted_is_a_skeleton_among_the_others_and_on_call_hears_which_field(raw, tile, path):
    """F-14, F-15."""
    facts = []
    with listening(facts.append):
        sight = tiles(kpis(GOOD, raw, GOOD))
    assert sight is not None
    assert sight.tiles == (ShownTile("adr", "ADR", 101.5, "EUR", None), tile, sight.tiles[0])
    assert [(fact.service, fact.operation, fact.path) for fact in facts] == [("analytics", "kpis", path)]
    assert isinstance(facts[0], SchemaDrifted)
    shown = msgspec.json.decode(msgspec.json.encode(sight))
    assert [one["status"] for one in shown["tiles"]] == ["ok", "skeleton", "ok"]
    assert shown["tiles"][1]["reason"] == "SCHEMA_DRIFT"


@pytest.mark.parametrize("raw", [[], [b"7"], [b"{}", b"null"]])
def test_without_one_tile_to_show_there_is_nothing_to_show(raw):
    """F-14."""
    assert tiles(kpis(*raw)) is None
