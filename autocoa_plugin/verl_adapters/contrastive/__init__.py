"""Contrastive stage (SFT-1, when to act): a contrastive loss over pairs on verl's own SFT trainer.

    python -m torch.distributed.run ... -m autocoa_plugin.verl_adapters.contrastive --config-name ... key=value

    __main__ ─> trainer ─┬─ worker ─┬─ loss           pairs and replay rows as one batch of sequences; the loss of one
                         │          │                 micro-batch, its measures; stops at a loss that is not finite
                         │          └─ displacement   the alarm when both sides lose probability, and its history
                         └─ reference                 likelihoods under the starting weights

A data set (`data.custom_cls`) for this trainer has `names: list[str]` and items `{"rows": [chosen, rejected, ...]}`,
with `autocoa.contrastive.replay_per_pair` replay rows after the two sides. A row has `input_ids` and `position_ids`
(Long[L]), `loss_mask` (Float[L]: how much each token counts; on the two sides 1 for policy tokens after the shared
prefix) and `row` (Long[1]: which of `names` it is). `data.train_batch_size` and `data.micro_batch_size_per_gpu` count
pairs.
Written against verl 0.9.1: `verl/trainer/sft_trainer.py`, `verl/workers/engine_workers.py`.
"""
