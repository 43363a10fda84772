"""How passages and queries become terms, and terms a BM25 query.

    "Who is Alû's mother?"  ->  alu, mother     (lower case, no accents, English stems, no stop words)

Queries are never parsed: a query is a bag of terms and has no syntax, so no character in it can be an error. Stop words
stay in the index and leave queries only where another word remains, so that "The Who" finds the band.
Settings and their measured recall: benchmarks/results/retrieval.md.
"""

from __future__ import annotations

import tantivy

from .base import encodable

ANALYZER_NAME = "autocoa_english_v1"  # in the manifest: an index built with another analyzer is built again
MAX_QUERY_TERMS = 64  # distinct; the longest of 100 HotpotQA questions has 32; bounds the cost of a 10 kB query
MAX_TERM_BYTES = 64  # longer "words" are base64 and the like

_SEARCHED_FIELDS = ("title", "text")  # summed with equal weight


def schema() -> tantivy.Schema:
    """Describe a passage: all three fields stored, title and text indexed with frequencies and without positions."""
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("id", stored=True)
    for name in _SEARCHED_FIELDS:
        builder.add_text_field(name, stored=True, tokenizer_name=ANALYZER_NAME, index_option="freq")
    return builder.build()


def passage_analyzer() -> tantivy.TextAnalyzer:
    """Return the analyzer of indexed text, which keeps stop words."""
    return _analyzer(keep_stop_words=True)


class QueryMaker:
    """Turns any string into a query."""

    def __init__(self) -> None:
        self._schema = schema()
        self._content_words = _analyzer(keep_stop_words=False)
        self._all_words = _analyzer(keep_stop_words=True)

    def terms(self, text: str) -> list[str]:
        """Return the first `MAX_QUERY_TERMS` distinct terms of a query in order; may be empty."""
        text = encodable(text)
        terms = self._content_words.analyze(text) or self._all_words.analyze(text)
        return list(dict.fromkeys(terms))[:MAX_QUERY_TERMS]

    def query(self, text: str) -> tantivy.Query:
        """Return the query that scores a passage by the BM25 of every term in title and in text.

        It is one flat disjunction of terms, the only shape for which tantivy skips blocks that cannot reach the
        top (block-max WAND).
        """
        return tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, field, term, index_option="freq"))
                for field in _SEARCHED_FIELDS
                for term in self.terms(text)
            ]
        )


def _analyzer(*, keep_stop_words: bool) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(MAX_TERM_BYTES)).filter(tantivy.Filter.lowercase())
    builder = builder.filter(tantivy.Filter.ascii_fold())
    if not keep_stop_words:
        builder = builder.filter(tantivy.Filter.stopword("english"))
    return builder.filter(tantivy.Filter.stemmer("english")).build()
