"""flake8, its rules of async code alone, and faster: where every node of a file is, is worked out once.

flake8-async asks libcst for that anew for each of its visitors, because any of them might have rewritten the file. Here
none does: nothing is corrected by itself. So all of them may read the same tree, and find the same.
"""

from collections.abc import Iterable
from typing import Any

from flake8.main.cli import main
from flake8_async.runner import Flake8AsyncRunner_cst
from libcst.metadata import MetadataWrapper


def run(self: Any) -> Iterable[object]:
    """In the place of `Flake8AsyncRunner_cst.run`, for a run that leaves files and `noqa` to flake8."""
    assert self.options.disable_noqa and not self.options.autofix_codes
    tree = MetadataWrapper(self.module, unsafe_skip_copy=True)
    for visitor in (*self.utility_visitors, *self.visitors):
        tree.visit(visitor)
    yield from self.state.problems


if __name__ == "__main__":
    Flake8AsyncRunner_cst.run = run
    raise SystemExit(main())
