"""Synthesize training data from questions, with any teacher (`autocoa synthesize`).

    questions ─┬─ cot   no tool, actions forbidden ── right? ──> CoT data
               └─ coa   tool allowed ─────────────── right? ──> CoA data
                          │ wrong: changed at one step, the rest written anew
                          ├─ act    a wrong CoT, cut at a step: the action is begun ── right? ──> pair, acting chosen
                          └─ think  a wrong CoA, cut before an action: thought on   ── right? ──> pair, thinking chosen

Every chain is one rollout of `loop.py`, so roles, masks and ids are those of training. Which one is asked for next
follows from what a question has so far (`next_attempt.py`), so a run that was killed goes on to the same end.
Source: AutoCoA (arXiv:2503.06580), section 3.2.1.
"""
