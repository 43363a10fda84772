"""Runs of every kind: their identity, whether they may go on, what is kept of them, how far they are.

| file | answers |
|---|---|
| `identity` | what a run was made with (`Identity`, `decisive`, fingerprints), `differences` of two |
| `folder` | who may write a folder, whether a run may go on in it, its seconds: `claimed`, `begin`, `end_session` |
| `files` | files that are whole or not there at all: `write_json`, `replacing`, `exchanging` |
| `log` | finished items, a line of JSON each, found again after a crash: `LineLog` |
| `progress` | how far it has come: a bar, or a line per tenth |
| `workers` | many at a time, until all are done or a signal stops them; what an engine refuses |
| `process` | a training program in a process of its own: its log, its end, its memory, verl's metrics |
| `vllm_server` | a vLLM server of our own |

Used by stages, evaluation, synthesis, scorecard, cassettes, the index and verl's own launcher; knows none of them.
"""
