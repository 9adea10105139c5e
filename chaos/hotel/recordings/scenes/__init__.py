"""The scenes, by section of the specification: what breaks for which rule."""

from __future__ import annotations

from typing import Final

from chaos.hotel.recordings.scenes.application import APPLICATION
from chaos.hotel.recordings.scenes.cost import COST
from chaos.hotel.recordings.scenes.edge import EDGE
from chaos.hotel.recordings.scenes.quiet import QUIET
from chaos.hotel.recordings.scenes.stores import STORES
from chaos.hotel.recordings.scenes.upstreams import UPSTREAMS

__all__ = ["QUIET", "SCENES"]
SCENES: Final = (*UPSTREAMS, *STORES, *EDGE, *APPLICATION, *COST)
