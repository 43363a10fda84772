"""Cassettes, tapes of real observations: one SQLite file that many processes write and that replays without a tool.

    run.cassette   application id, format version
      header       protocol, backend, top_k, corpus      what answers depend on; one tape, one header
      answers      tool, query -> text, outcome, ...     one row per query; the first writer wins

| file | answers |
|---|---|
| `header` | which tape fits which configuration |
| `tape` | opening the file, refusing what is no cassette; writing and reading answers |
| `exchange` | several tapes into one; a tape as JSON lines and back; a summary |
| `cli` | `autocoa cassette inspect`, `merge`, `export`, `import` |

When to record and when to replay is decided in `environments.cassette`. The file uses SQLite's write-ahead log, whose
writers must share one machine: on several nodes, record one tape per node and merge them.
"""
