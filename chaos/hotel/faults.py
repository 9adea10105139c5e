"""Who breaks what in a hotel that runs: services through the estate's control, stores as processes and on the way.

The other side of `chaos.live.hatch`. What is in force is never remembered here: the estate and the proxy are asked, and
a store is looked at, so that what somebody else broke or healed is told as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import trio

from chaos.hotel.asking import asked
from chaos.live.hatch import Faults, InForce
from chaos.live.process import LiveError
from chaos.live.stores import LOOK_AGAIN, NAMES, READY_WITHIN, Store
from chaos.toxics import SOCKET, STORE, BadToxic, Failover, Kill, Start, Stop, Toxic
from nurseries import within

STORE_WORDS: Final = ", ".join(kind.word for kind in (*SOCKET, *STORE))


class EstateFaults:
    """The services' faults, done by the estate behind `control`, its address."""

    def __init__(self, control: str) -> None:
        self._toxics = f"{control.rstrip('/')}/_estate/toxics"

    async def inject(self, target: str, toxic: Toxic) -> InForce:
        return await self._ask("POST", json={"service": target, "toxic": str(toxic)})

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> InForce:
        narrowed = {"service": target, "toxic": None if toxic is None else str(toxic)}
        return await self._ask("DELETE", params={name: text for name, text in narrowed.items() if text is not None})

    async def in_force(self) -> InForce:
        return await self._ask("GET")

    async def _ask(self, method: str, **what: Any) -> InForce:
        answer = await asked(method, self._toxics, **what)
        try:
            body = answer.json()
        except ValueError:
            raise LiveError(f"{self._toxics} does not answer as an estate does") from None
        if answer.is_success:
            in_force: InForce = body
            return in_force
        raise BadToxic(body.get("message", f"the estate answered {answer.status_code}"))


class StoreFaults:
    """The stores' faults: to the process of one that runs here, and to the way to any, by the proxy in front of it.

    `changed` is called when a store has got another process.
    """

    def __init__(self, stores: Mapping[str, Store], proxy: Faults, changed: Callable[[], object]) -> None:
        self._stores = stores
        self._proxy = proxy
        self._changed = changed

    async def inject(self, target: str, toxic: Toxic) -> InForce:
        if isinstance(toxic, SOCKET):
            await self._proxy.inject(target, toxic)
        elif isinstance(toxic, STORE):
            await self._inject(self._store(target), toxic)
        else:
            raise BadToxic(f"{toxic.word} is for services; for a store there are {STORE_WORDS}")
        return await self.in_force()

    async def _inject(self, store: Store, toxic: Toxic) -> None:
        match toxic:
            case Failover():
                raise BadToxic(f"failover needs a standby, and {store.name} has none here")
            case _ if toxic.rate < 1:
                raise BadToxic(f"{toxic.word}: a process has no rate")
            case Kill():
                store.kill()
            case Stop() if not store.child.alive:
                raise BadToxic(f"{store.name} does not run: start it first")
            case Stop():
                store.freeze()
            case Start():
                await self._start(store)

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> InForce:
        """The way first: a store is asked whether it answers without it."""
        if toxic is None or isinstance(toxic, SOCKET):
            await self._proxy.clear(target, toxic)
        for store in [store for name, store in self._stores.items() if target in {None, name}]:
            if store.wrong and (toxic is None or toxic.word == store.wrong):
                await self._start(store)
        return await self.in_force()

    async def in_force(self) -> InForce:
        """Of a store's process first, then of the way to it."""
        found: dict[str, list[str]] = {name: [store.wrong] for name, store in self._stores.items() if store.wrong}
        for name, words in (await self._proxy.in_force()).items():
            found.setdefault(name, []).extend(words)
        return {name: found[name] for name in NAMES if name in found}

    def _store(self, name: str) -> Store:
        if name not in self._stores:
            raise BadToxic(f"{name} was given by its URL, and is not ours to break")
        return self._stores[name]

    async def _start(self, store: Store) -> None:
        store.begin()
        with within(READY_WITHIN):
            while not store.answers:
                if not store.child.alive:
                    raise LiveError(f"{store.name} did not start: {store.child.why()}")
                await trio.sleep(LOOK_AGAIN)
            self._changed()
            return
        raise LiveError(f"{store.name} did not answer within {READY_WITHIN:.0f} s: see {store.child.log}")


class HotelFaults:
    """Both, as one: `chaos.live.hatch.Faults`."""

    def __init__(self, estate: EstateFaults, stores: StoreFaults) -> None:
        self._estate = estate
        self._stores = stores

    async def inject(self, target: str, toxic: Toxic) -> InForce:
        await self._of(target).inject(target, toxic)
        return await self.in_force()

    async def clear(self, target: str | None, toxic: Toxic | None = None) -> InForce:
        for faults in (self._stores, self._estate) if target is None else (self._of(target),):
            await faults.clear(target, toxic)
        return await self.in_force()

    async def in_force(self) -> InForce:
        try:
            services = await self._estate.in_force()
        except LiveError:
            services = {"estate": [Kill.word]}  # what can be said without it still is
        return {**services, **await self._stores.in_force()}

    def _of(self, target: str) -> EstateFaults | StoreFaults:
        return self._stores if target in NAMES else self._estate
