"""Names for guests who had theirs removed: made from the seed, after the country the booking came from.

Every choice in the estate is `draw`n: a hash of the seed and of what the choice is about. So nothing depends on the
order in which things are made, nor on the version of a random number generator, and a
room more changes nobody's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, TypeVar

T = TypeVar("T")

REMEMBERED: Final = 4096  # choices: those of a morning, which every hotel of a process makes again

# Country codes as the bookings have them; their first names; their surnames. `*` is every other country.
TABLE = """\
PRT BRA AGO MOZ
  Maria, João, Ana, Pedro, Inês, Rui, Beatriz, Tiago, Leonor, Miguel, Sofia, Duarte, Marta, Nuno, Teresa, Gonçalo
  Silva, Santos, Ferreira, Pereira, Oliveira, Costa, Rodrigues, Martins, Sousa, Fernandes, Gonçalves, Gomes, Lopes
ESP MEX COL
  Lucía, Hugo, Carmen, Javier, Elena, Álvaro, Pilar, Sergio, Nuria, Diego, Isabel, Andrés
  García, Fernández, González, Rodríguez, López, Martínez, Sánchez, Pérez, Gómez, Ruiz, Moreno, Jiménez
GBR USA
  Olivia, George, Amelia, Harry, Emily, Jack, Grace, Thomas, Charlotte, Edward, Alice, William
  Smith, Jones, Taylor, Brown, Williams, Wilson, Johnson, Davies, Robinson, Wright, Thompson, Evans
IRL
  Aoife, Conor, Saoirse, Cian, Niamh, Seán, Ciara, Oisín, Róisín, Patrick
  Murphy, Kelly, O'Sullivan, Walsh, O'Brien, Byrne, Ryan, O'Connor, Doyle, McCarthy
FRA BEL
  Camille, Louis, Manon, Hugo, Chloé, Jules, Léa, Antoine, Claire, Mathieu
  Martin, Bernard, Dubois, Thomas, Robert, Richard, Petit, Durand, Leroy, Moreau
DEU AUT CHE
  Anna, Lukas, Lena, Felix, Katharina, Jonas, Greta, Moritz, Johanna, Matthias
  Müller, Schmidt, Schneider, Fischer, Weber, Meyer, Wagner, Becker, Schulz, Hoffmann
ITA
  Giulia, Lorenzo, Chiara, Matteo, Francesca, Alessandro, Elisa, Marco, Paola, Davide
  Rossi, Russo, Ferrari, Esposito, Bianchi, Romano, Colombo, Ricci, Marino, Greco
NLD
  Emma, Daan, Sanne, Bram, Lotte, Sem, Femke, Thijs, Anouk, Ruben
  de Jong, Jansen, de Vries, van den Berg, van Dijk, Bakker, Visser, Smit, Meijer, Mulder
*
  Alex, Nadia, Ivan, Mei, Omar, Ingrid, Yusuf, Hana, Tomas, Leila, Erik, Aisha
  Novak, Haddad, Ivanov, Chen, Nilsson, Kowalski, Popescu, Cohen, Diallo, Hansen, Sato, Mendes
"""


def _pools() -> dict[str, tuple[list[str], list[str]]]:
    lines = TABLE.splitlines()
    return {
        code: (first.strip().split(", "), last.strip().split(", "))
        for codes, first, last in zip(lines[::3], lines[1::3], lines[2::3], strict=True)
        for code in codes.split()
    }


POOLS = _pools()


@lru_cache(REMEMBERED, typed=True)
def draw(seed: int, *about: object) -> int:
    """A whole number below 2**64 that belongs to `seed` and to what the choice is about."""
    said = ":".join(map(str, (seed, *about))).encode()
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big")


def pick(options: Sequence[T], seed: int, *about: object) -> T:
    """One of `options`."""
    return options[draw(seed, *about) % len(options)]


def guest(country: str, seed: int, row: int) -> str:
    """The name of the guest of booking `row`."""
    first, last = POOLS.get(country, POOLS["*"])
    return f"{pick(first, seed, 'first', row)} {pick(last, seed, 'last', row)}"
