"""What a sweep has done so far, in a file: it can be stopped at any moment, and goes on from there.

Lines, only ever appended, their fields parted by tabs:

    sweep    dashboard, seed 7, 4284 cases 9f0c…     whose journal this is; the first line
    ok       0.0113   pricing hang at reserve
    broken   0.0127   pricing drip at reserve        3 µs late
    reached  BreakerClosed                           a mark

A line that was half written when the process died does not count, and is cut off before the next one is written. The
last word on a case holds; one that was broken is run again, since who goes on with a sweep may have mended it.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chaos.sweep import Ran, Reached

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from chaos.sweep import Entry

HEAD: Final = "sweep"


class OtherJournal(ValueError):
    """The file is no journal, or another sweep's; the message is one line."""


def identity(sweep: str, seed: int, names: Iterable[str]) -> str:
    """What tells a sweep from every other: its name, its seed, and the names of its cases."""
    listed = tuple(names)
    digest = blake2b("\n".join(listed).encode(), digest_size=6).hexdigest()
    return f"{sweep}, seed {seed}, {len(listed)} cases {digest}"


def line_of(entry: Entry) -> str:
    """An entry as a line, its end included."""
    if isinstance(entry, Reached):
        return f"reached\t{entry.mark}\n"
    fields = ("broken" if entry.error else "ok", f"{entry.seconds:.6f}", entry.name, _flat(entry.error))
    return "\t".join(fields).rstrip("\t") + "\n"


def _flat(error: str) -> str:
    return " ".join(error.split())


def entry_of(line: str) -> Entry:
    """The entry of a line. Raises `ValueError` for what is none."""
    word, *fields = line.split("\t")
    match word, fields:
        case "reached", [mark]:
            return Reached(mark)
        case "ok", [seconds, name]:
            return Ran(name, float(seconds))
        case "broken", [seconds, name, error]:
            return Ran(name, float(seconds), error)
    raise ValueError(f"no line of a journal: {line!r}")


class Journal:
    """The journal at `path` of the sweep called `whose`: what it says already, and what is written from now on.

    Raises `OtherJournal`, and `OSError` for a file that cannot be had. One process writes it.
    """

    def __init__(self, path: Path, whose: str) -> None:
        whole, self.entries = _read(path, whose)
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._append(f"{HEAD}\t{whose}\n")

    def write(self, entry: Entry) -> None:
        """Append it; it is with the operating system when this returns."""
        self._append(line_of(entry))

    def _append(self, line: str) -> None:
        self._file.write(line.encode())
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_journal(path: Path, whose: str) -> tuple[Entry, ...]:
    """What it says; nothing where there is none. Raises `OtherJournal`, `OSError`."""
    return _read(path, whose)[1]


def _read(path: Path, whose: str) -> tuple[int, tuple[Entry, ...]]:
    """How many bytes of it are whole lines, and what they say."""
    if not path.exists():
        return 0, ()
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].decode(errors="replace").splitlines()
    if not lines:
        if data and not f"{HEAD}\t{whose}\n".encode().startswith(data):
            raise OtherJournal(f"{path} is no journal of a sweep")
        return 0, ()
    head, _, said = lines[0].partition("\t")
    if head != HEAD:
        raise OtherJournal(f"{path} is no journal of a sweep")
    if said != whose:
        raise OtherJournal(f"{path} is the journal of another sweep ({said}), and this is {whose}")
    try:
        return whole, tuple(entry_of(line) for line in lines[1:])
    except ValueError as error:
        raise OtherJournal(f"{path} is damaged: {error}") from None
