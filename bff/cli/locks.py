"""`bff locks`: whether every lock action is in the audit trail, and entering those done by hand (ADR-0004)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
import trio

from bff.cli.instance import NoInstance
from bff.cli.ledger import LEDGER, NO_LEDGER, answer, opened, place
from bff.cli.main import Trouble, run
from bff.jobs.watch_locks import GRACE
from bff.model import TenantId
from bff.outside import real, rfc3339
from bff.stores.switches import BY_NAME
from bff.wire.dial import connect
from bff.writes.actions import ISSUE_KEY
from bff.writes.audit import Entry, written
from bff.writes.bodies import Id, Moment, Words

if TYPE_CHECKING:
    from pathlib import Path

    from bff.cli.ledger import Place
    from bff.stores.keys import Unsettled
    from bff.stores.switchboard import Switch
    from bff.stores.trail import Completeness, Trail, TrailRow

LOCKS: Final = "locks"  # the switch
CLOCKS: Final = 60.0  # seconds by which two clocks may differ
MOST: Final = 1000  # unsettled keys, or rows, that are looked at
JSON: Final = click.option("--json", "as_json", is_flag=True, help="As JSON.")


class Wire(click.ParamType[Any]):
    """A word that is judged as one of a request would be; `shape` says what it should be."""

    name = "text"

    def __init__(self, kind: Any, shape: str) -> None:
        self._kind = kind
        self._shape = shape

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word, or one line and exit 2."""
        del ctx
        try:
            value.encode()  # what came as bytes that are no UTF-8 is no text
            return self._read(value)
        except (ValueError, OverflowError):
            raise Trouble(f"{param.opts[0] if param else 'it'} should be {self._shape}") from None

    def _read(self, value: str) -> Any:
        return msgspec.convert(value, self._kind)


class When(Wire):
    """A moment, in POSIX seconds."""

    name = "time"

    def __init__(self) -> None:
        super().__init__(Moment, "a time such as 2015-08-16T12:00:00Z")

    def _read(self, value: str) -> float:
        seconds: float = super()._read(value).timestamp()
        rfc3339(seconds)
        return seconds


ID: Final = Wire(Id, "1 to 128 characters of ASCII, without spaces")
WORDS: Final = Wire(Words, "one line of 1 to 500 characters")
WHEN: Final = When()


@click.group("locks")
def locks() -> None:
    """The lock proxy: what its audit trail lacks, and keys that were issued by hand."""


@locks.command("status")
@JSON
@LEDGER
def status(as_json: bool, data: Path | None) -> None:
    """Show the switch of the lock proxy, and whether every lock action is in the audit trail."""
    where = run(partial(place, data), *NO_LEDGER)
    state: State = run(partial(trio.run, _state, where), *NO_LEDGER)
    switch, audit = state.switch, state.audit
    since = rfc3339(switch.since) if switch.by else None
    if as_json:
        told = {"value": switch.value, "since": since, "by": switch.by, "why": switch.why}
        counted = {"expected": audit.expected, "present": audit.present, "gaps": audit.gaps}
        click.echo(msgspec.json.encode({"switch": told, **counted, "uncertain": state.uncertain}).decode())
        return
    click.echo(f"the lock proxy is {switch.value}" + (f" since {since}, by {switch.by}: {switch.why}" if since else ""))
    click.echo(f"the audit trail has {audit.present} of {audit.expected} rows")
    for gap in audit.gaps:
        click.echo(f"  {gap}")
    click.echo(f"lock actions of which nobody knows yet whether they were done: {state.uncertain}")


@locks.command("record")
@click.option("--tenant", required=True, type=ID, help="Whose lock it is.")
@click.option("--lock", required=True, type=ID, help="The lock that it opens.")
@click.option("--reservation", required=True, type=ID, help="For whom it is.")
@click.option("--valid-until", required=True, type=WHEN, help="When it ends (RFC 3339).")
@click.option("--issued-at", type=WHEN, help="When it was issued; now, where not said.")
@click.option("--by", required=True, type=WORDS, help="Who issued it.")
@click.option("--why", required=True, type=WORDS, help="Why by hand.")
@JSON
@LEDGER
def record(
    tenant: TenantId,
    lock: str,
    reservation: str,
    valid_until: float,
    issued_at: float | None,
    by: str,
    why: str,
    as_json: bool,
    data: Path | None,
) -> None:
    """Enter a key that was issued at the encoder, while the lock proxy could not (ADR-0004).

    It becomes a row of the tenant's audit trail. Nothing is sent to a lock.
    """
    now = real(connect).now()
    issued = now if issued_at is None else issued_at
    if issued > now + CLOCKS:
        raise Trouble("--issued-at should not be in the future: enter a key when it has been issued")
    if valid_until <= issued:
        raise Trouble("--valid-until should be later than the key was issued")
    entry = written(
        Entry(
            kind="manual",
            at=rfc3339(now),
            action=ISSUE_KEY.name,
            operator="",  # who types here has signed in nowhere: `by` is what he says
            key="",
            resource=ISSUE_KEY.resource.format_map({"lockId": lock}),
            detail=f"issued {rfc3339(issued)}, valid until {rfc3339(valid_until)}",
            reason=why,
            reservation=reservation,
            by=by,
        )
    )
    where = run(partial(place, data), *NO_LEDGER)
    row: TrailRow = run(partial(trio.run, _entered, where, tenant, entry), *NO_LEDGER)
    if as_json:
        told = {"tenant": tenant, "row": row.seq, "hash": row.hash.hex(), "entry": msgspec.Raw(row.entry.encode())}
        click.echo(msgspec.json.encode(told).decode())
    else:
        click.echo(f"row {row.seq} of {tenant}: {row.hash.hex()}")
    if row.seq == 1:
        click.echo(f"bff: {tenant} had no trail before: look whether that is how the tenant is spelt", err=True)


@dataclass(frozen=True, slots=True)
class State:
    """How the lock proxy is. `uncertain` lock actions have no outcome yet; more than `MOST` are not counted."""

    switch: Switch
    audit: Completeness
    uncertain: int


async def _state(where: Place) -> State:
    async with opened(where) as ledger:
        turned = {switch.name: switch for switch in await answer(ledger.switches)}
        audit = await answer(partial(ledger.lock_completeness, grace=GRACE))
        unsettled = await answer(partial(ledger.unsettled, older_than=0.0, limit=MOST))
    return State(turned.get(LOCKS, BY_NAME[LOCKS].untouched), audit, sum(map(_of_a_lock, unsettled)))


def _of_a_lock(row: Unsettled) -> bool:
    return row.aggregates[0].startswith("lock:")


async def _entered(where: Place, tenant: TenantId, entry: str) -> TrailRow:
    """The row, once it is there."""
    async with opened(where) as ledger:
        after = next((end.seq for end in await answer(ledger.ends_of_trails) if end.tenant == tenant), 0)
        try:
            await answer(partial(ledger.add_to_trail, tenant, (entry,)))
            return await _found(ledger, tenant, after, entry)
        except NoInstance as error:
            again = "it may be written all the same: enter it again, since twice is two rows and never is a gap"
            raise NoInstance(f"{error}; {again}") from None


async def _found(ledger: Trail, tenant: TenantId, after: int, entry: str) -> TrailRow:
    while rows := await answer(partial(ledger.trail, tenant, after=after, limit=MOST)):
        for row in rows:
            if row.entry == entry:
                return row
        after = rows[-1].seq
    raise NoInstance("the row is not there")
