"""From questions to training data without a GPU: a teacher that is shown the answers, and search that is real.

    python examples/09_synthesize_hotpotqa.py [FOLDER]
    python examples/09_synthesize_hotpotqa.py FOLDER QUESTIONS CORPUS [LICENCE]

QUESTIONS is whatever `autocoa evaluate` reads, CORPUS JSON lines with id, title, text, LICENCE that of the questions;
without them there are four questions and five articles. Afterwards, in the folder: cot, coa and pairs as parquet, a
data card of each, attempts.jsonl with every chain that was written.

The teacher (reading_teacher.py, beside this file) is no language model: the yields say what retrieval finds, not how
good a model is. With a model, `autocoa synthesize` does the same: the job names its folder or server, and
`synthesize(job)` needs no engine. The same command goes on where it was interrupted.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reading_teacher import ReadingTeacher
from rich.console import Console
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from autocoa_plugin import AUTOCOA, Codec
from autocoa_plugin.answering import SearchSettings
from autocoa_plugin.lab.asking.methods import apply_method, get_method
from autocoa_plugin.lab.asking.model import Model
from autocoa_plugin.lab.asking.questions import QuestionSource, read_questions
from autocoa_plugin.lab.asking.world import World
from autocoa_plugin.lab.synthesize.job import Output, Rules, SynthesisJob
from autocoa_plugin.lab.synthesize.synthesize import show, synthesize
from autocoa_plugin.settings import Settings

QUESTIONS = [
    {"id": "kim", "question": "Where was the author of Kim born?", "answers": ["Bombay", "Mumbai"]},
    {"id": "emma", "question": "In what year did Jane Austen publish Emma?", "answers": ["1815"]},
    {"id": "novels", "question": "Are Kim and Emma both novels?", "answers": ["yes"]},
    {"id": "wolf", "question": "Who wrote The Sea Wolf?", "answers": ["Jack London"]},
]
ARTICLES = {
    "Kim": "Kim is a novel by Rudyard Kipling, an English author who was born in Bombay, where his father taught.",
    "Emma": "Emma is a novel about a young woman of Highbury who makes matches for her friends.",
    "Jane Austen": "Jane Austen was an English novelist. She published Emma in 1815; Persuasion followed in 1817.",
    "Sea": "The sea is the body of salt water that covers most of the Earth.",
    "Wolf": "The wolf is a large canine of Eurasia and North America; it hunts in packs.",
}
CHAT = "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}<|assistant|>"
MARKS = ["<eos>", "<|system|>", "<|user|>", "<|assistant|>"]


def texts(corpus: Path) -> Iterator[str]:
    """What a tokenizer learns from."""
    for line in corpus.read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["text"]


def learned_tokenizer(corpus: Path, folder: Path) -> Any:
    """A byte-level BPE of the corpus, learned once: no download, and lengths are those of real tokens."""
    if not (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=16_000, special_tokens=MARKS, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts(corpus), trainer)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", chat_template=CHAT).save_pretrained(
            folder
        )
    return PreTrainedTokenizerFast.from_pretrained(folder)


def main(folder: Path, questions: Path, corpus: Path, licence: str | None = None) -> None:
    """Ask, check, write."""
    tokenizer = learned_tokenizer(corpus, folder / "tokenizer")
    settings = Settings(search=SearchSettings(corpus=str(corpus), index_dir=str(folder / "index")))
    teacher = ReadingTeacher(read_questions(str(questions)), Codec(tokenizer, AUTOCOA))
    job = SynthesisJob(
        QuestionSource(str(questions)),
        Model(teacher.name),
        folder / "data",
        cot=World(apply_method(settings, get_method("model_only")), "model_only"),
        coa=World(apply_method(settings, get_method("autocoa"))),
        rules=Rules(asked="both"),
        output=Output(licence=licence),
    )
    show(synthesize(job, engine=teacher, tokenizer=tokenizer), Console(width=100))
    print(*sorted(each.name for each in job.folder.iterdir()), sep="\n")


def small(folder: Path) -> tuple[Path, Path]:
    """The questions and articles above, as files."""
    questions, corpus = folder / "questions.jsonl", folder / "corpus.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS), encoding="utf-8")
    rows = [{"id": title, "title": title, "text": text} for title, text in ARTICLES.items()]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return questions, corpus


if __name__ == "__main__":
    if len(sys.argv) not in (1, 2, 4, 5):
        sys.exit("give FOLDER, or FOLDER QUESTIONS CORPUS [LICENCE]")
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    target.mkdir(parents=True, exist_ok=True)
    given = (Path(sys.argv[2]), Path(sys.argv[3])) if len(sys.argv) > 3 else small(target)
    main(target, *given, *sys.argv[4:])
