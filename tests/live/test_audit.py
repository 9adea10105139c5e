"""The audit trail of real lock actions, tampered with by who may do everything, and keys that were issued by hand."""

import asyncio
import json
import os
import stat
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import trio
from click.testing import CliRunner

from bff.cli.main import bff as commands
from bff.config import Secret, audit_key
from bff.outside import real
from bff.stores.migrate import migrate
from bff.stores.trail import TrailRow, link
from bff.wire.dial import connect
from bff.writes.audit import signed
from bff.writes.seal import private_key, words
from chaos.hotel.asking import a_client
from chaos.hotel.fleet.desk import Desk, Operator
from chaos.hotel.live_stage import live_stage
from chaos.hotel.ready import running
from chaos.hotel.signing import setting_of, signing
from chaos.live.folder import claim
from chaos.live.process import descendants

KEYS = 3
SEED = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
FREE = ("--port", "0", "--ops-port", "0", "--estate-port", "0")
ISSUE = ("/v1/locks/lock-praia-103/keys", {"reservationId": "r-00870", "validUntil": "2015-08-16T12:00:00Z"})
BY_HAND = ("--lock", "lock-praia-103", "--reservation", "r-00870", "--by", "Rui [night]", "--why", "no [proxy] there")
UNTIL = ("--valid-until", "2031-08-16T12:00:00+02:00")
BEHIND_THE_GUARD = "ALTER TABLE audit_trail DISABLE TRIGGER ALL"
GUARDED = (
    "ALTER TABLE audit_trail ENABLE ALWAYS TRIGGER only_added_to; ALTER TABLE audit_trail ENABLE ALWAYS TRIGGER chained"
)
CHECKPOINT = "INSERT INTO audit_checkpoints VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"


def issue_keys(hotel):
    """Over the wire, by a desk; the tenant that they are of."""
    person = hotel.said["operators"][0]

    async def main():
        outside = real(connect)
        with trio.fail_after(20):
            async with a_client() as client:
                desk = Desk(client, hotel.said["edge"], outside, device=f"audit-{outside.identifier()[:8]}")
                await desk.sign_in(Operator(person["tenant"], person["operator"], person["password"]))
                for _ in range(KEYS):
                    assert (await desk.change(*ISSUE, outside.identifier())).status == 201

    trio.run(main)
    return person["tenant"]


def by_admin(url, work):
    """What `work` gives of a connection of the superuser's."""

    async def main():
        connection = await asyncpg.connect(url, timeout=5)
        try:
            return await work(connection)
        finally:
            connection.terminate()

    return asyncio.run(main())


def rows_of(hotel, tenant):
    async def work(connection):
        found = "SELECT tenant_id, seq, entry, previous, hash FROM audit_trail WHERE tenant_id = $1 ORDER BY seq"
        return [TrailRow(*row) for row in await connection.fetch(found, tenant)]

    return by_admin(hotel.said["postgresAdmin"], work)


def put(hotel, rows):
    """The rows as they are given, behind the triggers that would refuse it."""

    async def work(connection):
        told = [(row.tenant, row.seq, row.entry, row.previous, row.hash) for row in rows]
        async with connection.transaction():
            await connection.execute(BEHIND_THE_GUARD)
            change = "UPDATE audit_trail SET entry = $3, previous = $4, hash = $5 WHERE tenant_id = $1 AND seq = $2"
            await connection.executemany(change, told)
            await connection.execute(GUARDED)

    by_admin(hotel.said["postgresAdmin"], work)


def key_of(hotel):
    """What it signs with."""
    return private_key(audit_key({"BFF_AUDIT_KEY": str(hotel.data / "audit.key")}))


def sign(hotel, url, end):
    """A checkpoint, in the ledger at `url`."""
    key = key_of(hotel)
    assert json.loads((hotel.data / "run.json").read_bytes())["auditPublicKey"] == words(key.public_key())
    one = signed(end, 1439622000.0, key)
    by_admin(url, lambda pg: pg.execute(CHECKPOINT, one.tenant, one.seq, one.hash, one.at, one.signature))


