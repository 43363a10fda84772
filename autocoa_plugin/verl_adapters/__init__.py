"""The only files that import verl and vLLM: thin translators between verl 0.9 and the core.

| file | verl's name for the place |
|---|---|
| `plugin` | entry point group `verl.plugins` |
| `preflight` | hydra callback of our recipes: wrong configuration ends before Ray starts |
| `agent_loop` | `rollout.agent.agent_loop_config_path` |
| `engine` | `LLMServerClient.generate` |
| `trainer`, `metrics` | `trainer.v1.trainer_mode` |
| `reward` | `reward.custom_reward_function` |
| `record_dataset` | `data.custom_cls` of stages 2 and 3: records as ids and loss weights |
| `pair_dataset` | `data.custom_cls` of stage 1: pairs with their replay rows |
| `contrastive/` | launcher and trainer of stage 1, subclasses of `SFTTrainer` and `TrainingWorker` |
| `experiment` | `trainer.resume_mode`: refuses to go on with another experiment's checkpoints |
| `resume` | `verl.utils.checkpoint`: a resumed run is the run it resumes |
| `finite_loss` | `sft_loss`: a loss that is not finite stops stages 2 and 3 |
| `row_names` | none: which record a row of a batch is, told when its loss is not finite |
| `cpu/` | a platform and a vLLM rollout for machines without an accelerator |
"""
