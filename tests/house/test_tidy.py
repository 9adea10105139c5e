"""The house inspects itself: what holds for every file of it."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("bff", "nurseries", "chaos")
LONGEST_FILE = 350
LONGEST_FUNCTION = 60
TOP = {
    *("pyproject.toml", "bff", "nurseries", "tests", "chaos", "deploy", "README.md", "LICENSE", "Makefile"),
    *("requirements.lock", ".ci", ".github", ".flake8", ".gitignore"),
}
# Said in pieces, so that this file does not find itself.
HOSTS = re.compile("|".join(("py" + r"pi\.", "python" + "hosted", "npm" + r"js\.", "debian" + r"\.org")))
PLACES = re.compile("|".join(("/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/Us" + "ers/", r"\.py" + "env")))
SECRETS = re.compile(
    "|".join(("BEGIN (EC |RSA )?PRIVATE" + " KEY", "AK" + "IA[0-9A-Z]{16}", "gh" + "p_[0-9A-Za-z]{36}"))
)
LOOSE_NAMES = re.compile(r"(Manager|Helper|Utils?)$")


def files(*suffixes):
    """What is in the repository, or will be: ignored files are not the house."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if name.endswith(suffixes or ("",)) and (ROOT / name).is_file()]


def modules():
    return [path for path in files(".py") if path.relative_to(ROOT).parts[0] in PRODUCT]


def named(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.fixture(scope="module")
def trees():
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in modules()}


def test_no_file_is_longer_than_can_be_read_in_one_go():
    assert named(path for path in modules() if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE) == []


def test_no_function_is_longer_than_a_screen(trees):
    long = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


def test_every_file_says_what_it_is_for(trees):
    assert named(path for path, tree in trees.items() if not ast.get_docstring(tree)) == []


def test_names_say_what_a_thing_is(trees):
    loose = [
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and LOOSE_NAMES.search(node.name)
    ]
    assert loose == []


def test_no_file_is_empty():
    assert named(path for path in files() if path.stat().st_size == 0) == []


def test_the_top_of_the_house_holds_what_it_should_and_no_more():
    assert {path.relative_to(ROOT).parts[0] for path in files()} <= TOP


@pytest.mark.parametrize("forbidden", [HOSTS, PLACES, SECRETS], ids=["registry", "machine", "secret"])
def test_nothing_names_a_registry_a_machine_or_a_secret(forbidden):
    texts = files(".py", ".toml", ".lock", ".md", ".sql", ".lua", ".yaml", ".yml", "Makefile", "run", ".flake8")
    found = [str(path.relative_to(ROOT)) for path in texts if forbidden.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_the_lock_has_a_hash_for_every_requirement():
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    requirements = re.split(r"\n(?=\S)", lock.strip())
    assert len(requirements) > 30
    assert [one.split()[0] for one in requirements if "--hash=sha256:" not in one] == []


def test_no_test_waits_by_the_wall_clock():
    pattern = re.compile(r"\btime\.sleep\(")
    assert named(path for path in files(".py") if "tests" in path.parts and pattern.search(path.read_text())) == []
