"""verl's prompts, from the one at which an earlier stage stopped.

    data:
      custom_cls: {path: pkg://autocoa_plugin.verl_adapters.prompt_dataset, name: PromptDataset}
      autocoa: ${autocoa}

Rows and filters are verl's; only the order of the training prompts is ours (`prompt_order`).
Written against verl 0.9.1, `verl/utils/dataset/rl_dataset.py`.
"""

from __future__ import annotations

from typing import Any

from verl.utils.dataset.rl_dataset import RLHFDataset

from .prompt_order import order_of


class PromptDataset(RLHFDataset):
    """`RLHFDataset` whose training prompts begin at `autocoa.first_prompt`; validation prompts are as in their file.

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


def _listed(files: Any) -> list[str]:
    return [files] if isinstance(files, str) else [str(file) for file in files or []]
