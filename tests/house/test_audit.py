"""What `make audit` makes of what it is told; it is never asked here, since that needs a network."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FINE = {"name": "trio", "version": "0.35.0", "vulns": []}
BAD = {"name": "h2", "version": "4.1.0", "vulns": [{"id": "GHSA-1", "fix_versions": ["4.3.0"], "aliases": []}]}
SKIPPED = {"name": "bff-backoffice", "skip_reason": "not on the index"}


@pytest.mark.parametrize(
    ("dependencies", "code", "words"),
    [
        ([FINE], 0, "nothing is known against any of 1"),
        ([FINE, BAD], 1, "h2 4.1.0: GHSA-1, mended in 4.3.0"),
        ([FINE, SKIPPED], 0, "passed over were bff-backoffice"),
        ([SKIPPED], 0, "nobody could be asked"),
        ([], 0, "nobody could be asked"),
    ],
)
def test_what_is_known_against_something_is_a_failure_and_what_is_not_known_is_not_called_fine(
    audit, dependencies, code, words
):
    found, lines = audit.verdict({"dependencies": dependencies}, "")
    assert found == code and words in "\n".join(lines)
    assert ("nothing is known against" in lines[-1]) is (code == 0 and FINE in dependencies)
    assert len(lines) <= len(dependencies) + 1


def test_where_nobody_can_be_asked_it_says_so_and_why(audit):
    assert audit.verdict(None, "no route to host") == (
        0,
        ["audit: nobody could be asked, so that nothing is known (no route to host)"],
    )


def test_its_tools_are_pinned_and_no_part_of_the_server(audit):
    lock = audit.LOCK.read_text(encoding="utf-8")
    assert all("==" in one and f"\n{one.partition('==')[0]}==" not in lock for one in audit.NEEDED)


def test_the_tests_never_ask_for_it():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (target,) = [line for line in makefile.splitlines() if line.startswith("audit:")]
    assert target == "audit: $(READY)"
    called = [line for line in makefile.splitlines() if line.startswith("\t") and "audit" in line]
    assert called == ["\t@$(BIN)/python .ci/audit.py"]
