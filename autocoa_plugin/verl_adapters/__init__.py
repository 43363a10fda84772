"""The only files that import verl and vLLM: thin translators between verl 0.9 and the core.

| file | verl's name for the place |
|---|---|
| `plugin` | entry point group `verl.plugins` |
| `preflight` | hydra callback of our recipes: wrong configuration ends before Ray starts |
| `agent_loop` | `rollout.agent.agent_loop_config_path` |
| `engine` | `LLMServerClient.generate` |
| `trainer`, `metrics` | `trainer.v1.trainer_mode` |
| `reward` | `reward.custom_reward_function` |
| `sft_dataset` | `data.custom_cls` |
| `cpu/` | a platform and a vLLM rollout for machines without an accelerator |
"""
