"""Recordings: what Prometheus would have seen of a server while something broke, as tests for its alerts.

promql.py    what an expression reads
rules.py     the rules of deploy/prometheus/rules, and what each comes down to
tape.py      a page of /metrics each 15 seconds, and how it is written down
works.py     what desks do all day
scene.py     what breaks, and how it is filmed
scenes/      the scenes themselves, by section of the specification
filming.py   from scenes to files of tests; how long it takes until an alert fires
promtool.py  Prometheus's own tool, asked

`python -m chaos.hotel.recordings` films them all and prints how long each took; `--help` says the rest.
"""
