import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.toxics import ANSWER, SOCKET, STORE, WORDS, BadToxic, Drift, Latency, parse, split

NUMBERS = st.floats(min_value=0.001, max_value=1e9)
VALUES = {
    "float": NUMBERS,
    "int": st.integers(400, 599),
    "bool": st.booleans(),
    "str": st.text(st.characters(categories=["L", "Nd"], include_characters="._-"), max_size=20),
}


@st.composite
def toxics(draw):
    kind = draw(st.sampled_from(list(WORDS.values())))
    values = {field.name: draw(VALUES[field.type]) for field in dataclasses.fields(kind) if field.name != "rate"}
    return kind(rate=draw(st.floats(0.001, 1)), **values)


@given(toxics())
def test_a_toxic_reads_what_it_writes(toxic):
    assert split(str(toxic)) == toxic


def test_the_words_are_the_contract_s():
    assert [kind.word for kind in (*SOCKET, *ANSWER)] == [
        *("down", "hang", "latency", "drip", "reset"),
        *("status", "giant", "redirect", "garbage", "drift", "wrong-tenant", "lose-answer"),
    ]
    assert [kind.word for kind in STORE] == ["kill", "stop", "start", "failover"]


def test_a_person_s_words_become_a_toxic():
    assert parse("latency", ["ms=200", "rate=0.3"]) == Latency(ms=200, rate=0.3)
    assert str(parse("drip", ["bytes-per-second=2"])) == "drip bytes-per-second=2"
    assert parse("drift", ["missing=true", "field=rates.0.id"]) == Drift(field="rates.0.id", missing=True)


def test_each_says_what_it_looks_like_in_production():
    for kind in WORDS.values():
        assert len(kind.__doc__ or "") > 30, kind


@pytest.mark.parametrize(
    "line",
    [
        "",
        "earthquake",
        "status code=200",
        "status code=many",
        "status 503",
        "status code=500 code=503",
        "latency rate=0",
        "latency rate=1.1",
        "latency ms=-1",
        "latency ms=nan",
        "drip bytes-per-second=0",
        "reset after=-1",
        "drift missing=perhaps",
        "down code=503",
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(line):
    with pytest.raises(BadToxic) as refused:
        split(line)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=40))
def test_any_line_is_a_toxic_or_is_refused(line):
    try:
        toxic = split(line)
    except BadToxic:
        return
    assert split(str(toxic)) == toxic
