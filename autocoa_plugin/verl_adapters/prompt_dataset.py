"""Prompt data set for RL in verl: begins where an earlier stage stopped, and marks rows as training or validation.

    data:
      custom_cls: {path: pkg://autocoa_plugin.verl_adapters.prompt_dataset, name: PromptDataset}
      autocoa: ${autocoa}

Rows and filters are verl's; ours are the order of the training prompts (`order_of`) and `extra_info.split`, by which
rollouts know training from validation: verl does not pass that on, and routing and budget depend on it.

    7 prompts, 2 a step      one run, or stage 1              a b | c d | e f | a b | c d | e f | ...
                             stage 2 after two steps                     first_prompt=4: e f | a b | ...

So two launches see what one run of both sees, prompt by prompt. What is left over at the end of the file (g) is never
trained on, with or without us: verl's loader drops what fills no step, and repeats the rest.
Written against verl 0.9.1, `verl/utils/dataset/rl_dataset.py`, `_init_dataloader` of
`verl/trainer/ppo/v1/trainer_base.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import OmegaConf
from verl.utils.dataset.rl_dataset import RLHFDataset

from ..config import from_mapping
from ..errors import ConfigError, DataError
from ..rewarder import Rewarder
from ..rewards import RewardConfig, golds_of_row
from .reward import custom_path


class PromptDataset(RLHFDataset):
    """`RLHFDataset` whose training prompts begin at `autocoa.first_prompt`; validation keeps its file's order.

    `extra_info.split` is "train" on training prompts; on others what the file says, "val" where it says "train" or
    nothing.
    Raises `DataError` when the training prompts do not fill a step and for gold answers that cannot be read,
    `ConfigError` when a drawn order is to go on.
    """

    def __init__(
        self, data_files: Any, tokenizer: Any, config: Any, processor: Any = None, max_samples: int = -1
    ) -> None:
        # verl passes `is_train` to the function that makes the data sets, and to none of them
        self._is_training = _listed(data_files) == _listed(config.get("train_files"))
        super().__init__(
            data_files=data_files, tokenizer=tokenizer, config=config, processor=processor, max_samples=max_samples
        )

    def _read_files_and_tokenize(self) -> None:
        super()._read_files_and_tokenize()  # leaves out overlong prompts, which take no place in a step either
        if "reward_model" in self.dataframe.column_names and needs_golds(self.config):
            files = "data.train_files" if self._is_training else "data.val_files"
            check_golds(self.dataframe["reward_model"], files)
        if self._is_training:
            order = order_of(len(self.dataframe), self.config)
            if order != range(len(self.dataframe)):
                self.dataframe = self.dataframe.select(order)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """Return verl's row with its split."""
        row = super().__getitem__(item)
        extra = dict(row.get("extra_info") or {})
        said = str(extra.get("split") or "train")
        extra["split"] = "train" if self._is_training else "val" if said == "train" else said
        return {**row, "extra_info": extra}


def needs_golds(data: Any) -> bool:
    """True when what `autocoa.reward` rewards needs gold answers; `data` is verl's data key, with ours in it.

    Without that, or where verl's own reward function reads it, the column of gold answers may hold anything. Raises
    `ConfigError` for a reward that cannot be built.
    """
    reward = (data.get("autocoa") or {}).get("reward") or {}
    plain: Any = OmegaConf.to_container(reward, resolve=True) if OmegaConf.is_config(reward) else reward
    has_custom = OmegaConf.is_config(data) and custom_path(data._get_root()) is not None
    return not has_custom and Rewarder(from_mapping(RewardConfig, plain, where="autocoa.reward")).needs_golds


def check_golds(reward_models: Iterable[Any], place: str) -> None:
    """Refuse, with `DataError` naming the row from 1, gold answers that cannot be read; rows may have none."""
    for number, reward_model in enumerate(reward_models, 1):
        golds_of_row(reward_model, f"{place}: row {number}: reward_model")


def _listed(files: Any) -> list[str]:
    return [files] if isinstance(files, str) else [str(file) for file in files or []]


# ------------------------------------------------------------------------ the order of prompts: `autocoa.first_prompt`


DATA_SET = ("pkg://autocoa_plugin.verl_adapters.prompt_dataset", "PromptDataset")
"""`data.custom_cls.path` and `data.custom_cls.name` of the data set that follows `order_of`."""


def order_of(prompts: int, config: Any) -> Sequence[int]:
    """Return the order of so many training prompts; `config` is verl's data key, with ours in it as `autocoa`.

    The file without its left-over end is turned by `first_prompt`; the end stays where it is.
    Raises `DataError` when the prompts do not fill a step, and what `check_order` raises.
    """
    check_order(config)
    step = config.get("gen_batch_size") or config.train_batch_size  # what verl's loader takes at once
    used = prompts - prompts % step
    if used == 0:
        raise DataError(f"data.train_files has {prompts} prompts, fewer than data.train_batch_size={step}")
    first = first_prompt(config) % used
    return range(prompts) if first == 0 else [*range(first, used), *range(first), *range(used, prompts)]


def check_order(config: Any) -> None:
    """Refuse, with `ConfigError`, to go on in an order that is drawn anew, or with a data set that starts over."""
    first = first_prompt(config)
    if first and config.get("shuffle"):
        raise ConfigError(f"autocoa.first_prompt={first} needs data.shuffle=false: a drawn order cannot be continued")
    if first and not (config.get("custom_cls") or {}).get("path"):
        path, name = DATA_SET
        raise ConfigError(
            f"autocoa.first_prompt={first} is not looked at by verl's own data set: give "
            f"data.custom_cls.path={path} data.custom_cls.name={name}"
        )


def first_prompt(config: Any) -> int:
    """Number of prompts of the training file that are skipped, by verl's data key; 0 when it does not say."""
    return int((config.get("autocoa") or {}).get("first_prompt") or 0)
