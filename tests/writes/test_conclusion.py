"""What became of a mutation, for everything that its service can say: the contract's words, case by case."""

import json

import pytest

from bff.problem import Code, Problem
from bff.stores.keys import KeptAnswer
from bff.upstreams.client import Fate, Got, Missed, Reason
from bff.upstreams.schemas.changes import KeyIssued, Posted
from bff.writes.actions import CHARGE, ISSUE_KEY
from bff.writes.conclusion import concluded, kept, replayed

DOWN, LATE, DRIFT = Reason.UPSTREAM_UNAVAILABLE, Reason.UPSTREAM_TIMEOUT, Reason.SCHEMA_DRIFT
POSTED = Posted(tenant_id="resort", id="f-1-2", folio_id="f-1", amount_minor=5, currency="EUR")

SAID = {
    "nobody listens": Missed(DOWN, "no connection", fate=Fate.NOT_SENT),
    "not asked": Missed(Reason.BREAKER_OPEN, "not asked", fate=Fate.NOT_SENT),
    "crowded": Missed(Reason.OVERLOADED, "too many", fate=Fate.NOT_SENT),
    "asked too often": Missed(DOWN, "status 429", status=429, fate=Fate.REFUSED),
    "503": Missed(DOWN, "status 503", fate=Fate.FAILED),
    "broken": Missed(DOWN, "the connection broke"),
    "silence": Missed(LATE, "no answer within 4400 ms"),
    "drift": Missed(DRIFT, "$.id: missing"),
}

# What the service said; what the key is then, if it was new and if somebody may have had it done; the desk's answer.
MUTATIONS = {
    "nobody listens": ("open", "uncertain", Code.UPSTREAM_TIMEOUT),
    "not asked": ("open", "uncertain", Code.UPSTREAM_TIMEOUT),
    "crowded": ("open", "uncertain", Code.OVERLOADED),
    "asked too often": ("open", "uncertain", Code.UPSTREAM_TIMEOUT),
    "503": ("uncertain", "uncertain", Code.UPSTREAM_TIMEOUT),
    "broken": ("uncertain", "uncertain", Code.UPSTREAM_TIMEOUT),
    "silence": ("uncertain", "uncertain", Code.UPSTREAM_TIMEOUT),
    "drift": ("uncertain", "uncertain", Code.UPSTREAM_TIMEOUT),
}
LOCKS = {
    **{said: (new, taken, Code.UPSTREAM_UNAVAILABLE) for said, (new, taken, _) in MUTATIONS.items() if new == "open"},
    "crowded": ("open", "uncertain", Code.OVERLOADED),
    "503": ("open", "uncertain", Code.UPSTREAM_UNAVAILABLE),
    **{said: MUTATIONS[said] for said in ("broken", "silence", "drift")},
}


@pytest.mark.parametrize("before", ["new", "open", "uncertain", "abandoned"])
@pytest.mark.parametrize(("action", "table"), [(CHARGE, MUTATIONS), (ISSUE_KEY, LOCKS)], ids=["charge", "lock"])
def test_no_answer_leaves_the_key_to_the_next_try_and_says_so_f4_f10(action, table, before):
    for said, (new, taken, code) in table.items():
        found = concluded(action, SAID[said], before)
        assert found.state == (new if before in {"new", "open"} else taken), said
        assert (found.reply.code, found.reply.code.retryable) == (code, True), said
        assert found.outcome == ("uncertain" if new == "uncertain" else "failure"), said
        assert found.reply.retry_after, said


def test_a_service_that_will_not_has_answered_under_its_own_status_and_code():
    found = concluded(CHARGE, Missed(DOWN, "status 422", 422, "CURRENCY", fate=Fate.REFUSED), "new")
    answer = kept(found.reply, "r-1")
    body = json.loads(answer.body)
    assert (found.state, answer.status, answer.content_type) == ("recorded", 422, "application/problem+json")
    assert (body["status"], body["upstreamCode"], body["retryable"], body["requestId"]) == (
        422,
        "CURRENCY",
        False,
        "r-1",
    )


def test_what_a_service_does_not_know_is_not_there_for_the_desk_either():
    found = concluded(CHARGE, Missed(DOWN, "status 404", 404, "NOT_FOUND", fate=Fate.REFUSED), "new")
    assert isinstance(found.reply, Problem)
    assert (found.state, found.reply.code, found.status) == ("recorded", Code.NOT_FOUND, 404)


def test_what_was_done_is_answered_with_what_the_contract_has_and_no_more():
    found = concluded(CHARGE, Got(POSTED, b"", 0.0), "uncertain")
    assert (found.state, found.outcome, found.status) == ("recorded", "success", 201)
    assert json.loads(found.reply.body) == {"id": "f-1-2", "folioId": "f-1", "amountMinor": 5, "currency": "EUR"}


def test_an_answer_from_the_record_is_the_first_one_to_the_byte_and_says_that_it_is():
    first = KeptAnswer(201, b'{"id" : 1}', "application/json", (("x-a", "b"),))
    again = replayed(first)
    assert (again.status, again.body, again.content_type) == (201, b'{"id" : 1}', "application/json")
    assert dict(again.headers) == {"x-a": "b", "idempotent-replayed": "true"}


def test_a_key_that_was_issued_is_a_lock_s_success_f10():
    issued = KeyIssued(tenant_id="resort", key_id="k-1", lock_id="lock-1", valid_until="2015-08-16T12:00:00Z")
    assert concluded(ISSUE_KEY, Got(issued, b"", 0.0), "new").outcome == "success"
