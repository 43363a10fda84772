"""Training data: records, files, and how a record becomes exactly the tokens a rollout would have.

    release_text, from_trajectory, dumps ──> records <──> files (JSON lines, parquet)
                                                │
                            settings, mixture ──┤
                                                └──> play ──> Trajectory ──> rows ──> corpus: ids and loss weights

`records` needs the standard library only; `files` reads and writes through pyarrow.
"""
