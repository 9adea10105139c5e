"""Rungs 8 and 9: attestations bent in one place (attestations.txt), what they were spent on, and the key they need."""

from itertools import product
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bff.facts import AttestationReplayBlocked, AttestationReplayed, RungRefused
from bff.gate.attestation import Attestation, Why
from bff.gate.ladder import Attests, Pass
from bff.model import OperatorId, TenantId
from bff.problem import Problem, render
from bff.stores.keys import Claimed, Claiming, KeyId
from bff.wire.jose import from_base64url
from bff.wire.trace import ServerTiming
from chaos.hotel.estate.iam import ISSUER
from chaos.hotel.estate.signing import ORDER, b64url, make_signer
from chaos.hotel.fleet.proof import make_key
from nurseries import within

PATH = "/v1/folios/f-00870/refunds"
REFUND = Attests("folio.refund", "f-00870")
THIS_KEY, OTHER_KEY = "refund-1", "refund-2"
HEADER = '{"alg":"ES256","kid":"{kid}","typ":"mfa+jwt"}'
CLAIMS = (
    '{"iss":"{issuer}","aud":"bff-backoffice","exp":1439625720,"nbf":1439625600,"jti":"j-1","sub":"ines",'
    '"tid":"resort","sid":"s-1","cnf":{"jkt":"{jkt}"},"act":"folio.refund","res":"f-00870"}'
)


