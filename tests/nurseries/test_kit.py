import ast
import inspect
import sys
from pathlib import Path

import pytest

import nurseries

FILES = sorted(Path(nurseries.__file__).parent.glob("*.py"))

# What programs build on: a name that comes, goes or changes is a decision, and is made here.
PUBLIC = [
    "Backoff",
    "Breaker",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "BreakerRule",
    "Bulkhead",
    "BulkheadPermit",
    "BulkheadShed",
    "Counted",
    "DetachedCutOff",
    "Doing",
    "ErrorsBecome",
    "Failed",
    "Flight",
    "Full",
    "Health",
    "KeyedScopes",
    "Ok",
    "Outcome",
    "OwnedTaskFailed",
    "Owner",
    "Permit",
    "Place",
    "RetryBudget",
    "RetryDenied",
    "ServiceRestarting",
    "Shed",
    "State",
    "StragglerLetGo",
    "TimedOut",
    "Unbounded",
    "at_checkpoint",
    "cancel_at",
    "count_checkpoints",
    "described",
    "detached",
    "fan_out",
    "listening",
    "no_task_left",
    "open_owner",
    "owners",
    "remaining",
    "required",
    "reserve",
    "retry",
    "task_tree",
    "tell",
    "until",
    "within",
]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_the_public_names_are_these():
    assert nurseries.__all__ == PUBLIC
    assert all(hasattr(nurseries, name) for name in PUBLIC)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "Outcome"])  # an alias says nothing of its own
def test_each_public_name_says_what_it_is(name):
    said = inspect.getdoc(getattr(nurseries, name))
    assert said
    assert not said.startswith(f"{name}("), "what a dataclass writes by itself is no docstring"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_kit_imports_trio_alone(file):
    roots = {name.partition(".")[0] for name in imported(file)}
    assert roots <= {"trio", "nurseries", *sys.stdlib_module_names}
    assert "asyncio" not in roots


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_line_is_excused_from_being_tried(file):
    assert "pragma" not in file.read_text()


def test_the_map_names_every_file_once():
    listed = [line.split()[0] for line in inspect.getdoc(nurseries).splitlines() if line.startswith("    ")]
    assert sorted(listed) == [file.stem for file in FILES if file.stem != "__init__"]
