"""Ask a model questions: question sources, prompting methods, the model, the world that answers it, the player.

    questions.read_questions("hotpotqa" | "dev.jsonl" | "hf:owner/name" | ...) ──> [Question, ...]
    model + world + method ──> Player.play(question) ──> trajectory and reward

| file | answers |
|---|---|
| `question` | a question, its gold answers, what else is known of it |
| `questions` | which source is meant; limits, ids that occur twice, what identifies a list of questions |
| `question_rows` | rows of a file or of a data set of the hub, in any layout, as questions |
| `question_sets` | the sets that the literature evaluates on, their fields, how their rows are read |
| `model` | the engine that is asked: a server, a folder |
| `world` | the settings, the environment that answers, what results depend on |
| `methods`, `prompting` | baselines as configurations of the same loop; prompts and demonstrations |
| `player` | one question from prompt to sample, with seeds |
"""
