"""The relations of the world and how they are asked for and written down.

Text has spaces before its punctuation, because the tokenizer splits on white space only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KINDS = ("person", "city", "company", "film")


@dataclass(frozen=True)
class Relation:
    """A relation from an entity of kind `subject` to one of kind `object`."""

    subject: str
    object: str


@dataclass(frozen=True)
class Chain:
    """Relations followed one after the other, and questions for the last object (`{s}` = the first subject)."""

    relations: tuple[str, ...]
    templates: tuple[str, ...]


RELATIONS: dict[str, Relation] = {
    "birthplace": Relation("person", "city"),
    "employer": Relation("person", "company"),
    "country": Relation("city", "country"),
    "mayor": Relation("city", "person"),
    "headquarters": Relation("company", "city"),
    "founder": Relation("company", "person"),
    "director": Relation("film", "person"),
    "star": Relation("film", "person"),
}

CHAINS: dict[int, tuple[Chain, ...]] = {
    1: (
        Chain(("birthplace",), ("Where was {s} born ?", "What is the birthplace of {s} ?")),
        Chain(("employer",), ("Which company does {s} work for ?", "Who is the employer of {s} ?")),
        Chain(("country",), ("In which country is {s} ?", "What country is {s} in ?")),
        Chain(("mayor",), ("Who is the mayor of {s} ?",)),
        Chain(("headquarters",), ("Where is {s} based ?", "In which city is {s} based ?")),
        Chain(("founder",), ("Who founded {s} ?", "Who is the founder of {s} ?")),
        Chain(("director",), ("Who directed {s} ?", "Who is the director of {s} ?")),
        Chain(("star",), ("Who is the star of {s} ?", "Who stars in {s} ?")),
    ),
    2: (
        Chain(
            ("birthplace", "country"),
            ("In which country is the city where {s} was born ?", "In which country was {s} born ?"),
        ),
        Chain(("birthplace", "mayor"), ("Who is the mayor of the city where {s} was born ?",)),
        Chain(("employer", "headquarters"), ("Where is the company that {s} works for based ?",)),
        Chain(("employer", "founder"), ("Who founded the company that {s} works for ?",)),
        Chain(("headquarters", "country"), ("In which country is {s} based ?",)),
        Chain(("founder", "birthplace"), ("Where was the founder of {s} born ?",)),
        Chain(("director", "birthplace"), ("Where was the director of {s} born ?",)),
        Chain(("star", "birthplace"), ("Where was the star of {s} born ?",)),
        Chain(("director", "employer"), ("Which company does the director of {s} work for ?",)),
        Chain(("star", "employer"), ("Which company does the star of {s} work for ?",)),
    ),
    3: (
        Chain(("director", "birthplace", "country"), ("In which country was the director of {s} born ?",)),
        Chain(("star", "birthplace", "country"), ("In which country was the star of {s} born ?",)),
        Chain(("founder", "birthplace", "country"), ("In which country was the founder of {s} born ?",)),
    ),
}

QUESTIONS: dict[str, tuple[str, ...]] = {chain.relations[0]: chain.templates for chain in CHAINS[1]}

DOCUMENTS: dict[str, tuple[str, ...]] = {
    "person": (
        "{s} is a {job} born in {birthplace} and works for {employer} .",
        "{s} works for {employer} as a {job} . {s} was born in {birthplace} .",
    ),
    "city": (
        "{s} is a city in {country} . Its mayor is {mayor} .",
        "The mayor of {s} is {mayor} . The city is in {country} .",
    ),
    "company": (
        "{s} is a company based in {headquarters} . It was founded by {founder} .",
        "{s} was founded by {founder} . The company is based in {headquarters} .",
    ),
    "film": (
        "{s} is a film directed by {director} and starring {star} .",
        "{s} is a film starring {star} . It was directed by {director} .",
    ),
}


def relations_of(kind: str) -> tuple[str, ...]:
    """The relations whose subject is of this kind, in table order."""
    return tuple(name for name, relation in RELATIONS.items() if relation.subject == kind)


def write_document(name: str, kind: str, facts: Mapping[str, str], variant: int) -> str:
    """Write an entity's article in one of its kind's wordings."""
    wordings = DOCUMENTS[kind]
    return wordings[variant % len(wordings)].format(s=name, **facts)
