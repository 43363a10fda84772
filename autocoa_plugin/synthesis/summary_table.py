"""What an assembly came to, for the terminal: two small tables, of chains and of rows.

Shares are in percent, "-" stands where nothing was counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation.table import add_row, named_table
from .assemble import Assembled
from .markup import number, share
from .provenance import money
from .tally import KindTally, SetTally

if TYPE_CHECKING:
    from rich.table import Table


def chains_table(assembled: Assembled) -> Table:
    """One row per kind of chain: how many were asked for, right and kept, and what they cost."""
    run = assembled.run
    title = f"chains: {number(run.begun)} of {number(run.questions)} questions begun"
    columns = ("questions", "chains", "right %", "kept %", "sampled\ntokens", "cost")
    table = named_table(title, columns, first="asked for")
    for name, kind in run.kinds.items():
        add_row(table, name, *_chains(kind))
    return table


def rows_table(assembled: Assembled) -> Table:
    """One row per data set: rows, what was left out, and how long and how active they are."""
    table = named_table("data sets", ("rows", "left\nout", "tokens\nmean", "actions\nmean", "files"), first="set")
    for name, rows in assembled.sets.items():
        add_row(table, _name(name, rows), *_rows(rows), str(len(assembled.files[name])))
    return table


def why_left_out(assembled: Assembled, most: int = 3) -> list[str]:
    """One line per kind of which right chains were left out, with the gates that left out most."""
    lines = []
    for name, kind in assembled.run.kinds.items():
        found = sorted(((each.right, gate) for gate, each in kind.gates.items() if each.right), reverse=True)
        if found:
            gates = ", ".join(f"{gate} {number(count)}" for count, gate in found[:most])
            lines.append(f"{name}: {number(kind.right - kind.kept)} right chains left out by gates: {gates}")
    return lines


def _chains(kind: KindTally) -> tuple[str, ...]:
    counts = (number(kind.asked), number(kind.attempts))
    shares = (share(kind.right, kind.attempts), share(kind.kept, kind.attempts))
    return (*counts, *(each.removesuffix(" %") for each in shares), number(kind.cost.sampled_tokens), _cost(kind))


def _cost(kind: KindTally) -> str:
    return money(kind.cost.money) if kind.cost.money else "-"


def _rows(rows: SetTally) -> tuple[str, ...]:
    actions = sum(count * n for count, n in rows.actions.items())
    # parts of one row: whatever is trained on stands in one of the others
    tokens = sum(each.mean for name, each in rows.lengths.items() if name != "trained")
    means = (number(tokens), f"{actions / rows.rows:.2f}") if rows.rows else ("-", "-")
    return number(rows.rows), number(sum(rows.left_out.values())), *means


def _name(name: str, rows: SetTally) -> str:
    shares = ", ".join(f"{share(n, rows.rows)} {side}" for side, n in rows.directions.items())
    return f"{name} ({shares})" if shares else name
