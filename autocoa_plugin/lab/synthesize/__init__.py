"""Synthesize training data from questions, with any teacher (`autocoa synthesize`).

    questions ─┬─ cot   no tool, actions forbidden ── right? ──> CoT data
               └─ coa   tool allowed ─────────────── right? ──> CoA data
                          │ wrong: changed at one step, the rest written anew
                          ├─ act    a wrong CoT, cut at a step: the action is begun ── right? ──> pair, acting chosen
                          └─ think  a wrong CoA, cut before an action: thought on   ── right? ──> pair, thinking chosen

Every chain is one rollout of `loop.py`, so roles, masks and ids are those of training. Which one is asked for next
follows from what a question has so far (`next_attempt.py`), so a run that was killed goes on to the same end.
Source: AutoCoA (arXiv:2503.06580), section 3.2.1.

| file | answers |
|---|---|
| `cli`, `job` | `SynthesisJob`: questions, teacher, `Rules`, `Acceptance`, `Output`, prices and pace |
| `synthesize`, `prepared` | one session from job to data sets; the two ways of asking a teacher |
| `schedule`, `ray_pipeline`, `ray_cluster` | many questions at a time: in this process, or in those of Ray; the money |
| `next_attempt`, `steps` | which chain is asked for next, where a wrong one is cut, may one be kept |
| `teacher`, `attempt` | writing one chain; `Attempt`, the log and the folder |
| `gate`, `gates`, `gates_text` | faults for which a chain is left out |
| `training_rows`, `provenance`, `data_set` | from attempts to rows and files; where a row comes from |
| `tally`, `data_card`, `data_card_text` | counts, and the card of each data set |
"""
