"""One answered question as a line of `samples.jsonl`: a row of a trajectory dump and what evaluation adds.

    step split uid answer reward reward_parts format_errors info trajectory     as in every dump (`dump.dump_row`)
    sample seed seconds judge error                                             ours

`uid` is the question's id and `split` is "eval", so whatever reads dumps reads results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..answers import METRICS
from ..dump import dump_row
from ..errors import DataError, TrajectoryError
from ..questions.question import Question
from ..rewards import Reward
from ..trajectory import Trajectory

SPLIT = "eval"


@dataclass(frozen=True)
class Sample:
    """The `sample`-th answer (0 is the first) to a question; `seconds` is the rollout's wall clock.

    `judge` is what an LLM judge said ({"correct": bool, "votes": [...], ...}); None where none was asked.
    `error` is why the engine would not answer, which leaves an empty trajectory; None: it answered.
    """

    question: Question
    sample: int
    trajectory: Trajectory
    reward: Reward
    seconds: float
    seed: int | None = None
    judge: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Question id and number of the sample: each occurs once in a results folder."""
        return self.question.id, self.sample

    @property
    def metrics(self) -> dict[str, float]:
        """Every metric of `answers.METRICS` by name, 0 to 1."""
        return {name: self.reward.parts[name] for name in METRICS}

    def to_row(self) -> dict[str, Any]:
        """A JSON-ready mapping."""
        question = self.question
        info = {
            "question": question.question,
            "golds": list(question.golds),
            "data_source": question.group,
            "needs_search": _listed(question.needs_search),
            "extra_info": dict(question.meta),
        }
        row = dump_row(self.trajectory, self.reward, step=0, split=SPLIT, uid=question.id, info=info)
        ours = {"sample": self.sample, "seed": self.seed, "seconds": self.seconds, "judge": self.judge}
        return {**row, **ours, "error": self.error}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Sample:
        """Rebuild a sample; raises `DataError` for a row that evaluation did not write."""
        try:
            info, needs = row["info"], row["info"].get("needs_search")
            question = Question(
                id=row["uid"],
                question=info["question"],
                golds=tuple(info["golds"]),
                group=info["data_source"],
                needs_search=tuple(needs) if isinstance(needs, list) else needs,
                meta=info.get("extra_info") or {},
            )
            reward = Reward(row["reward"], row["answer"], row["reward_parts"], tuple(row["format_errors"]))
            missing = [name for name in METRICS if name not in reward.parts]
            if missing:
                raise DataError(f"reward_parts lacks {missing}")
            return cls(
                question=question,
                sample=row["sample"],
                trajectory=Trajectory.from_dict(row["trajectory"]),
                reward=reward,
                seconds=row["seconds"],
                seed=row.get("seed"),
                judge=row.get("judge"),
                error=row.get("error"),
            )
        except (KeyError, TypeError, AttributeError, TrajectoryError) as error:
            raise DataError(f"not a sample of an evaluation: {type(error).__name__}: {error}") from error


def _listed(needs: bool | tuple[bool, ...] | None) -> bool | list[bool] | None:
    return list(needs) if isinstance(needs, tuple) else needs
