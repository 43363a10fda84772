"""Arbitrary valid records for hypothesis: every kind, with and without ids, hostile text."""

from __future__ import annotations

from hypothesis import strategies as st

from autocoa_plugin.data.records import CoaRecord, CotRecord, Message, PairRecord, Piece, TextRecord
from autocoa_plugin.trajectory import Role, Source

POLICY = Source.POLICY
TEXTS = st.one_of(
    st.text(min_size=1, max_size=8),
    st.sampled_from(["<think>\n", "</end_search>", '"\\boxed{a}"', "\u2028line", "\x00", "\r\n", "🙂 é", "null", "{}"]),
)
IDS = st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple)


@st.composite
def heads(draw, *, with_ids):
    messages = draw(st.lists(st.builds(Message, st.sampled_from(["user", "system"]), TEXTS), max_size=2).map(tuple))
    return {
        "id": draw(TEXTS),
        "protocol": "autocoa",
        "messages": messages or (Message("user", "q"),),
        "prompt_ids": draw(IDS) if with_ids else None,
        "tokenizer": draw(st.sampled_from([None, "0123456789abcdef"])),
        "golds": draw(st.lists(TEXTS, max_size=2).map(tuple)),
        "meta": draw(st.dictionaries(TEXTS, st.text(max_size=3), max_size=2)),
    }


def pieces(role, source, with_ids):
    return st.builds(Piece, st.just(role), st.just(source), TEXTS, IDS if with_ids else st.none())


@st.composite
def responses(draw, *, with_ids, acts):
    made = [draw(pieces(Role.THOUGHT, POLICY, with_ids))]
    for _ in range(draw(st.integers(1, 2)) if acts else 0):
        made.append(draw(pieces(Role.ACTION, POLICY, with_ids)))
        made.append(draw(pieces(Role.OBSERVATION, draw(st.sampled_from(list(Source))), with_ids)))
    made.append(draw(pieces(Role.ANSWER, POLICY, with_ids)))
    return tuple(made)


@st.composite
def pairs(draw, *, with_ids):
    chosen, rejected = (draw(responses(with_ids=with_ids, acts=acts)) for acts in (True, False))
    prefix = (draw(pieces(Role.THOUGHT, POLICY, with_ids)),)
    return PairRecord(**draw(heads(with_ids=with_ids)), prefix=prefix, chosen=chosen, rejected=rejected)


@st.composite
def records(draw):
    """One record of any kind."""
    kind, with_ids = draw(st.sampled_from(["cot", "coa", "pair", "text"])), draw(st.booleans())
    if kind == "text":
        return TextRecord(
            id=draw(TEXTS), text=draw(TEXTS), ids=draw(st.none() | IDS), tokenizer=draw(st.none() | TEXTS)
        )
    if kind == "pair":
        return draw(pairs(with_ids=with_ids))
    segments = draw(responses(with_ids=with_ids, acts=kind == "coa"))
    return (CoaRecord if kind == "coa" else CotRecord)(**draw(heads(with_ids=with_ids)), segments=segments)


RECORD_LISTS = st.lists(records(), max_size=5, unique_by=lambda record: record.id)
