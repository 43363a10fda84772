"""What opening documents by id costs: processor seconds and bytes of an index without and with it, ms per document.

    python benchmarks/retrieval_open.py [--passages 100000 1000000] [--folder FOLDER]

Generated passages (`retrieval_corpus.py`), seven in a row under one title as in wiki-18. "without" is the schema of the
first indexes: ids are stored and not indexed, places are not there.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import retrieval_corpus
import tantivy
from retrieval_engines import folder_bytes

from autocoa_plugin.retrieval.index import ANALYZER_NAME, EmbeddedIndex, passage_analyzer
from autocoa_plugin.retrieval.index_build import WRITER_BYTES, build_index, read_corpus

PASSAGES_PER_TITLE, OPENED = 7, 2000


def write(path: Path, passages: int) -> None:
    """Write a corpus whose passages share a title by sevens."""
    retrieval_corpus.write(path.with_suffix(".plain"), passages)
    with open(path.with_suffix(".plain"), encoding="utf-8") as plain, open(path, "w", encoding="utf-8") as file:
        title = ""
        for number, row in enumerate(map(json.loads, plain)):
            title = row["title"] if number % PASSAGES_PER_TITLE == 0 else title
            file.write(json.dumps({**row, "title": title}) + "\n")


def build_without(corpus: Path, folder: Path) -> None:
    """Build the index that cannot open documents."""
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("id", stored=True)
    for name in ("title", "text"):
        builder.add_text_field(name, stored=True, tokenizer_name=ANALYZER_NAME, index_option="freq")
    folder.mkdir()
    index = tantivy.Index(builder.build(), str(folder))
    index.register_tokenizer(ANALYZER_NAME, passage_analyzer())
    writer = index.writer(WRITER_BYTES, 1)
    for passage in read_corpus(corpus):
        document = tantivy.Document(title=passage.title, text=passage.text)
        document.add_bytes("id", passage.id.encode())
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


def main() -> None:
    """Print one row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    print("| passages | build_cpu_s without | with | index_MB without | with | first_ms | open_p50_ms | open_p95_ms |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for passages in arguments.passages:
        corpus = folder / f"{passages}.jsonl"
        write(corpus, passages)
        seconds, megabytes = [], []
        for name, build in (("without", build_without), ("with", lambda c, f: build_index(c, f, progress=False))):
            started = time.process_time()
            build(corpus, folder / f"{passages}.{name}")
            seconds.append(time.process_time() - started)
            megabytes.append(folder_bytes(folder / f"{passages}.{name}") / 1e6)
        index, times = EmbeddedIndex(folder / f"{passages}.with"), []
        for number in random.Random(0).sample(range(passages), OPENED):
            started = time.perf_counter()
            found = index.open_one(f"g{number}")
            times.append(1000 * (time.perf_counter() - started))
            first = number - number % PASSAGES_PER_TITLE
            assert [each.id for each in found] == [f"g{n}" for n in range(first, min(first + 7, passages))]
        p95 = statistics.quantiles(times, n=20)[-1]
        print(
            f"| {passages:,} | {seconds[0]:.0f} | {seconds[1]:.0f} | {megabytes[0]:.1f} | {megabytes[1]:.1f} "
            f"| {times[0]:.3f} | {statistics.median(times):.3f} | {p95:.3f} |"
        )


if __name__ == "__main__":
    main()
