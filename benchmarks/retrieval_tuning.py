"""Which settings of tantivy find most: stems, stop words in queries, the weight of the title?

    python benchmarks/retrieval_tuning.py [--data FOLDER]

Recall of gold titles on 100 HotpotQA questions over 7,113 passages; one title is half a point, so differences below
two points mean little. BM25's k1 = 1.2 and b = 0.75 are constants of tantivy.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from pathlib import Path

import tantivy

FIELDS = {"text": {"text": 1.0}} | {f"title x{w}": {"title": w, "text": 1.0} for w in (0.5, 0.75, 1.0, 2.0)}
FIELDS |= {"title twice in one field": {"body": 1.0}}


def analyzer(stem: bool, stop: bool) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.remove_long(64))
    builder = builder.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.ascii_fold())
    builder = builder.filter(tantivy.Filter.stopword("english")) if stop else builder
    return (builder.filter(tantivy.Filter.stemmer("english")) if stem else builder).build()


def build(corpus: list[dict[str, str]], stem: bool) -> tantivy.Index:
    builder = tantivy.SchemaBuilder()
    for name in ("title", "text", "body"):
        builder.add_text_field(name, stored=name == "title", tokenizer_name="tuned", index_option="freq")
    index = tantivy.Index(builder.build())
    index.register_tokenizer("tuned", analyzer(stem, stop=False))
    writer = index.writer(200_000_000, 1)
    for row in corpus:
        body = f"{row['title']} {row['title']} {row['text']}"
        writer.add_document(tantivy.Document(title=row["title"], text=row["text"], body=body))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    return index


def search(index: tantivy.Index, terms: list[str], fields: dict[str, float], top_k: int) -> set[str]:
    parts = []
    for (field, weight), term in itertools.product(fields.items(), dict.fromkeys(terms)):
        query = tantivy.Query.term_query(index.schema, field, term, index_option="freq")
        parts.append((tantivy.Occur.Should, tantivy.Query.boost_query(query, weight)))
    searcher = index.searcher()
    hits = searcher.search(tantivy.Query.boolean_query(parts), top_k, count=False).hits
    return {str(searcher.doc(address).get_first("title")) for _, address in hits}


def main() -> None:
    default = os.environ.get("AUTOCOA_REAL_DATA") or Path(__file__).parents[1] / "../shared/data"
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(default))
    data = parser.parse_args().data
    names = ("hotpotqa_mini_corpus", "wiki_6k_corpus", "hotpotqa_mini_questions")
    first, second, questions = [
        [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()] for name in names
    ]
    print("| stems | stop words dropped | fields | recall@3 | recall@5 | title@1 |\n|---|---|---|---:|---:|---:|")
    for stem in (False, True):
        index = build(first + second, stem)
        for stop, (label, fields) in itertools.product((False, True), FIELDS.items()):
            words = analyzer(stem, stop)
            hits, gold_titles = [0, 0, 0], 0
            for row in questions:
                gold = set(row["supporting_titles"])
                gold_titles += len(gold)
                for place, top_k in enumerate((3, 5)):
                    hits[place] += len(gold & search(index, words.analyze(row["question"]), fields, top_k))
                for title in gold:
                    terms = words.analyze(title) or analyzer(stem, False).analyze(title)
                    hits[2] += title in search(index, terms, fields, 1)
            cells = " | ".join(f"{count / gold_titles:.3f}" for count in hits)
            print(f"| {'yes' if stem else 'no'} | {'yes' if stop else 'no'} | {label} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
