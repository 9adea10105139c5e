"""README.md and THREATS.md: what they name is there, and what they have somebody type can be typed."""

import re
import shlex
from pathlib import Path

import click
import pytest

from bff.cli.main import bff
from bff.kept import IN_FILES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
README = (DEPLOY / "README.md").read_text(encoding="utf-8")
THREATS = (DEPLOY / "THREATS.md").read_text(encoding="utf-8")
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def typed():
    """Every line of its blocks of code, as a shell has it."""
    text = "\n".join(line.strip() for line in README.splitlines() if line.startswith("    ")).replace("\\\n", " ")
    return [line.partition(" # ")[0] for line in text.splitlines()]


def command(*path):
    found = bff
    for word in path:
        found = found.get_command(click.Context(bff), word) if isinstance(found, click.Group) else None
    return found


@pytest.mark.parametrize("text", [README, THREATS], ids=["README", "THREATS"])
def test_every_link_leads_somewhere(text):
    for target in LINK.findall(text):
        assert (DEPLOY / target).exists(), target


def test_every_file_and_test_that_the_threats_name_is_there():
    folder = None
    for name in re.findall(r"`([\w./-]+\.(?:py|yaml|md|lock)|[\w/]+/|Dockerfile)`", THREATS):
        if "/" in name:
            folder = (ROOT / name).parent
        there = (ROOT / name, DEPLOY / name, *((folder / name,) if folder else ()))
        assert any(path.exists() for path in there), name


def test_the_threats_are_one_page():
    assert len(THREATS.splitlines()) <= 80


def test_every_command_of_ours_exists():
    lines = [*typed(), *re.findall(r"`([^`]+)`", README)]
    ours = [
        words for line in lines for found in re.findall(r"(?:^| )bff ([a-z].*)", line) if (words := shlex.split(found))
    ]
    assert len(ours) >= 3
    for first, *words in ours:
        found = command(first)
        assert found is not None, first
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, (first, words)


def test_every_file_that_is_typed_is_there():
    for line in typed():
        for name in re.findall(r"\bdeploy/[\w./-]+", line):
            assert (ROOT / name).exists() or name.endswith("/run.env"), name


def test_every_service_that_is_typed_is_one_of_compose_s(compose):
    for line in typed():
        words = shlex.split(line)
        for verb in ("exec", "restart", "logs", "rm"):
            if words[:2] == ["docker", "compose"] and verb in words:
                named = [word for word in words[words.index(verb) + 1 :] if not word.startswith("-")]
                checked = named if verb != "exec" else named[:1]
                assert set(checked) <= set(compose["services"]), line
    volumes = re.findall(r"docker volume rm (\S+)", "\n".join(typed()))
    assert volumes and {name.removeprefix(f"{compose['name']}_") for name in volumes} <= set(compose["volumes"])


def test_every_secret_that_may_be_a_file_is_said_to_be():
    assert set(re.findall(r"`([A-Z_]+)`", README)) >= set(IN_FILES)
