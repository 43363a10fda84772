"""verl's prompts, from the one at which an earlier stage stopped, each saying whether it is trained on.

    data:
      custom_cls: {path: pkg://autocoa_plugin.verl_adapters.prompt_dataset, name: PromptDataset}
      autocoa: ${autocoa}

Rows and filters are verl's; ours are the order of the training prompts (`prompt_order`) and `extra_info.split`, by
which rollouts know training from validation: verl does not tell them, and routing and budget depend on it.
Written against verl 0.9.1, `verl/utils/dataset/rl_dataset.py`.
"""

from __future__ import annotations

from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset

from .prompt_order import order_of


class PromptDataset(RLHFDataset):
    """`RLHFDataset` whose training prompts begin at `autocoa.first_prompt`; validation keeps its file's order.

    `extra_info.split` is "train" on training prompts; on others what the file says, "val" where it says "train" or
    nothing.
    Raises `DataError` when the training prompts do not fill a step, `ConfigError` when a drawn order is to go on.
    """

    def __init__(
        self, data_files: Any, tokenizer: Any, config: Any, processor: Any = None, max_samples: int = -1
    ) -> None:
        # verl tells `is_train` to the function that makes the data sets, and to none of them
        self._is_training = _listed(data_files) == _listed(config.get("train_files"))
        super().__init__(
            data_files=data_files, tokenizer=tokenizer, config=config, processor=processor, max_samples=max_samples
        )

    def _read_files_and_tokenize(self) -> None:
        super()._read_files_and_tokenize()  # leaves out overlong prompts, which take no place in a step either
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


def _listed(files: Any) -> list[str]:
    return [files] if isinstance(files, str) else [str(file) for file in files or []]
