"""The trajectory explorer: `autocoa explore RUN -o explorer.html`, one self-contained page of trajectories.

    RUN ──sources──> files ──read──> entries ──real_answers──> diffs ──rows──> JSON ──page──> explorer.html

| file | answers |
|---|---|
| `sources` | what a path is: results, a dump, verl's own dump, text; and which files belong to it |
| `job` | what is asked for, and the way from RUN to file |
| `read`, `read_rollouts`, `read_verl`, `read_text` | each kind of row as an `entry.Entry` |
| `text_split`, `foreign` | which part of bare text is thought, action, observation, answer |
| `tokens` | which characters each token spells |
| `real_answers`, `diff` | what a real tool says where a world model imagined |
| `rows`, `page` | the data contract with the page, and the file |

What the page does with it: `page/explorer.js`.
"""
