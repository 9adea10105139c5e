"""`make bench`: every figure of the house, in one run. A name as argument measures that one alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from chaos.hotel.bench import Figure
from chaos.hotel.bench.dashboard import measure as measure_dashboard
from chaos.hotel.bench.gate import measure as measure_gate
from chaos.hotel.bench.hour import measure as measure_hour
from chaos.hotel.bench.mutations import measure as measure_mutations
from chaos.hotel.bench.transport import measure as measure_transport

BENCHES: Final[Mapping[str, Callable[[], list[Figure]]]] = {
    "transport": measure_transport,
    "gate": measure_gate,
    "dashboard": measure_dashboard,
    "mutations": measure_mutations,
    "hour": measure_hour,
}


def main(names: list[str]) -> None:
    """Measure and print `names`, or everything."""
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        sys.exit(f"there is no bench called {unknown[0]}: there are {', '.join(BENCHES)}")
    for name in names or BENCHES:
        for figure in BENCHES[name]():
            print(f"{figure.name:52} {figure.value:10.2f} {figure.unit:15} {figure.note}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
