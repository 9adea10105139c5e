"""A trail that was tampered with is proved, and the first row that is wrong is named (F-27)."""

from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bff.config import BadSetting, Secret, audit_key
from bff.stores.trail import BEGINNING, TrailRow, link
from bff.writes.audit import Entry, signed, written
from bff.writes.proving import Prover
from bff.writes.seal import private_key, public_key, words

TENANT = "resort"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
THIEF = Ed25519PrivateKey.from_private_bytes(bytes(32))
SEED = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
FEW = settings(max_examples=60)

CHANGED = "it is not what it was when it was written"
LOOSE = "it does not follow the row before it"
ANOTHER = "a signed checkpoint says that it was another"
FORGED = "its checkpoint was not signed by this house"


def chained(entries, seq=0, previous=BEGINNING, tenant=TENANT):
    rows = []
    for number, entry in enumerate(entries, seq + 1):
        rows.append(TrailRow(tenant, number, entry, previous, link(tenant, number, entry, previous)))
        previous = rows[-1].hash
    return rows


def proved(rows, checkpoints=(), key=KEY, batch=4):
    """As the command does it: batch by batch, until one is short."""
    prover = Prover(TENANT, checkpoints, key.public_key() if key is not None else None)
    for begin in range(0, len(rows) + 1, batch):
        if not prover.follow(rows[begin : begin + batch]):
            return prover.proof(ended=False)
    return prover.proof(ended=True)


def found(proof):
    return (proof.broken.seq, proof.broken.why) if proof.broken else None


def hashed_anew(rows, at):
    """Row `at` changed, and everything after it made to fit."""
    return rows[: at - 1] + chained(["{}", *(row.entry for row in rows[at:])], at - 1, rows[at - 1].previous)


@st.composite
def trails(draw, least=3):
    """Rows, the checkpoints of some of them, how many are read at once, and the number of one row."""
    count = draw(st.integers(least, 14))
    rows = chained([f'{{"n":{number},"says":"{draw(st.sampled_from("xyø"))}"}}' for number in range(count)])
    kept = draw(st.sets(st.integers(1, count)))
    checkpoints = [signed(rows[seq - 1], 1000.0 + seq, KEY) for seq in sorted(kept)]
    return rows, checkpoints, draw(st.integers(1, 5)), draw(st.integers(1, count))


@FEW
@given(trails(least=1))
def test_a_trail_that_nobody_has_touched_is_whole_f27(trail):
    rows, checkpoints, batch, _ = trail
    proof = proved(rows, checkpoints, batch=batch)
    assert (proof.rows, proof.checkpoints, proof.broken) == (len(rows), len(checkpoints), None)


