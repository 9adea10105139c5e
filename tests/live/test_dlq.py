import asyncio
import json
import time
import urllib.request
from urllib.parse import urlencode

import asyncpg
import pytest
from click.testing import CliRunner

from bff.cli.main import bff as commands

PATIENCE = 20
TOPIC = "bff-domain-events"
LETTER = (TOPIC, "room:101", "board-changed", b'{"says": "[all] of it"}', "dlq-000001")


def write(url, *letter):
    """Into the outbox, as a mutation does."""

    async def main():
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                "INSERT INTO outbox (topic, ordering_key, kind, payload, message_id) VALUES ($1, $2, $3, $4, $5)",
                *letter,
            )
        finally:
            await connection.close()

    asyncio.run(main())


def until(look):
    """What it sees, once it sees something."""
    ends = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < ends
    return seen


def test_what_pubsub_will_not_have_is_listed_shown_and_published_when_it_is_replayed_f38(hotel):
    def listed():
        code, out, err = hotel.run("dlq", "list", "--json")
        assert code == 0, err
        return json.loads(out)

    def published():
        query = urlencode({"topic": TOPIC})
        with urllib.request.urlopen(f"{hotel.said['estate']}/_estate/published?{query}", timeout=PATIENCE) as answer:
            messages = json.load(answer)["messages"]
        return [one for one in messages if one["messageId"] == LETTER[4]]

    assert hotel.run("dlq", "list") == (0, "no dead letters\n", "")
    assert hotel.run("chaos", "inject", "pubsub", "status", "code=400")[0] == 0
    write(hotel.said["postgres"], *LETTER)
    (dead,) = until(listed)
    number = str(dead["number"])
    assert (dead["topic"], dead["orderingKey"], dead["messageId"]) == (TOPIC, "room:101", "dlq-000001")
    assert dead["reason"]

    _, table, _ = hotel.run("dlq", "list")
    names, row = table.splitlines()[:2]
    assert names.split() == ["number", "died", "topic", "key", "reason"]
    assert row.split()[0] == number
    code, shown, _ = hotel.run("dlq", "show", number)
    assert (code, shown.splitlines()[-1]) == (0, '{"says": "[all] of it"}')
    assert json.loads(hotel.run("dlq", "show", number, "--json")[1])["payload"] == '{"says": "[all] of it"}'

    code, said, _ = hotel.run("dlq", "replay", number, "--dry-run")
    assert (code, said.splitlines()[-1]) == (0, "1 would be published again")
    assert listed() == [dead]
    assert hotel.run("chaos", "clear", "pubsub")[0] == 0
    assert published() == []
    assert hotel.run("dlq", "replay", "--all") == (0, "1 will be published again\n", "")
    (message,) = until(published)
    assert (message["orderingKey"], message["type"], message["data"]) == ("room:101", LETTER[2], LETTER[3].decode())
    assert listed() == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["show", "999999"], "bff: there is no dead letter '999999'"),
        (["replay", "999999"], "bff: there is no dead letter 999999: nothing was replayed"),
        (["replay", "1", "--all"], "bff: give numbers, or --all, not both"),
        (["list", "--ops", "http://127.0.0.1:1"], "bff: http://127.0.0.1:1 does not answer"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(shared, words, line):
    code, out, err = shared.run("dlq", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)


def test_where_nothing_runs_there_are_no_dead_letters_to_list(tmp_path):
    done = CliRunner().invoke(commands, ["dlq", "list", "--data", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"bff: nothing runs on {tmp_path}: give the folder of a `bff up` with --data, or --ops URL\n"
