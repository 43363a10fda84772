"""Adapters to verl 0.9, the only files that import it: thin translators between verl (with vLLM and Ray) and the core.

| file | verl's name for the place |
|---|---|
| `plugin` | entry point group `verl.plugins`; trainer mode and `${autocoa.file:...}` of the recipes |
| `after_import` | none: changes to a module right after its import |
| `preflight` | hydra callback of our recipes: wrong configuration ends before Ray starts |
| `prompt_dataset` | `data.custom_cls` of the RL stages: one goes on where the last one ended |
| `agent_loop` | `rollout.agent.agent_loop_config_path` |
| `chain_output` | the agent loop's output: with the mask of real observations, or with an error that ends the run |
| `runtime` | none: what all trajectories of a worker process share, the budget of real calls in a Ray actor |
| `engine` | `LLMServerClient.generate` |
| `trainer` | `trainer.v1.trainer_mode`; at `on_step_end` the scorecard, when it is due |
| `run_ledger` | the replay buffer's batches: counted in the ledger and in verl's metrics |
| `observation_loss` | `set_loss_fn`: lambda x cross-entropy on real observation tokens |
| `reward` | `reward.custom_reward_function`: asked by our loop, or our metrics for other loops |
| `record_dataset` | `data.custom_cls` of stages 1 to 3: ids and loss weights; `sft_loss` that stops when not finite |
| `contrastive/` | launcher and trainer of stage 1, subclasses of `SFTTrainer` and `TrainingWorker` |
| `resume` | `trainer.resume_mode`, `verl.utils.checkpoint`: the same run goes on, exactly; any other is refused |
| `cpu/` | a platform and a vLLM rollout for machines without an accelerator |
"""