@FEW
@given(trails(), st.sampled_from(["entry", "hash", "previous"]))
def test_a_row_that_was_changed_is_named_f27(trail, member):
    rows, checkpoints, batch, at = trail
    rows[at - 1] = replace(rows[at - 1], **{member: "{}" if member == "entry" else bytes(range(32))})
    proof = proved(rows, checkpoints, batch=batch)
    assert found(proof) == (at, LOOSE if member == "previous" else CHANGED)
    assert proof.rows == min(len(rows), -(-at // batch) * batch), "and no more were read than it took"


@FEW
@given(trails(), st.booleans())
def test_a_row_that_was_taken_out_is_named_also_where_those_after_it_were_numbered_anew_f27(trail, numbered):
    rows, checkpoints, batch, at = trail
    assume(at < len(rows))
    left = rows[: at - 1] + [replace(row, seq=row.seq - numbered) for row in rows[at:]]
    why = LOOSE if numbered else f"the row is missing: the next one there is is {at + 1}"
    assert found(proved(left, checkpoints, batch=batch)) == (at, why)


@FEW
@given(trails(), st.data())
def test_of_two_rows_that_changed_places_the_first_is_named_f27(trail, data):
    rows, checkpoints, batch, one = trail
    other = data.draw(st.integers(1, len(rows)).filter(lambda seq: seq != one))
    rows[one - 1], rows[other - 1] = replace(rows[other - 1], seq=one), replace(rows[one - 1], seq=other)
    assert found(proved(rows, checkpoints, batch=batch)) == (min(one, other), LOOSE)


@FEW
@given(trails())
def test_a_trail_that_was_hashed_anew_contradicts_the_first_checkpoint_after_it_f27(trail):
    rows, checkpoints, batch, at = trail
    after = [one.seq for one in checkpoints if one.seq >= at]
    again = hashed_anew(rows, at)
    assert found(proved(again, checkpoints, batch=batch)) == ((after[0], ANOTHER) if after else None)
    assert found(proved(again, checkpoints, key=None, batch=batch)) is None, "without the key nothing is believed"


@FEW
@given(trails())
def test_a_trail_that_was_cut_short_is_told_by_its_last_checkpoint_also_where_nothing_is_left_f27(trail):
    rows, checkpoints, batch, at = trail
    left, last = rows[: at - 1], max((one.seq for one in checkpoints), default=0)
    told = (at, f"the trail was cut short: it had {last} rows, says a checkpoint") if last >= at else None
    assert found(proved(left, checkpoints, batch=batch)) == told


@FEW
@given(trails(), st.sampled_from(["thief", "moved", "later", "beyond"]))
def test_a_forged_checkpoint_is_named_and_what_it_says_is_not_believed_f27(trail, how):
    rows, checkpoints, batch, at = trail
    genuine = signed(rows[at - 1], 1.0, KEY)
    forged = {
        "thief": signed(hashed_anew(rows, at)[at - 1], 1.0, THIEF),
        "moved": replace(signed(chained(["{}"] * at, tenant="city")[-1], 1.0, KEY), tenant=TENANT),
        "later": replace(genuine, at=2.0),
        "beyond": replace(genuine, seq=len(rows) + 5),
    }[how]
    others = [one for one in checkpoints if one.seq != forged.seq]
    assert found(proved(rows, [*others, forged], batch=batch)) == (forged.seq, FORGED)


@FEW
@given(trails(least=4), st.data())
def test_of_all_that_is_wrong_the_first_row_is_named_f27(trail, data):
    rows, _, batch, changed = trail
    forged, cut = data.draw(st.tuples(st.integers(1, len(rows)), st.integers(changed, len(rows))))
    end = signed(rows[-1], 1.0, KEY)
    checkpoints = [signed(rows[forged - 1], 1.0, THIEF), *([end] if forged < len(rows) else [])]
    rows[changed - 1] = replace(rows[changed - 1], entry="{}")
    first, _ = found(proved(rows[:cut], checkpoints, batch=batch))
    assert first == min(changed, forged)


@given(st.lists(st.sampled_from(["\0", "\\", "u0000", "\\u0000", "ø", '"', "\n"]), max_size=8).map("".join))
def test_an_entry_is_json_that_postgresql_can_look_at_whatever_is_said(words):
    entry = Entry(kind="manual", at="", action="lock.issue", operator="", key="", resource="l", reason=f"!{words}")
    assert msgspec.json.decode(written(entry))["reason"] == "!" + words.replace("\0", "\ufffd")


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_read_as_it_was_written_and_only_a_key_is_read(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert public_key(words(key.public_key())) == key.public_key()
    for wrong in (words(key.public_key())[:-1], words(key.public_key()) + "A", "", "ø" * 43):
        with pytest.raises(ValueError):
            public_key(wrong)


def test_the_audit_key_is_a_seed_or_a_file_that_holds_one_and_nothing_shows_it(tmp_path):
    path = tmp_path / "key"
    path.write_text(SEED + "\n")
    assert audit_key({}) is audit_key({"BFF_AUDIT_KEY": ""}) is None
    for setting in (SEED, SEED + "=", str(path)):
        told = audit_key({"BFF_AUDIT_KEY": setting})
        assert told == Secret(SEED)
        assert SEED not in f"{told} {told!r}"
        assert private_key(told).public_key() == KEY.public_key()
    path.write_text(SEED + "\n" + SEED)
    for wrong in (SEED[:-1], SEED[:-1] + "9", SEED.replace("A", "+", 1), str(path), str(tmp_path), "x" * 5000):
        with pytest.raises(BadSetting, match="BFF_AUDIT_KEY should be 32 bytes in base64url") as refused:
            audit_key({"BFF_AUDIT_KEY": wrong})
        assert wrong not in str(refused.value)
