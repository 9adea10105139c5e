"""The estate as a process: `python -m chaos.hotel.estate --port 9100 --token-ttl 900`.

Says on one line of standard output that it is ready, as JSON: `{control, services, operators}`. Runs until SIGTERM or
SIGINT, and exits 0. A port that cannot be had is one line on standard error, and exit 2.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import signal
import sys
import time

import msgspec
import trio

from chaos.hotel.estate.control import Estate, open_estate
from chaos.hotel.estate.hotel import Hotel, build_hotel
from chaos.hotel.estate.services import build_services
from chaos.hotel.estate.serving import Door
from chaos.hotel.estate.sockets import Tcp


def main() -> int:
    """Give the exit status."""
    asked = _arguments()
    _raise_file_limit()
    return trio.run(_run, asked.host, asked.port, asked.token_ttl)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="estate", description="The services behind the server, as stand-ins.")
    parser.add_argument("--port", type=_whole(0, 65_535), default=9100, help="the control's port; 0 is any free one")
    parser.add_argument("--token-ttl", type=_whole(1, 86_400), default=900, help="life of an access token, in seconds")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    return parser.parse_args()


class _whole:  # noqa: N801 - argparse shows the name when it says what was wrong
    """A whole number from `least` to `most`."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def __call__(self, text: str) -> int:
        value = int(text)
        if not self._least <= value <= self._most:
            raise argparse.ArgumentTypeError(f"should be from {self._least} to {self._most}")
        return value


async def _run(host: str, port: int, token_ttl: int) -> int:
    hotel = build_hotel()
    services, authority = build_services(hotel, now=time.time, entropy=os.urandom, token_ttl=token_ttl)
    status = 0
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            try:
                opened = open_estate(services, authority, listen=Tcp().listen, nursery=nursery, host=host, port=port)
            except OSError as error:
                sys.stderr.write(f"port {port} of {host} cannot be had: {error.strerror}\n")
                status = 2
            else:
                gc.freeze()  # the morning never dies: no collection needs to look at it again
                _announce(*opened, hotel)
                async for _ in signals:
                    break
            nursery.cancel_scope.cancel()
    return status


def _announce(estate: Estate, control: Door, hotel: Hotel) -> None:
    line = {
        "control": control.url,
        "services": estate.urls,
        "operators": [
            {
                "tenant": operator.tenant_id,
                "operator": operator.operator_id,
                "password": operator.password,
                "mfaCode": operator.mfa_code,
                "properties": operator.properties,
            }
            for operator in hotel.operators
        ],
    }
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.flush()


def _raise_file_limit() -> None:
    """Connections by the thousand are files by the thousand."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
