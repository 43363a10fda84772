"""Facts that a text claims, found without a language model: its names and numbers.

    "Rudyard Kipling was born in Bombay on 30 December 1865."  ->  rudyard kipling, bombay, 30 december 1865

An entity is a maximal run of capitalised words and numbers with nothing but white space between them. Function words
that are capitalised because they begin a sentence do not begin an entity ("The Times" is "times"). What stands in the
query is no fact: the model has read it. Scripts without capital letters have no entities here, so their measures are
null. A right fact that the real observation leaves out counts as hallucinated: it is not supported by what was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# letters and digits, joined by the signs that stand inside words and numbers: O'Neill, Jean-Paul, 1,102, 3.5
_WORD = re.compile(r"[^\W_]+(?:['\u2019.,-][^\W_]+)*")
_POSSESSIVE = re.compile(r"['\u2019]s$")
_FUNCTION_WORDS = (
    "a an the this that these those it its he she they his her their we our i you your there here who what when where "
    "which why how in on at of to from by with without for as after before during since until while and or but if so "
    "not no is are was were be been has have had also one both all some many most"
)
_SKIPPED = frozenset(_FUNCTION_WORDS.split())


def entities(text: str) -> set[str]:
    """Find the entities of a text, in lower case, words separated by one space."""
    return {" ".join(run) for run in _runs(text)}


def facts(text: str, query: str) -> set[str]:
    """Find the entities of a text that do not stand in the query."""
    return {each for each in entities(text) if not occurs(each, query)}


def occurs(entity: str, text: str) -> bool:
    """True when the words of an entity stand one after the other in a text, whatever their case."""
    words = " ".join(_plain(each) for each in _WORD.findall(text))
    return f" {entity} " in f" {words} "


def unsupported(claimed: set[str], real: str) -> set[str]:
    """Find the claimed facts that do not occur in the real observation."""
    return {each for each in claimed if not occurs(each, real)}


def _runs(text: str) -> Iterator[list[str]]:
    run: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        if text[end : match.start()].strip():  # punctuation in between ends a run
            yield from _trimmed(run)
            run = []
        end = match.end()
        if match[0][0].isupper() or match[0][0].isdigit():
            run.append(_plain(match[0]))
        else:
            yield from _trimmed(run)
            run = []
    yield from _trimmed(run)


def _plain(word: str) -> str:
    """Lower case, without the possessive's ending: "Kipling's" claims what "Kipling" does."""
    return _POSSESSIVE.sub("", word.casefold())


def _trimmed(run: list[str]) -> Iterator[list[str]]:
    start = next((index for index, word in enumerate(run) if word not in _SKIPPED), len(run))
    if run[start:]:
        yield run[start:]
