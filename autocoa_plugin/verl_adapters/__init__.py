"""The only files that import verl, vLLM and Ray: thin translators between verl 0.9 and the core.

| file | verl's name for the place |
|---|---|
| `plugin` | entry point group `verl.plugins` |
| `preflight`, `rl_checks` | hydra callback of our recipes: wrong configuration ends before Ray starts |
| `prompt_dataset`, `prompt_order` | `data.custom_cls` of the RL stages: one goes on where the last one ended |
| `agent_loop`, `chain_output` | `rollout.agent.agent_loop_config_path`; its output with the mask of real observations |
| `runtime` | none: what all trajectories of a worker process share |
| `budget` | none: real calls of a step, counted in one Ray actor for all workers |
| `engine` | `LLMServerClient.generate` |
| `trainer`, `metrics` | `trainer.v1.trainer_mode` |
| `run_ledger`, `fatal` | the replay buffer's batches: counted, and the run ended when a rollout says so |
| `observation_loss` | `set_loss_fn`: lambda x cross-entropy on real observation tokens |
| `scorecard` | `on_step_end`: imagined against real observations every N steps |
| `reward` | `reward.custom_reward_function` |
| `record_dataset` | `data.custom_cls` of stages 2 and 3: records as ids and loss weights |
| `pair_dataset` | `data.custom_cls` of stage 1: pairs with their replay rows |
| `contrastive/` | launcher and trainer of stage 1, subclasses of `SFTTrainer` and `TrainingWorker` |
| `resume` | `trainer.resume_mode`, `verl.utils.checkpoint`: the same run goes on, exactly; any other is refused |
| `finite_loss` | `sft_loss`: a loss that is not finite stops stages 2 and 3 |
| `row_names` | none: which record a row of a batch is, told when its loss is not finite |
| `ray_pipeline`, `ray_cluster` | none: `autocoa synthesize --ray`, a Ray Data pipeline |
| `cpu/` | a platform and a vLLM rollout for machines without an accelerator |
"""
