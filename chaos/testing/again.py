"""The end of pytest's report: each virtual test that failed, its seed, and the one command that has it again."""

from __future__ import annotations

import os.path
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pytest

    from chaos.plan import Plan

SEED: Final = "--seed"
SHOWN: Final = 20  # who broke more than that does not read the rest


def again(item: pytest.Item, seed: int, options: Sequence[str], plan: str) -> dict[str, str]:
    """How to have this test again, in words that a report may carry from one process to another."""
    config = item.config
    test = os.path.relpath(item.path, config.invocation_params.dir) + "".join(item.nodeid.partition("::")[1:])
    if any(argument.startswith("-m") for argument in map(str, config.invocation_params.args)):
        options = [*options, "-m", config.getoption("-m")]
    return {
        "test": test,
        "seed": str(seed),
        "plan": plan,
        "do": shlex.join(["pytest", test, SEED, str(seed), *options]),
    }


def save_plan(item: pytest.Item, plan: Plan) -> str:
    """Write it where pytest keeps what it remembers; the path from here, or '' where it keeps nothing."""
    cache: pytest.Cache | None = getattr(item.config, "cache", None)
    if cache is None:
        return ""
    file = cache.mkdir("plans") / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', item.name)}.plan"
    file.write_text(str(plan), encoding="utf-8")
    here = item.config.invocation_params.dir
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def say_again(terminal: Any, cut: Mapping[str, str], tasks: str) -> None:
    """Write all of it. `cut` is the test that was running when the whole was broken off, with its `tasks`."""
    failed = [
        report.to_have_it_again for report in terminal.stats.get("failed", []) if hasattr(report, "to_have_it_again")
    ]
    if cut:
        terminal.write_sep("=", "tasks when it was cut")
        terminal.write_line(tasks or "none was seen")
        failed.append(cut)
    if failed:
        terminal.write_sep("=", "to have it again")
    for one in failed[:SHOWN]:
        terminal.write_line(
            f"{one['test']}, by seed {one['seed']}" + ("; it takes no more than" if one["plan"] else "")
        )
        terminal.write_line("".join(f"  {line}\n" for line in [*one["plan"].splitlines(), one["do"]]).rstrip("\n"))
    if len(failed) > SHOWN:
        terminal.write_line(f"and {len(failed) - SHOWN} more")
