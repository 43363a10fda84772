"""A part of the reward of somebody else's: who thinks in few words earns more.

autocoa.reward.parts={brevity: {use: examples/harbour/reward.py:brevity, weight: 0.1, arguments: {words: 40}}}
"""


def brevity(judged, words=40):
    """1 for a rollout without a thought, falling to 0 at so many words."""
    thoughts = (segment.text for segment in judged.trajectory.segments if segment.role == "thought")
    return max(0.0, 1 - sum(len(text.split()) for text in thoughts) / words)
