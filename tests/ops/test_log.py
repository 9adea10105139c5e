import io
import json

import pytest

from bff import facts
from bff.log import lines, logger, struck
from nurseries import BreakerOpened


def test_a_fact_worth_a_line_is_a_json_line_with_its_words():
    out = io.StringIO()
    hear = lines(logger(out, now=lambda: 0.0))
    hear(BreakerOpened("pricing.rateSnapshot", "consecutive"))
    hear(facts.WidgetServed("ai", "ok", ""))
    (line,) = out.getvalue().splitlines()
    assert json.loads(line) == {
        "at": "1970-01-01T00:00:00.000Z",
        "event": "breaker opened",
        "level": "warning",
        "name": "pricing.rateSnapshot",
        "why": "consecutive",
    }


def test_only_answers_that_failed_are_logged():
    out = io.StringIO()
    hear = lines(logger(out, now=lambda: 0.0))
    hear(facts.RequestServed("/v1/dashboard", "GET", 200, "", 0.1))
    hear(facts.RequestServed("/v1/dashboard", "GET", 502, "UPSTREAM_UNAVAILABLE", 0.1))
    assert [json.loads(line)["status"] for line in out.getvalue().splitlines()] == [502]


def test_people_read_words_on_a_terminal():
    out = io.StringIO()
    logger(out, now=lambda: 0.0, human=True).info("ready", edge="http://127.0.0.1:8080")
    assert "00:00:00.000" in out.getvalue()
    assert "edge=http://127.0.0.1:8080" in out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "DPoP eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJpbmVzIn0.c2lnbmF0dXJl",
        "Bearer a-very-secret-token",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJpbmVzIn0",
        "postgresql://bff:a-very-secret-token@127.0.0.1/bff",
    ],
)
def test_what_looks_like_a_token_or_a_password_is_struck_out(text):
    seen = struck(f"failed for {text} today")
    assert "secret" not in seen
    assert "eyJ" not in seen
    assert seen.startswith("failed for ")
    assert seen.endswith(" today")
