"""Every row of the catalogue has its runbook, and what a runbook has somebody type is there to be typed.

Code is what stands between backticks, and what is indented by four spaces or more. `flaws` says what is wrong with a
text; the made-up ones below show that it does.
"""

import re
import shlex
from functools import cache
from itertools import takewhile

import click
import pytest
from click.testing import CliRunner

from bff.cli.main import bff
from bff.meters import Meters
from bff.ops.listener import OWN_BEARER
from bff.reads.widgets import WIDGETS
from bff.stores.switches import BY_NAME
from bff.upstreams.services import LOCATED, OPERATIONS
from bff.workers import Crew
from chaos.hotel.catalogue import ROWS
from chaos.hotel.catalogue.evidence import ROOT
from chaos.hotel.catalogue.row import METRIC
from chaos.live.stores import NAMES as STORES

RUNBOOKS = ROOT / "deploy" / "runbooks"
README = RUNBOOKS / "README.md"
DECISIONS = sorted((ROOT / "deploy" / "adr").glob("*.md"))
SECTIONS = [
    "Symptom",
    "What the operator sees",
    "How to confirm",
    "How to mitigate",
    "How to verify recovery",
    "When to escalate",
    "What is safe to leave alone",
    "About the commands",
]
DECIDED = ["Context", "Decision", "What was considered and left", "Consequences"]
LONGEST = 85  # lines: somebody reads it at three in the morning
VIEWS = {"livez", "readyz", "metrics", "tasks", "switches", "probes", *(path.strip("/") for path in OWN_BEARER)}
READY = {*STORES, *LOCATED, "bus", "outbox", "streams", "traffic"} - {"pubsub"}  # lines of /readyz
LABELLED = {  # what the server has of each, where a label says one
    "service": {*LOCATED},
    "operation": {*(one.name for one in OPERATIONS), "publish"},
    "store": {*STORES, "bus"},
    "widget": {widget.name for widget in WIDGETS},
}

COMMAND = re.compile(r"(?:^|[|;&(]\s*)bff ")
NAME = re.compile(r"\bbff_(?:[a-z0-9_]+|(?=\())(?:\([a-z_|]+\)[a-z0-9_]*)?")
LABEL = re.compile(r'\b(\w+)="([^"]*)"')
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
INDEXED = re.compile(r"^\| (F-\d+) \| \[([\w-]+)\]\(([^)]+)\) \| \S.* \|$")


def page(row):
    return RUNBOOKS / f"{row.runbook}.md"


def written(path):
    return path.read_text(encoding="utf-8")


PAGES = [README, *map(page, ROWS)]


# -- what a text has ------------------------------------------------------------------------------------------------


def headings(text, level):
    mark = "#" * level + " "
    return [line.removeprefix(mark) for line in text.splitlines() if line.startswith(mark)]


def codes(text):
    """Every piece of code in it, each on one line."""
    lines = text.splitlines()
    blocks = "\n".join(line.strip() for line in lines if line.startswith("    "))
    prose = "\n".join(line for line in lines if not line.startswith("    "))
    yield from blocks.replace("\\\n", " ").splitlines()
    for span in re.findall(r"`([^`]+)`", prose):
        yield " ".join(span.split())


def commands(text):
    """The words of every `bff` command in it; the shell's own words, behind a pipe, are none of them."""
    for code in codes(text):
        for found in COMMAND.finditer(code):
            shell = shlex.shlex(code[found.end() :], posix=True, punctuation_chars="|;&()")
            shell.whitespace_split = True
            yield list(takewhile(lambda word: not word or not set(word) <= set("|;&()"), shell))


# -- what the server has --------------------------------------------------------------------------------------------


@cache
def exported():
    """Every name that a metric, or a sample of it, has in what a worker and its supervisor show."""
    suffixes = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count"), "gauge": ("",)}
    families = Meters().registry.collect()
    shown = {family.name + suffix for family in families for suffix in suffixes[family.type]}
    figures = Crew([], lambda _: None).figures().splitlines()
    return shown | {line.split(" ")[0] for line in figures if not line.startswith("#")}


