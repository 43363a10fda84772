"""Trajectory explorer: `autocoa explore RUN -o explorer.html`, one self-contained page of trajectories.

    RUN ──sources──> files ──read──> entries ──real_answers──> diffs ──rows──> JSON ──explore──> explorer.html

| file | answers |
|---|---|
| `sources` | what a path is: results, a dump, verl's own dump, text; and which files belong to it |
| `explore`, `cli` | what is asked for, the way from RUN to file, the file itself; the command |
| `read`, `read_rollouts`, `read_foreign` | each kind of row as an `entry.Entry`; bare text split at its tags |
| `tokens` | which characters each token spells |
| `real_answers` | what a real tool says where a world model imagined, and the difference |
| `page_rows` | the data contract with the page |

What the page does with it: the scripts in `page/`.
"""
