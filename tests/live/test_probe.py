"""`bff probe` at a hotel that runs, on its real stores."""

import json


def test_a_running_server_looks_at_itself_when_it_is_asked_to_f28_f29_f30_f32(hotel):
    looks = {"replays": ["proof", "attestation", "key"], "tenants": ["cache", "sessions", "tenants", "keys", "events"]}
    for name, whats in looks.items():
        code, said, _ = hotel.run("probe", name, "--json")
        assert (code, [one["what"] for one in json.loads(said) if one["good"]]) == (0, whats), said
    code, said, _ = hotel.run("probe", "replays")
    assert (code, said.splitlines()) == (
        0,
        [
            "● replays: proof: a used proof is refused",
            "● replays: attestation: a spent second factor is refused",
            "● replays: key: a key that was answered is answered again",
        ],
    )


def test_what_was_found_is_listed_and_a_probe_that_there_is_not_is_said(hotel):
    hotel.run("probe", "edge")
    code, said, _ = hotel.run("probe")
    assert (code, "edge: there is nothing to look at" in said) == (0, True)
    code, _, trouble = hotel.run("probe", "else")
    assert (code, "there is no probe 'else'" in trouble) == (2, True)
