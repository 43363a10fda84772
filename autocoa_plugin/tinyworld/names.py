"""The words names are made of, and new names drawn from them.

Every name is two or three words from small pools, so an unseen name is a new combination of well-known tokens: a
policy can copy it only by reading, never by remembering.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_CONSONANTS = _words("b d f g h k l m n p r s t v z br dr gr kr tr st pl")
_VOWELS = _words("a e i o u ae")
_ENDINGS = _words("l n r s m x th nd rk sk")

_PLACES = _words(
    "Hollow Falls Harbour Ridge Bay Cross Green Heath Lake Mill Moor Point Rock Spring Valley Wood Bridge Castle "
    "Field Gate"
)
_TRADES = _words("Foods Mills Motors Press Steel Glass Tools Toys Shipping Energy Textiles Robotics Optics Paper")
_MOODS = _words(
    "Silver Golden Broken Silent Hidden Burning Frozen Crimson Empty Endless Falling Gentle Hollowed Iron Jagged "
    "Lonely Mighty Narrow Open Pale Quiet Rising Secret Tender Velvet Wild Young Bitter Copper Distant"
)
_THINGS = _words(
    "Tower River Garden Mirror Winter Summer Voyage Promise Letter Island Shadow Engine Orchard Palace Storm Window "
    "Crown Desert Forest Lantern Harvest Journey Kingdom Machine Ocean Planet Road Station Temple Village"
)
_JOBS = _words(
    "painter chemist poet pilot lawyer singer farmer surgeon architect dancer judge baker botanist sculptor geologist "
    "historian"
)


@dataclass(frozen=True)
class WordPools:
    """The pools of one world. A name takes one word of each pool of its kind, in order."""

    by_kind: dict[str, tuple[tuple[str, ...], ...]]
    countries: tuple[str, ...]
    jobs: tuple[str, ...]

    def words(self) -> set[str]:
        """Every word a name, a country or a job can contain."""
        of_names = {word for pools in self.by_kind.values() for pool in pools for word in pool}
        return of_names | set(self.countries) | set(self.jobs)

    def new_name(self, kind: str, rng: random.Random, taken: Collection[str]) -> str:
        """Draw a name of this kind that is not in `taken`."""
        while True:
            name = " ".join(rng.choice(pool) for pool in self.by_kind[kind])
            if name not in taken:
                return name


def make_pools(seed: int) -> WordPools:
    """Invent the word pools of a world; no invented word occurs in two pools."""
    rng = random.Random(seed)
    used: set[str] = set()

    def invent(count: int, ending: bool, suffixes: tuple[str, ...]) -> tuple[str, ...]:
        words: list[str] = []
        while len(words) < count:
            last = rng.choice(_ENDINGS if ending else _CONSONANTS)
            word = rng.choice(_CONSONANTS) + rng.choice(_VOWELS) + last + rng.choice(suffixes)
            if word not in used:
                used.add(word)
                words.append(word.capitalize())
        return tuple(words)

    first_names = invent(50, False, ("a", "o", "i", "e"))
    last_names = invent(70, True, ("", "er", "son", "man"))
    cities = invent(50, True, ("mor", "wick", "ford", "stad"))
    companies = invent(50, False, ("ex", "ix", "on", "ora"))
    countries = invent(30, True, ("ia", "land", "stan"))
    by_kind = {
        "person": (first_names, last_names),
        "city": (cities, _PLACES),
        "company": (companies, _TRADES),
        "film": (("The",), _MOODS, _THINGS),
    }
    return WordPools(by_kind, countries, _JOBS)