def verify(hotel, *options):
    code, out, err = hotel.run("audit", "verify", *options, "--json")
    assert code in {0, 1}, err
    found = json.loads(out)
    return code, {one["tenant"]: one for one in found["trails"]}


def changed(row, previous=None):
    entry = row.entry.replace("praia", "serra")
    return TrailRow(row.tenant, row.seq, entry, row.previous if previous is None else previous, row.hash)


def hashed_anew(rows):
    """The first of them changed, and all of them made to fit."""
    made = [changed(rows[0]), *rows[1:]]
    for at, row in enumerate(made):
        previous = made[at - 1].hash if at else row.previous
        made[at] = TrailRow(row.tenant, row.seq, row.entry, previous, link(row.tenant, row.seq, row.entry, previous))
    return made


def test_verify_finds_real_lock_actions_whole_and_names_the_row_a_superuser_changed_f27(hotel):
    assert hotel.run("switches", "telemetry-sample", "1", "--why", "as it was")[0] == 0
    tenant = issue_keys(hotel)
    rows = rows_of(hotel, tenant)
    sign(hotel, hotel.said["postgresAdmin"], rows[-1])
    code, trails = verify(hotel)
    assert (code, trails[tenant]["rows"], trails[tenant]["whole"]) == (0, len(rows), True)
    assert trails[tenant]["checkpoints"] >= 1
    code, table, _ = hotel.run("audit", "verify")
    assert code == 0
    assert [line.split()[-1] for line in table.splitlines() if line.startswith(("(house)", tenant))] == ["whole"] * 2

    victim = rows[-KEYS]
    try:
        put(hotel, [changed(victim)])
        code, trails = verify(hotel, "--tenant", tenant)
        assert (code, trails[tenant]["firstBadRow"]) == (1, victim.seq)
        assert trails[tenant]["why"] == "it is not what it was when it was written"
        code, table, _ = hotel.type("audit", "verify")
        assert code == 1
        assert f"row {victim.seq}: it is not what it was" in " ".join(table.split())

        put(hotel, hashed_anew(rows[-KEYS:]))
        code, trails = verify(hotel)
        assert (code, trails[tenant]["firstBadRow"]) == (1, rows[-1].seq)
        assert trails[tenant]["why"] == "a signed checkpoint says that it was another"
    finally:
        put(hotel, rows[-KEYS:])
    assert verify(hotel)[0] == 0


def test_a_server_signs_where_trails_end_and_one_that_was_taken_away_whole_is_missed_f27(hotel, bff):
    by_admin(hotel.said["postgresAdmin"], lambda pg: pg.execute("CREATE DATABASE another"))
    url = urlunsplit(urlsplit(hotel.said["postgresAdmin"])._replace(path="/another"))

    async def fill():
        with trio.fail_after(10):
            await migrate(url)

    trio.run(fill)
    by_admin(url, lambda pg: pg.execute("INSERT INTO audit_trail (tenant_id, entry) VALUES ('resort', '{}')"))
    env = {"BFF_POSTGRES_URL": url, "BFF_AUDIT_KEY": str(hotel.data / "audit.key")}
    bff("serve", "--json", **{**hotel.given(), **env, "BFF_EDGE_BIND": "127.0.0.1:0", "BFF_OPS_BIND": "127.0.0.1:0"})
    end = time.monotonic() + 20
    while not by_admin(url, lambda pg: pg.fetchval("SELECT count(*) FROM audit_checkpoints")):
        assert time.monotonic() < end

    def verified(*options):
        done = CliRunner().invoke(commands, ["audit", "verify", *options], env=env)
        return done.exit_code, done.stdout

    code, told = verified("--json")
    (resort,) = json.loads(told)["trails"]
    assert (code, resort["tenant"], resort["checkpoints"], resort["whole"]) == (0, "resort", 1, True)

    sign(hotel, url, TrailRow("gone", 7, "{}", b"", bytes(32)))
    code, told = verified()
    assert code == 1
    assert "row 1: the trail was cut short: it had 7 rows, says a checkpoint" in " ".join(told.split())
    by_admin(hotel.said["postgresAdmin"], lambda pg: pg.execute("DROP DATABASE another WITH (FORCE)"))


