"""Training data: records, files, and how a record becomes exactly the tokens a rollout would have.

    chat_text, from_trajectory ──> records <──> record_files (JSON lines, parquet)
                                      │
                            settings ─┤
                                      └──> play ──> Trajectory ──> rows ──> corpus: ids and loss weights

`records` needs the standard library only; `parquet` reads and writes through pyarrow.
"""
