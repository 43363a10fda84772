"""Chat (`autocoa chat MODEL`): ask a checkpoint one's own questions and watch its chain of action as it is written.

    question ──> rollout (`loop.py`) ──ids as they are sampled, segments as they are appended──> watch ──> screen

| file | answers |
|---|---|
| `cli` | which `Model`, which `World`; questions on the command line or typed |
| `session` | one question from prompt to trajectory; the file that keeps it |
| `watch` | what is shown when, while a rollout runs; which role text has that is not parsed yet |
| `screen` | how roles look, on a terminal and in a file |
"""
