"""The 41 ways in which the hotel's door can fail, as data: FAILURE_MODES section 1, row by row, in its order.

row.py        what a row is: what it claims, and what is to come
upstreams.py  1.1   stores.py  1.2   edge.py  1.3   application.py  1.4   cost.py  1.5
evidence.py   what is really there: tests, metrics, alert rules, runbooks, game-days; and false claims
boards.py     Grafana's dashboards: a panel for each row; golden.py the golden signals
faults.py     how each row is put in force in a world; staged.py, mistakes.py and front.py what no toxic makes
radius.py     what a desk can do meanwhile, and what not (section 3); deeds.py and deeds_heard.py each thing, done once
objectives.py the objectives of section 4, measured; detection.py and recovery.py how; show_objectives.py the table
show.py       the table that `bff catalogue` prints, and the list of `--json`
commands.py   the command
"""

from __future__ import annotations

from typing import Final

from chaos.hotel.catalogue.application import APPLICATION
from chaos.hotel.catalogue.cost import COST
from chaos.hotel.catalogue.edge import EDGE
from chaos.hotel.catalogue.stores import STORES
from chaos.hotel.catalogue.upstreams import UPSTREAMS

SECTIONS: Final = (UPSTREAMS, STORES, EDGE, APPLICATION, COST)
ROWS: Final = tuple(row for section in SECTIONS for row in section.rows)
