"""What a card says in sentences: what a set is, and what it must not be taken for."""

from __future__ import annotations

from .job import SynthesisJob
from .tally import SetTally

_ENDINGS = {
    "stopped": "The run was interrupted: questions are missing that the same command would still ask.",
    "ceiling": "The run ended at its cost ceiling: questions are missing that were not asked, or not to the end.",
}
_SPANS = {
    "trajectory": "both sides go on to their answers",
    "step": "each side ends after the step at which they part, so neither shows its answer",
}


def told(name: str, job: SynthesisJob) -> str:
    """One sentence: what a row is."""
    right = f"the final answer is right ({job.acceptance})"
    return {
        "cot": f"Chains of thought: the teacher answered without acting, and {right}.",
        "coa": f"Chains of action: the teacher thought, asked a tool, read its answer and went on, and {right}.",
        "pairs": "Contrastive pairs: two continuations of one beginning, the one that acts and the one that thinks on; "
        f"the chosen one comes out right ({job.acceptance}), the rejected one wrong; {_SPANS[job.output.span]}.",
    }[name]


def known_limits(name: str, job: SynthesisJob, rows: SetTally, ended: str) -> list[str]:
    """What a reader could be wrong about, a sentence each."""
    return [
        *filter(None, [_ENDINGS.get(ended)]),
        f"Right means {job.acceptance} against the gold answers: a wrong gold answer keeps wrong chains, and a right "
        "answer in other words is left out.",
        f"Questions that the teacher did not get right in {job.rules.attempts} attempts have no row, so the rows are "
        "easier than the questions.",
        *_of_set(name, job, rows),
        *_of_text(rows),
        "The questions were taken as they are: whether they stand in an evaluation set too was not checked here "
        "(`autocoa prepare` leaves those out).",
        "A seed gives the same chain again only with the same model, engine and hardware.",
    ]


def _of_set(name: str, job: SynthesisJob, rows: SetTally) -> list[str]:
    quoted = (
        "Observations quote the searched documents, which have a licence of their own and may be wrong or name people."
    )
    if name == "cot":
        return ["Nothing checks that a thought is true: only that the answer stands in it before it is given."]
    if name == "coa":
        return [quoted]
    return [quoted, _SIDES[job.output.span], *_of_balance(job, rows)]


_SIDES = {
    "trajectory": "That a rejected side ends wrong does not prove its first step wrong: it may have failed later.",
    "step": "That a rejected chain ended wrong does not prove the step that is shown wrong: it may have failed later.",
}


def _of_balance(job: SynthesisJob, rows: SetTally) -> list[str]:
    asked = job.output.act_chosen_share
    if len(rows.directions) != 1:
        return []
    done = "act" if "act" in rows.directions else "think on"
    balance = "" if asked is None else f" The share of {asked:g} that was asked for could not be had."
    return [f"In all pairs the side that was chosen is the one to {done}: alone, they teach to {done} always.{balance}"]


def _of_text(rows: SetTally) -> list[str]:
    if rows.with_ids:
        return []
    return [
        "Rows are text without ids, because the student has another tokenizer than the teacher: training encodes it."
    ]