@cache
def helped(*path):
    """The command of that path, of which `--help` has been seen to work; None where there is none."""
    command, context = bff, click.Context(bff)
    for word in path:
        command = command.get_command(context, word) if isinstance(command, click.Group) else None
        if command is None:
            return None
    assert CliRunner().invoke(bff, [*path, "--help"]).exit_code == 0
    return command


def expanded(name):
    """`bff_a_(b|c)_d` as grep -E reads it."""
    before, brace, rest = name.partition("(")
    middle, _, after = rest.partition(")")
    return [f"{before}{one}{after}" for one in middle.split("|")] if brace else [name]


# -- what is wrong with a text --------------------------------------------------------------------------------------


def no_such_command(text):
    for words in commands(text):
        path = []
        while words and not words[0].startswith("-") and isinstance(helped(*path), click.Group):
            path.append(words.pop(0))
        command = helped(*path)
        if command is None:
            yield f"there is no command bff {' '.join(path)}"
            continue
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        yield from (f"bff {' '.join(path)} has no {word}" for word in words if word[:1] == "-" and word not in known)
        if path == ["switches"]:
            yield from wrong_turn(words)


def wrong_turn(words):
    said = list(takewhile(lambda word: not word.startswith("-"), words))
    if not said:
        return
    known = BY_NAME.get(said[0])
    if known is None:
        yield f"there is no switch {said[0]}"
    elif len(said) == 2 and not (known.values.allow(said[1]) and "--why" in words and "--by" in words):
        yield f"nobody can turn {said[0]} to {said[1]} like that"


def no_such_metric(text):
    greps = [code for code in codes(text) if "grep" in code]
    searched = {name for code in greps for found in NAME.findall(code) for name in expanded(found)}
    told = set(NAME.findall(text)) - {found for code in greps for found in NAME.findall(code)}
    yield from (f"/metrics has no {name}" for name in sorted(told - exported()))
    begun = (name for name in sorted(searched) if not any(one.startswith(name) for one in exported()))
    yield from (f"nothing in /metrics begins with {name}" for name in begun)


def no_such_label(text):
    for code in codes(text):
        for label, value in LABEL.findall(code) if "bff_" in code else ():
            there = LABELLED.get(label)
            words = [word for word in re.split(r"[(|)]", value) if word]
            yield from (f"no {label} is called {word}" for word in words if there is not None and word not in there)


def no_such_view(text):
    for code in codes(text):
        for view in re.findall(r"\$OPS/([\w/-]+)", code):
            if view not in VIEWS:
                yield f"the ops listener has no /{view}"
        if "$OPS/readyz | grep" in code:
            asked = shlex.split(code)[-1]
            yield from (f"/readyz has no {word}" for word in re.findall(r"[a-z-]+", asked) if word not in READY)


def no_such_link(text, path):
    for target, anchor in LINK.findall(text):
        there = (path.parent / target).resolve() if target else path
        if "://" in target:
            continue
        if not there.is_file():
            yield f"{target} leads nowhere"
        elif anchor and anchor not in map(anchored, headings(written(there), 2)):
            yield f"{target} has no heading {anchor}"


