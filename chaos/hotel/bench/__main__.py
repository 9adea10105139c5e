"""`make bench`: every figure of the house, in one run. A name as argument measures that one alone.

`--small` takes a tenth of the streams: for who wants to see in a minute whether something has changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from chaos.hotel.bench import Figure
from chaos.hotel.bench.dashboard import measure as measure_dashboard
from chaos.hotel.bench.events import SMALL as FEW_STREAMS
from chaos.hotel.bench.events import measure as measure_events
from chaos.hotel.bench.gate import measure as measure_gate
from chaos.hotel.bench.hour import measure as measure_hour
from chaos.hotel.bench.mutations import measure as measure_mutations
from chaos.hotel.bench.observing import measure as measure_observing
from chaos.hotel.bench.transport import measure as measure_transport

Benches = Mapping[str, Callable[[], list[Figure]]]

BENCHES: Final[Benches] = {
    "transport": measure_transport,
    "gate": measure_gate,
    "dashboard": measure_dashboard,
    "mutations": measure_mutations,
    "events": measure_events,
    "observing": measure_observing,
    "hour": measure_hour,
}
SMALL: Final = "--small"


def main(words: list[str]) -> None:
    """Measure and print what is named in `words`, or everything."""
    names = [word for word in words if word != SMALL]
    benches: Benches = {**BENCHES, "events": partial(measure_events, FEW_STREAMS)} if SMALL in words else BENCHES
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"there is no bench called {unknown[0]}: there are {', '.join(BENCHES)}")
    for name in names or BENCHES:
        for figure in benches[name]():
            print(f"{figure.name:60} {figure.value:10.2f} {figure.unit:15} {figure.note}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
