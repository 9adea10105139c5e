"""Who asks, and by which name: what a proxy says of it counts only where the proxy is trusted.

    nobody in front     the peer's address; the listener's scheme and `Host`
    a trusted proxy     X-Forwarded-For, from the right, up to the first address that is no trusted proxy;
                        X-Forwarded-Proto and X-Forwarded-Host, the last of each: the one the nearest proxy wrote
    BFF_PUBLIC_ORIGIN   that, whatever anybody says

The name is what a proof's `htu` is compared with (RFC 9449, 4.3): who may choose it can pass a proof off that was made
for another server. So a proxy must write these fields itself, and the public origin, where there is one, is better.
`Forwarded` (RFC 7239) is not read: a proxy that writes one family and passes the other on lets the client choose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from bff.wire.limits import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bff.wire.asgi import Request

Address = IPv4Address | IPv6Address
ADDRESSES_KNOWN: Final = 4_096  # texts whose address is remembered: a keep-alive connection asks for the same again
SITE_BITS: Final = 64  # of an IPv6 address: below that one machine has them all (RFC 6177)


@dataclass(frozen=True, slots=True)
class Front:
    """What stands before this server: the origin desks know it by, where one is set, and the proxies it believes."""

    public_origin: str | None = None
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def origin(self, request: Request) -> str:
        """Scheme and authority under which the request was made; the authority may be empty or unfit for a URL."""
        if self.public_origin is not None:
            return self.public_origin
        scheme, host = request.scheme, (request.first(b"host") or b"").decode("latin-1")
        if self.proxies and self._trusts(_address(request.client)):
            said = _last(request, b"x-forwarded-proto").lower()
            scheme = said if said in {"http", "https"} else scheme
            named = _last(request, b"x-forwarded-host")
            host = named if named and HOST.fullmatch(named.encode("latin-1")) else host
        return f"{scheme}://{host}"

    def address(self, request: Request) -> str:
        """The client's address, for counting: of IPv6 its site. What is no address stays as it is."""
        if not self.proxies:
            return counted(request.client)
        near = request.client
        hops = reversed(_listed(request, b"x-forwarded-for"))
        while self._trusts(_address(near)):
            further = next(hops, None)
            if further is None or _address(further) is None:
                break  # nobody further out is known: the last one who is
            near = further
        return counted(near)

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.proxies)


def make_front(public_origin: str | None, proxies: Iterable[str]) -> Front:
    """The front of these settings; `proxies` are networks. Raises `ValueError` for what is none."""
    return Front(public_origin, tuple(ip_network(network) for network in proxies))


@lru_cache(maxsize=ADDRESSES_KNOWN)
def counted(text: str) -> str:
    """What stands for an address in a table of rates."""
    address = _address(text)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, SITE_BITS), strict=False))
    return text if address is None else str(address)


@lru_cache(maxsize=ADDRESSES_KNOWN)
def _address(text: str) -> Address | None:
    """An address, with or without brackets and a port; one of IPv4 inside of IPv6 is the one of IPv4."""
    bare = text.partition("]")[0].removeprefix("[") if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _listed(request: Request, name: bytes) -> list[str]:
    """The items of a list field, over all of its lines, in order (RFC 9110, 5.6.1)."""
    joined = b",".join(request.all(name)).decode("latin-1")
    return [item for part in joined.split(",") if (item := part.strip())]


def _last(request: Request, name: bytes) -> str:
    items = _listed(request, name)
    return items[-1] if items else ""
