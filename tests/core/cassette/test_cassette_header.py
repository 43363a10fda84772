"""Which tape fits which configuration."""

from __future__ import annotations

import pytest
from recordings import ask

from autocoa_plugin.answering import CassetteSettings, SearchSettings
from autocoa_plugin.cassette.header import Header, check, corpus_identity, describe
from autocoa_plugin.environments.cassette import build_cassette
from autocoa_plugin.errors import ConfigError
from autocoa_plugin.testing import ScriptedEnvironment
from autocoa_plugin.trajectory import Origin

PASSAGE = '{"id": "1", "title": "Paris", "text": "The capital."}\n'


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text(PASSAGE)
    return path


def recorded(path, search, protocol="autocoa"):
    settings = CassetteSettings(str(path))
    environment = build_cassette(settings, protocol, search, ScriptedEnvironment({"q": "answer"}))
    ask(environment, "q")
    environment.close()
    return path


def replayed(path, search, protocol="autocoa"):
    environment = build_cassette(CassetteSettings(str(path), mode="replay"), protocol, search, None)
    try:
        return ask(environment, "q")[0]
    finally:
        environment.close()


def test_a_replay_needs_neither_tool_nor_search_settings(tmp_path, corpus):
    path = recorded(tmp_path / "t", SearchSettings(corpus=str(corpus)))
    corpus.unlink()
    assert replayed(path, None).text == "answer"


def test_a_replay_never_asks_a_tool_that_it_is_given(tmp_path, corpus):
    search = SearchSettings(corpus=str(corpus))
    path, tool = recorded(tmp_path / "t", search), ScriptedEnvironment({"other": "asked"})
    environment = build_cassette(CassetteSettings(str(path), mode="replay"), "autocoa", search, tool)
    assert [each.origin for each in ask(environment, "q", "other")] == [Origin.REPLAY, Origin.REPLAY]
    environment.close()
    assert tool.asked == []


def search_in(corpus, **more):
    return SearchSettings(corpus=str(corpus), **more)


def changed(corpus):
    corpus.write_text(PASSAGE.replace("capital", "kapital"))
    return search_in(corpus)


def gone(corpus):
    corpus.unlink()
    return search_in(corpus)


OTHER_CORPUS = r'corpus="sha256:[0-9a-f]{28}\.\.\.[0-9a-f]{8}" \(here "sha256:'


@pytest.mark.parametrize(
    ("search_of", "protocol", "calls", "message"),
    [
        # without search settings too
        (lambda _: None, "search_r1", (replayed,), r'recorded with protocol="autocoa" \(here "search_r1"\)'),
        (changed, "autocoa", (recorded, replayed), OTHER_CORPUS),
        (lambda corpus: search_in(corpus, top_k=5), "autocoa", (recorded, replayed), r"top_k=3 \(here 5\)"),
        (gone, "autocoa", (replayed,), r"search.corpus=.*cannot be read .*leave `search` out"),
    ],
    ids=["another protocol", "one changed byte of the corpus", "another top_k", "no corpus"],
)
def test_a_tape_that_does_not_fit_is_refused_and_left_alone(tmp_path, corpus, search_of, protocol, calls, message):
    path = recorded(tmp_path / "t", search_in(corpus))
    assert replayed(path, search_in(corpus)).text == "answer"
    before, search = path.read_bytes(), search_of(corpus)
    for call in calls:
        with pytest.raises(ConfigError, match=message):
            call(path, search, protocol)
    assert path.read_bytes() == before


def test_a_built_index_gives_the_same_identity_as_its_corpus(corpus):
    from autocoa_plugin.retrieval.index_build import build_index

    search = SearchSettings(corpus=str(corpus))
    before = corpus_identity(search)
    build_index(corpus, f"{corpus}.index", progress=False)
    assert corpus_identity(search) == before
    corpus.write_text(PASSAGE.replace("capital", "kapital"))  # the index is out of date
    assert corpus_identity(search) != before


def test_every_differing_field_is_named_with_both_values(tmp_path):
    made = Header("autocoa", "index", 3, "sha256:1")
    expected = {"protocol": "autocoa", "backend": "search_r1", "top_k": 5, "corpus": "http://h/retrieve"}
    with pytest.raises(ConfigError) as caught:
        check(made, expected, tmp_path / "t")
    message = str(caught.value)
    assert 'backend="index" (here "search_r1"), top_k=3 (here 5), ' in message
    assert 'corpus="sha256:1" (here "http://h/retrieve")' in message
    assert "protocol" not in message
    assert str(tmp_path / "t") in message


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("http://host:8000/retrieve", "http://host:8000/retrieve"),
        ("https://user:secret@host/retrieve?key=secret#secret", "https://host/retrieve"),
        ("http://secret@[::1]:80/r", "http://[::1]:80/r"),
    ],
)
def test_a_server_is_known_by_its_address_without_credentials(url, identity):
    assert corpus_identity(SearchSettings(backend="search_r1", url=url)) == identity


def test_the_web_is_one_corpus():
    search = SearchSettings(backend="duckduckgo", top_k=4)
    assert describe("autocoa", search) == Header("autocoa", "duckduckgo", 4, "web")


@pytest.mark.parametrize("mode", ["record", "record_missing"])
def test_recording_without_a_tool_is_refused_and_makes_no_file(tmp_path, corpus, mode):
    settings = CassetteSettings(str(tmp_path / "t"), mode=mode)
    for search, tool in ((SearchSettings(corpus=str(corpus)), None), (None, ScriptedEnvironment({}))):
        with pytest.raises(ConfigError, match=f"cassette.mode={mode} has no tool to record"):
            build_cassette(settings, "autocoa", search, tool)
    assert not (tmp_path / "t").exists()


def test_the_folder_of_a_new_tape_is_made(tmp_path, corpus):
    path = recorded(tmp_path / "a" / "b" / "t", SearchSettings(corpus=str(corpus)))
    assert path.is_file()