def test_a_key_that_was_issued_by_hand_is_a_row_of_its_tenant_s_trail_and_no_gap_f10(hotel):
    before = len(rows_of(hotel, "city"))
    code, out, err = hotel.run(
        "locks", "record", "--tenant", "city", *BY_HAND, *UNTIL, "--issued-at", "2026-01-01T00:00:00Z"
    )
    assert code == 0, err
    row = rows_of(hotel, "city")[-1]
    assert out == f"row {before + 1} of city: {row.hash.hex()}\n"
    said = json.loads(row.entry)
    assert (said["kind"], said["action"], said["resource"]) == ("manual", "lock.issue", "lock-praia-103")
    assert (said["by"], said["reason"], said["reservation"]) == ("Rui [night]", "no [proxy] there", "r-00870")
    assert said["detail"] == "issued 2026-01-01T00:00:00.000Z, valid until 2031-08-16T10:00:00.000Z"
    assert (said["operator"], said["key"]) == ("", "")

    code, out, _ = hotel.run("locks", "record", "--tenant", "city", *BY_HAND, *UNTIL, "--json")
    told = json.loads(out)
    assert (code, told["row"], told["entry"]["by"]) == (0, before + 2, "Rui [night]")
    assert verify(hotel, "--tenant", "city")[1]["city"]["rows"] == before + 2

    code, out, _ = hotel.run("locks", "status", "--json")
    state = json.loads(out)
    assert (code, state["switch"]["value"], state["uncertain"], state["gaps"]) == (0, "on", 0, [])
    assert state["present"] == state["expected"] >= before + 2
    code, out, _ = hotel.run("locks", "status")
    assert out.splitlines()[1] == f"the audit trail has {state['present']} of {state['expected']} rows"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["record", "--tenant", "no one", *BY_HAND, *UNTIL], "bff: --tenant should be 1 to 128 characters"),
        (
            ["record", "--tenant", "city", *BY_HAND, "--valid-until", "2031-08-16"],
            "bff: --valid-until should be a time",
        ),
        (["record", "--tenant", "city", *BY_HAND, "--valid-until", "2031-08-16T12:00:00"], "bff: --valid-until should"),
        (
            ["record", "--tenant", "city", *BY_HAND, "--valid-until", "2015-08-16T12:00:00Z"],
            "bff: --valid-until should",
        ),
        (["record", "--tenant", "city", *BY_HAND, *UNTIL, "--why", "a\nb"], "bff: --why should be one line"),
        (["record", "--tenant", "city", *BY_HAND, *UNTIL, "--by", "\udcff"], "bff: --by should be one line"),
        (["record", "--tenant", "city", *BY_HAND, *UNTIL, "--issued-at", UNTIL[1]], "bff: --issued-at should not be"),
    ],
)
def test_what_cannot_have_been_issued_is_one_line_and_exit_2_and_no_row(shared, command, line):
    before = len(rows_of(shared, "city"))
    code, out, err = shared.run("locks", *command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)
    assert len(rows_of(shared, "city")) == before


@pytest.mark.parametrize(
    ("words", "env", "line"),
    [
        (["audit", "verify"], {}, "bff: nothing runs on .bff: give the folder of a `bff up` with --data, or set BFF_"),
        (["locks", "status", "--data", "."], {}, "bff: nothing runs on .: give the folder"),
        (["audit", "verify"], {"BFF_POSTGRES_URL": "mysql://hush"}, "bff: BFF_POSTGRES_URL cannot be used: the URL of"),
        (
            ["locks", "status"],
            {"BFF_POSTGRES_URL": "postgresql://x@127.0.0.1:1/x"},
            "bff: the ledger does not answer: ",
        ),
    ],
)
def test_without_a_ledger_it_is_one_line_and_exit_2(tmp_path, monkeypatch, words, env, line):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(commands, words, env=env)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(line)
    assert "hush" not in done.stderr


