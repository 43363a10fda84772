"""Ask a model questions: question sources, prompting methods, the model, the world that answers it, the player.

    read_questions("hotpotqa" | "dev.jsonl" | "hf:owner/name" | ...) ──> [Question, ...]
    Model + World + SamplingOptions ──> Player.play(question, sample) ──> Sample: trajectory and reward

| file | answers |
|---|---|
| `question` | `Question`: what is asked, its gold answers, what else is known of it |
| `questions` | `QuestionSource`: which source is meant; limits, ids that occur twice, the identity of a list |
| `question_rows` | rows of a file or of a data set of the hub, in any layout, as questions |
| `question_sets` | the sets that the literature evaluates on, their fields, how their rows are read |
| `model` | `Model`: the engine that is asked, at a server, in vLLM or in this process |
| `settings_file` | `LabSettings`, `SearchOptions`: the files of `--settings`, and the search tool that options name |
| `world` | `World`: the settings, the environment that answers actions, what results depend on |
| `methods`, `prompting` | `Method`: baselines as configurations of the same loop; prompts and demonstrations |
| `player` | `Player`, `SamplingOptions`, `Sample`: one question from prompt to sample, with seeds |
"""
