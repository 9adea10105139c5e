"""ok, stale or skeleton: the rule for everything that is read and may be kept, at its very boundaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.model import Claims, DeviceId, Jkt, OperatorId, PropertyId, SessionId, TenantId
from bff.reads.freshness import RENEW_SECONDS, fresh, remembered, shown, to_keep
from bff.reads.widgets import WIDGETS, Whose
from bff.stores.cache import CacheKey, Kept
from bff.upstreams.client import Got, Missed, Reason

THEN = 1_439_622_000.0
TENANT = TenantId("resort")
BY_NAME = {widget.name: widget for widget in WIDGETS}
CACHED = [widget for widget in WIDGETS if widget.cached]
FRESH = [widget for widget in WIDGETS if widget.fresh]
FAILED = Missed(Reason.UPSTREAM_UNAVAILABLE, "status 503")
ANSWERS = {
    "operator": b'"operatorId":"o1","displayName":"Ana","role":"desk","language":"pt","properties":["p1"]',
    "property": b'"propertyId":"p1","name":"Praia","timeZone":"Europe/Lisbon","currency":"EUR","rooms":9,'
    b'"businessDate":"2015-08-15"',
    "housekeeping": b'"propertyId":"p1","tasks":[]',
    "maintenance": b'"propertyId":"p1","orders":[]',
    "alerts": b'"propertyId":"p1","alerts":[]',
    "sync": b'"deviceId":"d1","cursor":"c-7","serverTime":"2015-08-15T07:00:00Z","staleSync":false',
}


def claims(tenant=TENANT):
    return Claims(
        issuer="iam",
        audience="bff",
        expires_at=THEN + 900,
        issued_at=THEN,
        not_before=THEN,
        operator=OperatorId("o1"),
        tenant=tenant,
        device=DeviceId("d1"),
        session=SessionId("s1"),
        properties=(PropertyId("p1"),),
        jkt=Jkt("k1"),
    )


WHOSE = Whose(claims(), PropertyId("p1"))


def body(widget, tenant="resort"):
    return b'{"tenantId":"%b",%b}' % (tenant.encode(), ANSWERS[widget.name])


def memory_of(widget):
    found = remembered(widget, Kept(THEN, body(widget)), TENANT)
    assert found is not None
    return found


def got(widget, at, content=None):
    content = content or body(widget)
    return Got(widget.operation.decoder.decode(content), content, at)


by_name = pytest.mark.parametrize("widget", CACHED, ids=lambda widget: widget.name)


@by_name
def test_a_kept_answer_is_shown_stale_up_to_its_keep_and_not_a_millisecond_longer(widget):
    memory = memory_of(widget)
    last = shown(widget, FAILED, memory, THEN + widget.keep - 0.001)
    assert (last.status, last.as_of, last.reason) == ("stale", THEN, "")
    over = shown(widget, FAILED, memory, THEN + widget.keep + 0.001)
    assert (over.status, over.reason, over.data) == ("skeleton", "UPSTREAM_UNAVAILABLE", None)


@pytest.mark.parametrize("widget", FRESH, ids=lambda widget: widget.name)
def test_nobody_is_asked_while_what_is_kept_is_younger_than_fresh_and_somebody_is_from_then_on(widget):
    assert fresh(widget, memory_of(widget), THEN + widget.fresh - 0.001)
    assert not fresh(widget, memory_of(widget), THEN + widget.fresh)
    assert shown(widget, None, memory_of(widget), THEN + 1).status == "ok"


@pytest.mark.parametrize("widget", [one for one in CACHED if not one.fresh], ids=lambda widget: widget.name)
def test_a_widget_without_fresh_is_always_asked_for(widget):
    assert not fresh(widget, memory_of(widget), THEN)


@by_name
@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.value)
def test_whatever_the_failure_what_is_kept_is_stale_and_without_it_the_reason_is_shown(widget, reason):
    missed = Missed(reason, "why")
    assert shown(widget, missed, memory_of(widget), THEN + 1).status == "stale"
    bare = shown(widget, missed, None, THEN + 1)
    assert (bare.status, bare.reason) == ("skeleton", reason.value)


@by_name
def test_an_answer_that_came_is_ok_whatever_is_kept(widget):
    came = got(widget, THEN + 9)
    for memory in (None, memory_of(widget)):
        sight = shown(widget, came, memory, THEN + 9)
        assert (sight.status, sight.data, sight.as_of) == ("ok", came.value, THEN + 9)


@by_name
@pytest.mark.parametrize(
    "content",
    [b"", b"<!doctype html>", b"{}", b'{"tenantId":"resort"}', b"\xff", b"[" * 100_000, b'{"tenantId":"city",%b}'],
    ids=["nothing", "html", "no field", "a field missing", "no text", "nested without end", "another tenant's"],
)
def test_what_is_kept_and_cannot_be_read_is_a_miss_and_never_data(widget, content):
    if b"%b" in content:
        content %= ANSWERS[widget.name]
    assert remembered(widget, Kept(THEN, content), TENANT) is None
    assert remembered(widget, None, TENANT) is None


def test_a_cursor_out_of_the_cache_says_that_it_may_be_behind_and_the_kept_one_is_not_changed():
    widget = BY_NAME["sync"]
    memory = memory_of(widget)
    assert shown(widget, FAILED, memory, THEN + 1).data.stale_sync is True
    assert memory.value.stale_sync is False
    assert shown(widget, got(widget, THEN), None, THEN).data.stale_sync is False


def test_what_an_instance_with_a_faster_clock_kept_is_new_not_unborn():
    widget = BY_NAME["operator"]
    assert fresh(widget, memory_of(widget), THEN - 5)


@by_name
def test_the_same_answer_is_written_again_only_once_the_kept_one_has_come_of_age(widget):
    memory = memory_of(widget)
    young, old = THEN + RENEW_SECONDS - 0.001, THEN + RENEW_SECONDS
    assert to_keep(widget, WHOSE, got(widget, young), memory, young) is None
    entry = to_keep(widget, WHOSE, got(widget, old), memory, old)
    assert entry is not None
    assert (entry.kept, entry.ttl) == (Kept(old, body(widget)), widget.keep)
    assert entry.key == CacheKey(TENANT, f"widget:{widget.name}", entry.key.parts)


@by_name
def test_an_answer_that_differs_is_kept_at_once_so_that_the_last_known_is_the_last(widget):
    changed = body(widget)[:-1] + b',"new":1}'
    entry = to_keep(widget, WHOSE, got(widget, THEN, changed), memory_of(widget), THEN)
    assert entry is not None and entry.kept.body == changed


def test_only_answers_are_kept_and_only_where_the_table_says_so():
    for widget in CACHED:
        assert to_keep(widget, WHOSE, FAILED, None, THEN) is None
        assert to_keep(widget, WHOSE, None, memory_of(widget), THEN + 999_999) is None
    for widget in WIDGETS:
        entry = to_keep(widget, WHOSE, Got(None, b"{}", THEN), None, THEN)
        assert (entry is not None) == (widget.keep > 0)


names = st.text(min_size=1, max_size=6) | st.sampled_from(["a|1:b", "1:a", "|", ":", "widget:sync", "did", "0:"])
keys = st.builds(CacheKey, names, names, st.lists(names, max_size=4).map(tuple))


@given(keys, keys)
def test_two_keys_of_the_cache_meet_only_if_they_are_the_same_key(one, other):
    """F-30: whatever an id holds, no tenant's key reads as another's."""
    assert (one.text() == other.text()) == (one == other)


@given(keys)
def test_a_key_can_be_read_back_from_its_text_so_no_two_keys_share_one(key):
    """F-30: a text that has one reading cannot belong to two keys."""
    parts, rest = [], key.text()
    while rest:
        length, _, rest = rest.partition(":")
        parts.append(rest[: int(length)])
        rest = rest[int(length) + 1 :]
    assert CacheKey(parts[0], parts[1], tuple(parts[2:])) == key


@pytest.mark.parametrize("key", [("", "k", ("p",)), ("t", "", ("p",)), ("t", "k", ("p", ""))])
def test_no_key_is_made_without_its_tenant_its_kind_or_a_part(key):
    with pytest.raises(ValueError, match="names its tenant"):
        CacheKey(*key)


@by_name
def test_a_widget_s_key_is_another_one_for_another_tenant_and_for_another_of_what_it_is_about(widget):
    """F-30."""
    other_tenant = Whose(claims(TenantId("city")), PropertyId("p1"))
    assert widget.key(WHOSE).text() != widget.key(other_tenant).text()
    mine = widget.key(WHOSE)
    assert all(widget.key(WHOSE) != one.key(WHOSE) for one in CACHED if one is not widget)
    assert mine.tenant == TENANT