def test_a_ledger_elsewhere_is_proved_by_the_public_key_and_without_one_its_checkpoints_are_unchecked(shared):
    key = json.loads((shared.data / "run.json").read_bytes())["auditPublicKey"]
    there = {"BFF_POSTGRES_URL": shared.said["postgres"]}

    def asked(**env):
        return CliRunner().invoke(commands, ["audit", "verify", "--json"], env={**there, **env})

    by_folder = verify(shared)
    folder_s = {"BFF_AUDIT_KEY": str(shared.data / "audit.key")}
    assert CliRunner().invoke(commands, ["audit", "public-key"], env=folder_s).stdout == f"{key}\n"
    for env in ({"BFF_AUDIT_PUBLIC_KEY": key}, folder_s):
        told = json.loads(asked(**env).stdout)
        assert (told["checkpointsChecked"], len(told["trails"])) == (True, len(by_folder[1]))
    assert json.loads(asked().stdout)["checkpointsChecked"] is False
    done = asked(BFF_AUDIT_PUBLIC_KEY=key[:-1])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("bff: BFF_AUDIT_PUBLIC_KEY should be the 32 bytes of an Ed25519 key")


def test_a_hotel_makes_its_key_once_and_keeps_it_when_its_data_is_thrown_away_and_a_given_one_wins(tmp_path):
    with claim(tmp_path) as folder:
        made = signing(folder, {})
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    with claim(tmp_path, fresh=True) as folder:
        assert signing(folder, {}) == made
        given = signing(folder, {"BFF_AUDIT_KEY": SEED})
    assert given.setting == SEED
    assert given.public == words(private_key(Secret(SEED)).public_key()) != made.public


def test_whoever_signs_beside_a_hotel_has_the_key_that_is_checked_with_the_hotel_s_or_none(tmp_path):
    with claim(tmp_path) as folder:
        made = signing(folder, {})
        given = signing(folder, {"BFF_AUDIT_KEY": SEED})
    for env in ({}, {"BFF_AUDIT_KEY": SEED}, {"BFF_AUDIT_KEY": "hush"}):
        assert setting_of(made.public, tmp_path, env) == str(tmp_path / "audit.key")
    assert setting_of(given.public, tmp_path, {"BFF_AUDIT_KEY": SEED}) == SEED
    assert setting_of(given.public, tmp_path, {}) is None


async def test_a_server_that_a_game_day_begins_is_told_the_same_key(shared):
    with trio.fail_after(20):
        async with live_stage(running(shared.data), shared.data, pytest.fail) as stage:
            edge = (await stage.origin(1)).removeprefix("http://")
            told = [process_s for pid in descendants(os.getpid()) if edge in (process_s := told_to(pid)).values()]
    assert {one.get("BFF_AUDIT_KEY") for one in told} == {str(shared.data / "audit.key")}


def told_to(pid):
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(variable.partition("=")[::2] for variable in variables)


@pytest.mark.parametrize(
    ("env", "kept", "line"),
    [
        ({"BFF_AUDIT_KEY": "hush"}, SEED, "bff: BFF_AUDIT_KEY should be 32 bytes in base64url"),
        ({}, "hush", "bff: {}/audit.key holds no key: take it away"),
    ],
)
def test_a_hotel_does_not_start_with_a_key_that_is_none(tmp_path, env, kept, line):
    (tmp_path / "audit.key").write_text(kept)
    done = CliRunner().invoke(commands, ["up", *FREE, "--data", str(tmp_path)], env=env)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(line.format(tmp_path))
    assert "hush" not in done.stderr
