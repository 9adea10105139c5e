"""In which world a test runs, read from its file without running it: virtual time, or real parts.

    virtual   it stands on a clock of pytest-trio, a fixture of `chaos.pytest_plugin` or the account of a sweep, or
              names what runs it in virtual time: trio's `MockClock`, `simulate`, a game-day's `rehearse`
    live      it stands on a fixture that starts real stores, a whole hotel or a process

A test stands on its own fixtures, on theirs, and so on, as pytest finds them: in its file, then in each `conftest.py`
above it. One that is in neither world may be a good test; that a failure is survived it does not show.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

CLOCKS: Final = frozenset({"autojump_clock", "mock_clock", "simulate", "play_plan", "account_of"})
REAL: Final = frozenset({"running", "shared", "begin", "real_edge"})  # fixtures of tests/{live,parity,stores,jobs}
RUNNERS: Final = frozenset({"MockClock", "rehearse", "simulate"})

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Kind(Enum):
    """In which world a test runs."""

    VIRTUAL = "virtual"
    LIVE = "live"


class FalseClaim(Exception):
    """What a row claims is not so; the message says why, in a few words."""


@dataclass(frozen=True, slots=True)
class Module:
    """What a file of tests has: its functions, and of each fixture the names of those it asks for."""

    functions: dict[str, Function]
    asked_for: dict[str, frozenset[str]]


class Tests:
    """The tests under `root`, each file read once."""

    __test__ = False  # pytest collects what is called so

    def __init__(self, root: Path) -> None:
        self._root = root
        self._modules: dict[Path, Module] = {}

    def kind(self, node: str) -> Kind:
        """In which world a test runs. Raises `FalseClaim` for one that is not there, is skipped, or has no world."""
        name, _, function = node.partition("::")
        path = self._root / name
        if not name.startswith("tests/") or not path.is_file():
            raise FalseClaim(f"there is no file {name}")
        test = self._module(path).functions.get(function)
        if test is None or not function.startswith("test_"):
            raise FalseClaim(f"there is no test {function or '(unnamed)'} in {name}")
        if any(re.search(r"\bmark\.(skip|xfail)\b", ast.unparse(one)) for one in test.decorator_list):
            raise FalseClaim(f"{node} is skipped, or expected to fail")
        fixtures = self._fixtures(path, _arguments(test))
        if fixtures & CLOCKS or RUNNERS & _names(test):
            return Kind.VIRTUAL
        if fixtures & REAL:
            return Kind.LIVE
        raise FalseClaim(f"{node} is neither in virtual time nor on real parts")

    def _fixtures(self, path: Path, new: frozenset[str]) -> frozenset[str]:
        folders = [folder for folder in path.parents if folder.is_relative_to(self._root / "tests")]
        modules = [self._module(file) for file in (path, *(folder / "conftest.py" for folder in folders))]
        found: frozenset[str] = frozenset()
        while new:
            found |= new
            nearest = (next((one.asked_for[name] for one in modules if name in one.asked_for), ()) for name in new)
            new = frozenset(name for names in nearest for name in names) - found
        return found

    def _module(self, path: Path) -> Module:
        if path not in self._modules:
            self._modules[path] = _read(path.read_text(encoding="utf-8") if path.is_file() else "")
        return self._modules[path]


def _read(text: str) -> Module:
    body = ast.parse(text).body
    functions = {one.name: one for one in body if isinstance(one, Function)}
    asked_for = {name: _arguments(one) for name, one in functions.items() if _is_fixture(one)}
    for one in body:
        if isinstance(one, ast.Assign):  # tier, cache = map(a_function_that_makes_a_fixture, …)
            makers = [functions[name] for name in _names(one.value) & functions.keys()]
            made = [inner for maker in makers for inner in ast.walk(maker) if isinstance(inner, Function)]
            for name in (target for each in one.targets for target in _names(each)) if made else ():
                asked_for[name] = frozenset().union(*(_arguments(inner) for inner in made if _is_fixture(inner)))
    return Module(functions, asked_for)


def _arguments(function: Function) -> frozenset[str]:
    every = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return frozenset(one.arg for one in every)


def _is_fixture(function: Function) -> bool:
    return any("fixture" in ast.unparse(one) for one in function.decorator_list)


def _names(tree: ast.AST) -> frozenset[str]:
    """Every name in it, and the last part of every dotted one."""
    every = (one.id if isinstance(one, ast.Name) else getattr(one, "attr", "") for one in ast.walk(tree))
    return frozenset(every)
