"""`autocoa chat MODEL`: ask a checkpoint one's own questions and watch its chain of action as it is written.

    question ──> rollout (`loop.py`) ──ids as they are sampled──> text_stream ──> painter ──┐
    `session`             └───────────segments as they are appended──> watcher ─────────────┴──> screen

| file | answers |
|---|---|
| `prepare` | which model, which world |
| `command` | what is asked, on the command line or typed |
| `session` | one question from prompt to trajectory |
| `watcher` | what is shown when, while a rollout runs |
| `text_stream` | text of ids that come one by one |
| `painter` | which role text has that is not parsed yet |
| `screen` | how roles look, on a terminal and in a file |
| `world_words` | a question in the words of the embedded world |
"""