def rows():
    for line in Path(__file__).with_name("attestations.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            what, why, where, stands, instead = (part.removesuffix(" ") for part in f"{line} ".split(" | "))
            yield pytest.param(why, where, stands, instead, id=what)


def bent(text, stands, instead):
    if stands == "{all}":
        return instead.replace("{all}", text)
    assert text.count(stands) == 1, "a row bends one place"
    return text.replace(stands, instead)


class Teller:
    """One desk that refunds, with a second factor."""

    def __init__(self, world):
        self.world = world
        self.desk = world.desk()
        self.desk.session = "s-1"

    def filled(self, text):
        names = {
            "{issuer}": ISSUER,
            "{kid}": self.world.iam_itself._signer.kid,
            "{jkt}": self.desk.key.kid,
            "{other jkt}": make_key(self.world.entropy).kid,
            "{256}": "d" * 256,
        }
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    def signed(self, header, claims):
        return self.world.iam_itself._signer.signed(self.filled(header).encode(), self.filled(claims).encode())

    def request(self, *attestations, keys=(THIS_KEY,), desk=None):
        desk = desk or self.desk
        headers = [
            *desk.head("POST", PATH, desk.token()).items(),
            *(("x-mfa-attestation", one) for one in attestations),
            *(("idempotency-key", key) for key in keys),
        ]
        return self.world.head("POST", PATH, headers)

    async def comes(self, *attestations, keys=(THIS_KEY,), desk=None, seconds=5.0, **more):
        request = self.request(*attestations, keys=keys, desk=desk)
        demands = {"tier": True, "keyed": True, "attests": REFUND}
        return await self.world.climb(request, seconds=seconds, **{**demands, **more})

    async def told(self, *attestations, **more):
        """The code that comes out, `` for a `Pass`."""
        said = await self.comes(*attestations, **more)
        return said.code.word if isinstance(said, Problem) else ""

    async def why(self, *attestations, **more):
        """The rule of rung 8 that was broken, or `ok`."""
        before = len(self.world.told(RungRefused))
        said = await self.comes(*attestations, **more)
        refused = self.world.told(RungRefused)[before:]
        assert isinstance(said, Pass) == (refused == [])
        assert all(fact.rung == 8 for fact in refused)
        return refused[0].why if refused else "ok"

    async def spent(self, jti, key=THIS_KEY, *, tenant="resort", operator="ines"):
        """A mutation was claimed with it."""
        name = KeyId(TenantId(tenant), OperatorId(operator), key)
        claiming = Claiming(name, b"f", (f"folio:{tenant}:{key}",), b"", 10.0, attestation=jti)
        with within(1.0):
            assert isinstance(await self.world.ledger.session().claim(claiming), Claimed)


def blocked(world):
    return len(world.told(AttestationReplayBlocked))


def metric(world, name):
    return next(line for line in world.house.meters.shown()[0].decode().splitlines() if line.startswith(f"{name} "))


# -- what an attestation says ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("why", "where", "stands", "instead"), list(rows()))
async def test_an_attestation_bent_in_one_place_is_refused_by_the_rule_that_it_breaks_f29(
    autojump_clock, world, why, where, stands, instead
):
    teller, texts = Teller(world), {"header": HEADER, "claims": CLAIMS}
    texts[where] = bent(texts[where], stands, instead)
    expected = "expired" if stands == "1439625720" and instead == "1439625599" else why
    assert await teller.why(teller.signed(**texts)) == expected


def test_the_corpus_has_every_rule_that_can_be_broken_by_bending():
    broken = {row.values[0] for row in rows()}
    elsewhere = {"absent", "several", "size", "signature", "spent", "expired"}
    assert broken - {"ok"} == {why.value for why in Why} - elsewhere


async def test_who_has_one_comes_up_with_its_id_and_with_his_key(autojump_clock, world):
    teller = Teller(world)
    said = await teller.comes(teller.signed(HEADER, CLAIMS))
    assert isinstance(said, Pass)
    assert (said.attestation, said.key, said.claims.session) == ("j-1", THIS_KEY, "s-1")


@pytest.mark.parametrize(
    ("presented", "code", "why"),
    [
        ((), "MFA_REQUIRED", "absent"),
        (("GOOD", "GOOD"), "MFA_INVALID_OR_USED", "several"),
        (("GOOD", ""), "MFA_INVALID_OR_USED", "several"),
        (("",), "MFA_INVALID_OR_USED", "malformed"),
        (("GOOD, GOOD",), "MFA_INVALID_OR_USED", "malformed"),
        (("Bearer GOOD",), "MFA_INVALID_OR_USED", "malformed"),
        (("GOOD=",), "MFA_INVALID_OR_USED", "malformed"),
        (("x" * 8193,), "MFA_INVALID_OR_USED", "size"),
        (("TOKEN",), "MFA_INVALID_OR_USED", "typ"),
    ],
)
async def test_there_is_exactly_one_and_no_token_of_another_kind_is_one(autojump_clock, world, presented, code, why):
    teller = Teller(world)
    good, token = teller.signed(HEADER, CLAIMS), teller.desk.token()
    presented = [one.replace("GOOD", good).replace("TOKEN", token) for one in presented]
    assert await teller.why(*presented) == why
    assert await teller.told(*presented) == code


async def test_whoever_signs_for_himself_attests_nothing(autojump_clock, world):
    teller, stranger = Teller(world), make_signer(world.entropy)
    claims = teller.filled(CLAIMS).encode()
    assert await teller.why(stranger.signed(teller.filled(HEADER).encode(), claims)) == "signature"
    header = f'{{"alg":"ES256","kid":"{stranger.kid}","typ":"mfa+jwt"}}'
    assert await teller.why(stranger.signed(header.encode(), claims)) == "key"


async def test_the_payload_of_one_under_the_signature_of_another_is_nothing(autojump_clock, world):
    teller = Teller(world)
    header, _, signature = teller.signed(HEADER, CLAIMS).split(".")
    payload = teller.signed(HEADER, CLAIMS.replace("f-00870", "f-00871")).split(".")[1]
    assert await teller.why(f"{header}.{payload}.{signature}") == "signature"


async def test_a_route_that_asks_for_neither_looks_at_neither(autojump_clock, world):
    teller = Teller(world)
    world.ledger.stop()
    began = trio.current_time()
    said = await teller.comes("x", "y", keys=("a b", ""), keyed=False, attests=None)
    assert (said.attestation, said.key) == (None, None)
    assert trio.current_time() == began


async def test_a_refusal_holds_nothing_of_the_attestation(autojump_clock, world):
    teller = Teller(world)
    for bad in ("tid", "jti", "act", "exp"):
        attestation = teller.desk.attestation(**{bad: None if bad != "exp" else world.now()})
        text = render(await teller.comes(attestation), "id").body.decode()
        assert not any(part in text for part in attestation.split("."))


# -- what it was spent on (F-29) --------------------------------------------------------------------------------------


async def test_one_that_was_spent_on_this_very_key_passes_and_still_does_when_it_has_ended_f29(autojump_clock, world):
    teller = Teller(world)
    attestation = teller.desk.attestation(jti="mine")
    await teller.spent("mine")
    assert await teller.told(attestation) == ""
    await trio.sleep(7 * 24 * 3600.0)
    said = await teller.comes(attestation)
    assert (said.attestation, said.key) == ("mine", THIS_KEY)
    assert blocked(world) == 0


@pytest.mark.parametrize(
    "on",
    [
        {"key": OTHER_KEY},
        {"key": THIS_KEY.upper()},
        {"operator": "tiago"},
        {"tenant": "city"},
    ],
    ids=lambda on: "-".join(on.values()),
)
async def test_one_that_was_spent_on_another_key_is_refused_and_counted_f29(autojump_clock, world, on):
    teller = Teller(world)
    attestation = teller.desk.attestation(jti="mine")
    await teller.spent("mine", **on)
    said = await teller.comes(attestation)
    assert (said.status, said.code.word) == (401, "MFA_INVALID_OR_USED")
    assert blocked(world) == 1
    await trio.sleep(200)  # that it has ended, too, makes it no better
    assert await teller.told(attestation) == "MFA_INVALID_OR_USED"
    assert blocked(world) == 2


async def test_its_other_signature_is_the_same_attestation_f29(autojump_clock, world):
    """ES256 is malleable: whoever has (r, s) has (r, n - s)."""
    teller = Teller(world)
    attestation = teller.desk.attestation(jti="mine")
    header, payload, signature = attestation.split(".")
    with within(5.0):
        whose = (await teller.comes(attestation)).claims
        raw = from_base64url(signature.encode())
        twin = b64url(raw[:32] + (ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big"))
        judged = await world.gate.attestations.judge((f"{header}.{payload}.{twin}".encode(),), whose, REFUND)
    assert isinstance(judged, Attestation)
    await teller.spent("mine", OTHER_KEY)
    assert await teller.told(f"{header}.{payload}.{twin}") == "MFA_INVALID_OR_USED"


async def test_one_that_was_not_spent_passes_until_its_end_and_not_in_its_last_moment(autojump_clock, world):
    teller = Teller(world)
    attestation = teller.desk.attestation()
    await trio.sleep(119.999)
    assert await teller.told(attestation) == ""
    await trio.sleep(0.001)
    assert await teller.told(attestation) == "MFA_INVALID_OR_USED"
    assert blocked(world) == 0


async def test_the_ledger_is_asked_once_and_what_it_took_is_told(autojump_clock, world):
    teller, timing = Teller(world), ServerTiming()
    await teller.told(teller.desk.attestation())  # iam's keys are read
    world.ledger.latency(0.02)
    began = trio.current_time()
    assert await teller.told(teller.desk.attestation(), timing=timing) == ""
    assert trio.current_time() - began == pytest.approx(0.02)
    assert b"ledger;dur=20" in timing.header()


@pytest.mark.parametrize("trouble", ["down", "stop"])
async def test_with_the_ledger_gone_one_that_has_not_ended_goes_on_for_the_claim_to_judge_f20(
    autojump_clock, world, trouble
):
    teller = Teller(world)
    attestation = teller.desk.attestation(jti="mine")
    getattr(world.ledger, trouble)()
    assert (await teller.comes(attestation)).attestation == "mine"


@pytest.mark.parametrize("trouble", ["down", "stop"])
async def test_with_the_ledger_gone_nobody_can_say_of_one_that_has_ended_what_it_was_spent_on_f20(
    autojump_clock, world, trouble
):
    teller = Teller(world)
    attestation = teller.desk.attestation(jti="mine")
    await teller.spent("mine")
    await trio.sleep(121)
    getattr(world.ledger, trouble)()
    said = await teller.comes(attestation)
    assert (said.status, said.code.word, said.code.retryable) == (503, "STORE_UNAVAILABLE", True)
    assert said.retry_after > 0
    world.ledger.start()
    assert await teller.told(attestation) == ""


@pytest.mark.parametrize(("seconds", "patience"), [(0.5, 0.05), (3.0, 0.3)])
async def test_a_ledger_that_hangs_is_waited_for_a_small_part_of_the_deadline(autojump_clock, world, seconds, patience):
    teller = Teller(world)
    await teller.told(teller.desk.attestation())
    world.ledger.stop()
    began = trio.current_time()
    assert await teller.told(teller.desk.attestation(), seconds=seconds) == ""
    assert trio.current_time() - began == pytest.approx(patience)


async def test_an_attestation_of_before_a_renewal_holds_after_it_and_on_no_other_session(autojump_clock, world):
    teller = Teller(world)
    attestation = teller.desk.attestation()
    await trio.sleep(60)
    assert await teller.told(attestation) == ""  # each request has an access token of its own, of the same session
    teller.desk.session = "s-2"
    assert await teller.why(attestation) == "session"


async def test_a_key_that_iam_withdraws_takes_its_attestations_with_it(autojump_clock, world):
    teller, stolen = Teller(world), world.iam_itself._signer
    forever = teller.desk.attestation(exp=world.now() + 10**9)
    assert await teller.told(forever) == ""
    world.iam_itself._signer = make_signer(world.entropy)
    world.iam.service.changed()
    await trio.sleep(300)
    await teller.told(forever)  # iam is asked now, and nobody waits
    await trio.testing.wait_all_tasks_blocked()
    assert world.iam_itself._signer is not stolen
    assert await teller.why(forever) == "key"


async def test_both_counters_of_replays_are_there_from_the_start_f29(autojump_clock, world):
    blocked_total, success_total = (
        "bff_mfa_attestation_replay_blocked_total",
        "bff_mfa_attestation_replay_success_total",
    )
    assert metric(world, blocked_total).endswith(" 0.0")
    assert metric(world, success_total).endswith(" 0.0")
    teller = Teller(world)
    await teller.spent("mine", OTHER_KEY)
    await teller.told(teller.desk.attestation(jti="mine"))
    for fact in (*world.told(AttestationReplayBlocked), AttestationReplayed(2)):
        world.house.meters.hear(fact)
    assert metric(world, blocked_total).endswith(" 1.0")
    assert metric(world, success_total).endswith(" 2.0")


# -- the idempotency key ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ((), None),
        (("",), None),
        (("k", "k"), None),
        (("a b",), None),
        (("a\tb",), None),
        (("a\x7f",), None),
        (("clé".encode(),), None),
        (("k" * 129,), None),
        (("k" * 128,), "k" * 128),
        (("!",), "!"),
        (('"8e03978e-40d5-43e8-bc93-6894a57f9324"',), '"8e03978e-40d5-43e8-bc93-6894a57f9324"'),
        (("a,b",), "a,b"),
    ],
)
async def test_a_mutation_has_exactly_one_key_of_visible_ascii(autojump_clock, world, keys, found):
    said = await Teller(world).comes(keys=keys, attests=None)
    if found is None:
        assert (said.status, said.code.word) == (400, "IDEMPOTENCY_KEY_REQUIRED")
        assert [fact.rung for fact in world.told(RungRefused)] == [9]
    else:
        assert said.key == found


def told_by_the_contract(spent, ended, ledger, keys):
    """CONTRACT section 2, rungs 8 and 9, and the paragraph on retries."""
    if ledger != "start":
        refused = "STORE_UNAVAILABLE" if ended else ""
    elif spent is None:
        refused = "MFA_INVALID_OR_USED" if ended else ""
    else:
        refused = "" if keys == (spent,) else "MFA_INVALID_OR_USED"
    return refused or ("" if keys == (THIS_KEY,) else "IDEMPOTENCY_KEY_REQUIRED")


async def test_what_it_was_spent_on_and_its_end_and_the_ledger_and_the_key_decide_together_f29(autojump_clock, world):
    teller = Teller(world)
    attestations = {None: "nobody's", THIS_KEY: "mine", OTHER_KEY: "another's"}
    for key in (THIS_KEY, OTHER_KEY):
        await teller.spent(attestations[key], key)
    cases = product(
        attestations, (False, True), ("start", "down", "stop"), ((THIS_KEY,), (), ("a b",), (THIS_KEY,) * 2)
    )
    for spent, ended, ledger, keys in cases:
        getattr(world.ledger, ledger)()
        attestation = teller.desk.attestation(jti=attestations[spent], exp=world.now() + (0 if ended else 60))
        told = await teller.told(attestation, keys=keys)
        assert told == told_by_the_contract(spent, ended, ledger, keys), (spent, ended, ledger, keys)
        world.ledger.start()
        assert await teller.told(keys=keys) == "MFA_REQUIRED"
        await trio.sleep(1)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(st.binary(max_size=60).map(b64url), max_size=4).map(".".join) | st.binary(max_size=40), max_size=20
    ),
    st.lists(st.binary(min_size=1, max_size=140), max_size=20),
)
@example([], [b"k" * 128, b"k" * 129, b"~", b" "])
def test_whatever_comes_the_answer_is_a_value(simulate, open_world, attestations, keys):
    async def main():
        async with open_world(rate_requests="0") as world:
            teller = Teller(world)
            for one in attestations:
                assert await teller.told(one) == "MFA_INVALID_OR_USED"
            for key in keys:
                good = len(key) <= 128 and all(0x21 <= byte <= 0x7E for byte in key)
                assert await teller.told(keys=(key,), attests=None) == ("" if good else "IDEMPOTENCY_KEY_REQUIRED")

    simulate(main)
