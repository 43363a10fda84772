"""Own data for the supervised stages: chat text in the release's format becomes records, rows and pairs.

    python examples/06_own_training_data.py

Writes nothing; every token is one character, so nothing but this package is needed. With a model's tokenizer the same
records train: `write_records(records, "coa.parquet")`, then recipes/sft_stage2_masked.yaml.
"""

from __future__ import annotations

from autocoa_plugin import AUTOCOA, Codec
from autocoa_plugin.data.chat_text import record_of_chat
from autocoa_plugin.data.play import pair_to_trajectories, to_trajectory
from autocoa_plugin.data.records import CoaRecord, Message, PairRecord, Piece
from autocoa_plugin.data.rows import TokenRow, continuation_row, observation_weight, token_row
from autocoa_plugin.errors import DataError
from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.trajectory import Role, Source

QUESTION = "Where was the author of The Jungle Book born?"
RESPONSE = (
    "<think>Kipling wrote it. <begin_search>Kipling birthplace</end_search>\n\n<search_result> Kipling was born in "
    "Bombay. </search_result>\n\nSo it is Bombay.</think> \\boxed{Bombay}"
)


def spelled(row: TokenRow, codec: Codec) -> str:
    """The tokens with a loss weight, the others as dots."""
    weighted = zip(row.input_ids, row.loss_weights, strict=True)
    return "".join(codec.decode([token]) if weight else "." for token, weight in weighted).replace("\n", " ")


def pair_record() -> PairRecord:
    """The same step twice: searching is right, recalling is wrong."""
    return PairRecord(
        id="pair",
        protocol="autocoa",
        messages=(Message("user", QUESTION),),
        prefix=(Piece(Role.THOUGHT, Source.POLICY, "<think>Kipling wrote it. "),),
        chosen=(Piece(Role.ACTION, Source.POLICY, "<begin_search>Kipling birthplace</end_search>"),),
        rejected=(Piece(Role.THOUGHT, Source.POLICY, "I recall he was born in Delhi."),),
    )


def main() -> None:
    codec = Codec(CharTokenizer(), AUTOCOA)
    prompt_ids = codec.encode("Q:")
    chat = {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": RESPONSE}]}
    record = record_of_chat(chat, AUTOCOA, id="row")
    assert isinstance(record, CoaRecord)
    for piece in record.segments:
        print(f"{piece.role:12} {piece.text!r}")
    trajectory = to_trajectory(record, codec, prompt_ids)  # played through the rollout loop: a rollout's ids and mask
    for loss in ("masked", "trained"):
        row = token_row(trajectory, observation_weight(loss), id=record.id, kind=record.kind)
        print(f"\n{loss}: {row.trained_tokens} of {len(row.input_ids)} tokens carry loss\n{spelled(row, codec)}")

    pair = pair_to_trajectories(pair_record(), codec, prompt_ids)
    print(f"\npair, {pair.n_shared} shared response tokens, the acting side is {pair_record().acts}")
    for side in (pair.chosen, pair.rejected):
        print(spelled(continuation_row(side, pair.n_shared, id="pair"), codec))
    try:
        unclosed = {"role": "assistant", "content": RESPONSE.partition("</search_result>")[0]}
        record_of_chat({"messages": [chat["messages"][0], unclosed]}, AUTOCOA, id="row 2")
    except DataError as error:
        print(f"\na broken row: {error}")


if __name__ == "__main__":
    main()
