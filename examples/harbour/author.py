"""A world model of somebody else's: no language model at all, but the harbour master's one sentence.

autocoa.world_model.author={use: examples/harbour/author.py:HarbourMaster, arguments: {sentence: is a city .}}
"""


class HarbourMaster:
    """Writes "QUERY : QUERY SENTENCE"; text, which the loop spells as it spells a tool's."""

    is_own = False  # not the policy: what it writes has no log-probabilities of the policy's

    def __init__(self, sentence="is a city ."):
        self.sentence = sentence

    async def imagine(self, action, context, *, max_tokens, stop):
        written = f"{action.parameters} : {action.parameters} {self.sentence}"
        return written[: 4 * max_tokens]  # a token has some four characters; what is longer, the loop cuts
