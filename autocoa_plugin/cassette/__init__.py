"""Real observations on tape: one SQLite file that many processes write at once and that a replay reads without a tool.

    run.cassette   application id, format version
      header       protocol, backend, top_k, corpus      what answers depend on; one tape, one header
      answers      tool, query -> text, outcome, ...     one row per query; the first writer wins

| file | answers |
|---|---|
| `header` | which tape fits which configuration |
| `database` | opening the file: creating it, refusing what is no cassette |
| `tape` | writing and reading answers |
| `merge`, `jsonl` | several tapes into one; a tape as JSON lines and back |
| `summary`, `cli` | what is on a tape; `autocoa cassette` |

When to record and when to replay is `environments.cassette`'s business. The file uses SQLite's write-ahead log, whose
writers must share one machine: on several nodes, record one tape per node and merge them.
"""