def anchored(heading):
    """As GitHub names it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def flaws(text, path=README):
    return [
        *no_such_command(text),
        *no_such_metric(text),
        *no_such_label(text),
        *no_such_view(text),
        *no_such_link(text, path),
    ]


def ill_formed(text, row):
    """What is not as it is in every other runbook."""
    severity = f"Severity {row.severity.name}"
    if headings(text, 2) != SECTIONS:
        yield f"its sections are {headings(text, 2)}"
    if not text.splitlines()[0].endswith(f"({row.id})") or severity not in text:
        yield f"it does not begin with {row.id} and {severity}"
    symptom = text.partition("## Symptom")[2].partition("\n## ")[0]
    if f"`{row.alert}`" not in symptom:
        yield f"its symptom has no alert {row.alert}"
    if METRIC not in row.later and row.metric.name not in symptom:
        yield f"its symptom has no {row.metric.name}"
    if len(text.splitlines()) > LONGEST:
        yield f"it is longer than {LONGEST} lines"
    yield from (f"nothing is said of {name}" for name in SECTIONS if f"## {name}\n\n\n" in f"{text}\n\n\n")


# -- the runbooks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_runbook_of_the_one_form(row):
    assert list(ill_formed(written(page(row)), row)) == []


@pytest.mark.parametrize("path", [*PAGES, *DECISIONS], ids=lambda path: path.stem)
def test_what_a_runbook_has_somebody_type_or_look_for_is_there(path):
    assert flaws(written(path), path) == []


def test_the_index_has_every_runbook_once_under_its_severity():
    found, severity = [], ""
    for line in written(README).splitlines():
        severity = line[:2] if re.match(r"P\d: ", line) else severity
        if listed := INDEXED.match(line):
            found.append((severity, *listed.groups()))
    wanted = [(row.severity.name, row.id, page(row).stem, f"{row.runbook}.md") for row in ROWS]
    assert found == sorted(wanted, key=lambda one: one[0])


def test_no_runbook_is_of_no_row():
    assert sorted(RUNBOOKS.rglob("*.md")) == sorted(PAGES)


def test_decisions_are_numbered_without_a_gap_and_have_one_form():
    numbers = [re.match(r"# ADR-(\d{4}): ", written(path))[1] for path in DECISIONS]
    assert numbers == [f"{number:04}" for number in range(1, len(DECISIONS) + 1)]
    assert [path.name[:4] for path in DECISIONS] == numbers
    assert [path.name for path in DECISIONS if headings(written(path), 2) != DECIDED] == []


# -- that it can fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("see `bff lokcs status` first", "there is no command bff lokcs"),
        ("    bff dlq list --every", "bff dlq list has no --every"),
        ("    bff dlq \\\n        bury 7", "there is no command bff dlq bury"),
        ("    bff locks status | bff audit prove", "there is no command bff audit prove"),
        ('`bff switches\nlock off --by me --why "it\'s down"`', "there is no switch lock"),
        ("    bff switches locks frozen --by me --why x", "nobody can turn locks to frozen like that"),
        ("    bff switches locks off --by me", "nobody can turn locks to off like that"),
        ("`bff_made_up_total` grows", "/metrics has no bff_made_up_total"),
        ("`bff_outbox` grows", "/metrics has no bff_outbox"),
        ("    curl -s $OPS/metrics | grep -E 'bff_(outbox|inbox)_'", "nothing in /metrics begins with bff_inbox_"),
        ('`bff_store_up{store="oracle"}` is 0', "no store is called oracle"),
        ("    curl -s $OPS/healthz", "the ops listener has no /healthz"),
        ("    curl -s $OPS/readyz | grep -E '^(bus|train)'", "/readyz has no train"),
        ("go [there](bff/nowhere.md)", "bff/nowhere.md leads nowhere"),
        ("go [there](README.md#nowhere)", "README.md has no heading nowhere"),
    ],
)
def test_what_is_not_there_is_named(text, flaw):
    assert flaws(text) == [flaw]


@pytest.mark.parametrize(
    "text",
    [
        '    bff switches locks off --by me --why "INC-7: it\'s down" --ops $OPS | cat --unknown',
        "`bff dlq replay --all`, and `bff switches --ops $OPS`",
        "    curl -s $OPS/metrics | grep -E 'bff_lock_audit|bff_relay_(failed|published)_total'",
        '`bff_store_up{store="postgres"}` is 0, [below](#the-pages)',
    ],
)
def test_what_is_there_is_left_alone(text):
    assert flaws(text) == []


@pytest.mark.parametrize(
    ("was", "becomes", "flaw"),
    [
        ("## When to escalate", "## Escalation", "its sections are"),
        ("(F-20)", "(F-21)", "it does not begin with"),
        ("Severity P1", "Severity P3", "it does not begin with"),
        ("`BffPostgresDown`", "the alert", "its symptom has no alert"),
        ("bff_store_up", "the gauge", "its symptom has no bff_store_up"),
        ("## Symptom\n", "## Symptom\n" + "more\n" * LONGEST, "it is longer than"),
    ],
)
def test_a_runbook_of_another_form_is_named(was, becomes, flaw):
    row = next(row for row in ROWS if row.id == "F-20")
    text = written(page(row))
    assert was in text
    assert any(found.startswith(flaw) for found in ill_formed(text.replace(was, becomes), row))
