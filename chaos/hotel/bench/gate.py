"""What the gate costs per request, held against one bare ES256 verification, in one run.

The whole ladder is climbed by requests as they come from the wire, each with a proof of its own, its session tier in
memory: what the real one costs is Redis' matter and the border's. Proofs are made beforehand. A figure is the best of
its rounds, since what disturbs a round only ever adds.
"""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from bff.gate.ladder import Demands, Pass, climb
from bff.wire.asgi import Request
from bff.wire.trace import ServerTiming
from chaos.hotel.bench import Figure
from chaos.hotel.fleet.desk import Desk
from chaos.hotel.fleet.proof import make_proof
from chaos.hotel.world import World, open_world
from nurseries import within

ROUNDS: Final = 5
REQUESTS: Final = 400
QUERY: Final = "propertyId=resort-praia"


def measure() -> list[Figure]:
    """The figures; takes a few seconds."""
    climbed, verified = trio.run(_measure)
    return [
        Figure("gate, rungs 0 to 7", climbed * 1e6, "us CPU/request", "a new proof each; token and key known"),
        Figure("one ES256 verification", verified * 1e6, "us CPU"),
        Figure("gate, in verifications", climbed / verified, "x"),
    ]


async def _measure() -> tuple[float, float]:
    climbed = verified = float("inf")
    async with open_world() as world:
        desk = await world.desk()
        await _round(world, desk, f"warm-{world.seed}")
        for number in range(ROUNDS):
            climbed = min(climbed, await _round(world, desk, str(number)))
            verified = min(verified, _verify())
    return climbed, verified


async def _round(world: World, desk: Desk, name: str) -> float:
    """CPU seconds per request that climbs."""
    requests = [_request(world, desk, f"{name}-{number}") for number in range(REQUESTS)]
    gate = world.servers["bff"].house.gate
    gc.collect()
    began = time.process_time()
    for request in requests:
        with within(5), ExitStack() as stay:
            passed = await climb(gate, request, Demands(), stay=stay, timing=ServerTiming())
            assert isinstance(passed, Pass), passed
    return (time.process_time() - began) / REQUESTS


def _request(world: World, desk: Desk, jti: str) -> Request:
    assert desk.session is not None, "signed in"
    token = desk.session.access_token
    proof = make_proof(desk.key, "GET", "http://bff/v1/dashboard", token=token, now=world.now(), jti=jti)
    headers = (
        (b"host", b"bff"),
        (b"authorization", f"DPoP {token}".encode()),
        (b"dpop", proof.encode()),
        (b"x-device-id", desk.device.encode()),
    )
    return Request("GET", "/v1/dashboard", QUERY, headers, "http", "10.0.0.1")


def _verify() -> float:
    """CPU seconds per verification of one signature."""
    key = ec.derive_private_key(7, ec.SECP256R1())
    scheme = ec.ECDSA(SHA256())
    signature, public = key.sign(b"a" * 300, scheme), key.public_key()
    began = time.process_time()
    for _ in range(REQUESTS):
        public.verify(signature, b"a" * 300, scheme)
    return (time.process_time() - began) / REQUESTS
