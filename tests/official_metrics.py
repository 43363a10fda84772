"""HotpotQA's own exact match and F1, as an oracle, and phrases to compare with them."""

from __future__ import annotations

import re
import string

from hypothesis import strategies as st


def official_normalize(text: str) -> str:
    """SQuAD v1.1: lower case, then no punctuation, then no articles, then single spaces."""
    lowered = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split())


def official_f1(prediction: str, gold: str) -> float:
    """HotpotQA: harmonic mean of precision and recall over bags of words; closed answers only match themselves."""
    prediction, gold = official_normalize(prediction), official_normalize(gold)
    if prediction != gold and {prediction, gold} & {"yes", "no", "noanswer"}:
        return 0.0
    left, same = gold.split(), 0
    for word in prediction.split():
        if word in left:
            left.remove(word)
            same += 1
    if same == 0:
        return 0.0
    precision, recall = same / len(prediction.split()), same / len(gold.split())
    return 2 * precision * recall / (precision + recall)


words = st.sampled_from(
    [*"The a an river Yes no noanswer Stories Kipling, 1984 (film) one well just ? thé _a U.S. İ".split(), "-", "\n"]  # noqa: SIM905
)
phrases = st.lists(words, max_size=6).map(" ".join) | st.text(max_size=12)
golds = phrases.filter(official_normalize)  # see test_a_gold_answer_of_articles_only...
