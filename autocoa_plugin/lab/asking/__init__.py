"""Questions with gold answers, from wherever they lie.

    files.read_questions("hotpotqa" | "dev.jsonl" | "hf:owner/name" | ...) ──> [Question, ...]

| file | answers |
|---|---|
| `question` | what a question is |
| `files` | which source is meant; limits, ids that occur twice, what identifies a list of questions |
| `sources`, `hub` | rows of a file, rows of a data set of the hub |
| `rows` | how a row of any layout becomes a question |
| `sets`, `set_rows` | the sets that the literature evaluates on, their fields, how their rows are read |
| `prompt_rows`, `prompt_meta` | questions as verl's prompt files, and what of them a rollout may carry along |
| `prepare*` | `autocoa prepare`: which questions are trained on, the paper's choice, what the files are |
"""
