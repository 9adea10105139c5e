"""The key that the server of a hotel signs its audit trail with: made once in the data folder, or given.

`--fresh` leaves it where it is: a ledger that is given from elsewhere is not thrown away, and what was signed in it
should still be this house's.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bff.config import AUDIT_KEY, BadSetting, audit_key
from bff.outside import real
from bff.wire.dial import connect
from bff.wire.jose import to_base64url
from bff.writes.seal import private_key, words
from chaos.live.folder import Folder, write_private
from chaos.live.process import LiveError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE: Final = "audit.key"
SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Signing:
    """`setting` is what its server is told, `public` what checks its signatures."""

    setting: str
    public: str


def signing(folder: Folder, env: Mapping[str, str]) -> Signing:
    """The key given in `env`, or the folder's own, made if there is none yet. Raises `LiveError` for one that is none.

    The server is told where the folder's is, not what it is: an environment is easily shown.
    """
    given = env.get(AUDIT_KEY)
    setting = given or str(_made(folder.path / FILE))
    try:
        seed = audit_key({AUDIT_KEY: setting})
    except BadSetting as error:
        why = str(error) if given else f"{setting} holds no key: take it away, or give another one in {AUDIT_KEY}"
        raise LiveError(why) from None
    assert seed is not None, "it is set"
    return Signing(setting, words(private_key(seed).public_key()))


def setting_of(public: str, data: Path, env: Mapping[str, str]) -> str | None:
    """What a server is told so that it signs what `public` checks: the key in `env`, or the folder's own.

    None where it is neither: `bff up` was given one that is not known here.
    """
    for setting in (env.get(AUDIT_KEY, ""), str((data / FILE).absolute())):
        with suppress(BadSetting):
            seed = audit_key({AUDIT_KEY: setting})
            if seed is not None and words(private_key(seed).public_key()) == public:
                return setting
    return None


def _made(path: Path) -> Path:
    if not path.exists():
        write_private(path, to_base64url(real(connect).entropy(SEED_BYTES)).encode() + b"\n")
    return path
