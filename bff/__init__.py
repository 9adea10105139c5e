"""The one online door of an offline-first hotel desktop.

Floors, each importing only lower ones (import-linter holds it): outside, problem, model, facts, config, log and meters
at the bottom; wire; upstreams and stores; gate; reads; ops; app and routes; serve; cli on top. Start at `app.py`: a
request's whole way is on one screen there.
"""
