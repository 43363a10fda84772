"""Objects that a configuration names: found by their path, or refused in one sentence that says what is there."""

from __future__ import annotations

import pytest

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lookup import Plug, Socket, described, files_named, is_path, named, published
from autocoa_plugin.protocol import REACT, get_protocol
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD


def test_a_path_leads_to_the_object_it_names():
    assert is_path("autocoa_plugin.protocol:REACT") and not is_path("react")
    assert named("autocoa_plugin.protocol:REACT", where="x") is REACT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "autocoa_plugin.protocol",
            r"^lab\.x must be spelled package\.module:Name or path/file\.py:Name, got 'autocoa_plugin\.protocol'$",
        ),
        (":REACT", r"^lab\.x must be spelled package\.module:Name"),
        ("autocoa_plugin.protocol:", r"^lab\.x must be spelled package\.module:Name"),
        ("autocoa_plugin.protocol:RE ACT", r"^lab\.x must be spelled package\.module:Name"),
        (
            "no_such_package:REACT",
            r"^lab\.x: 'no_such_package:REACT' cannot be imported: ModuleNotFoundError: No module named",
        ),
        (
            "autocoa_plugin.protocol:REACTS",
            r"^lab\.x: autocoa_plugin\.protocol has no 'REACTS' \(did you mean 'REACT'\?\)$",
        ),
    ],
    ids=["no name", "no module", "empty name", "no identifier", "no such module", "no such name"],
)
def test_a_path_that_leads_nowhere_is_refused_in_one_sentence(path, message):
    with pytest.raises(ConfigError, match=message):
        named(path, where="lab.x")


def test_a_protocol_is_found_by_its_path_or_by_the_name_that_a_package_publishes():
    assert get_protocol("autocoa_plugin.tinyworld.tokenizer:TINYWORLD") is TINYWORLD
    assert "tinyworld" in published("autocoa.protocols") and get_protocol("tinyworld") is TINYWORLD


def test_a_path_to_something_else_than_a_protocol_is_refused():
    with pytest.raises(ConfigError, match=r"^protocol: '\S+:SEARCH' must name a Protocol, got Tool$"):
        get_protocol("autocoa_plugin.protocol:SEARCH")


def test_an_unknown_protocol_names_the_nearest_of_ours_and_of_the_published_ones():
    with pytest.raises(
        ConfigError, match=r"\['autocoa', 'hermes', 'react', 'search_r1', 'tinyworld'\].*did you mean 'tinyworld'"
    ):
        get_protocol("tinywrld")


def test_a_group_that_nobody_publishes_in_is_empty():
    assert dict(published("autocoa.no_such_group")) == {}


# ------------------------------------------------------------------------------------------------------------- sockets

TOOLS = Socket("autocoa.tools", "a tool", methods=("answer",), takes="either")
METRICS = Socket("autocoa.metrics", "a metric", takes="function")
AUTHORS = Socket("autocoa.authors", "an author", methods=("imagine",))

PLUGS = """
class Tide:
    def __init__(self, port, height=1.5):
        if port == "Atlantis":
            raise LookupError("no such port")
        self.port, self.height = port, height
    async def answer(self, action, context): ...

class Mute:
    def anwser(self): ...

class Blocking:
    def answer(self, action, context): ...

def length(answer, golds, per=1): return len(answer) / per

def make(port="x"): return Tide(port)

READY = Tide("Dover")
"""


@pytest.fixture
def plugs(tmp_path):
    (tmp_path / "plugs.py").write_text(PLUGS, encoding="utf-8")
    return f"{tmp_path}/plugs.py"


def test_a_class_in_a_file_is_built_with_its_arguments(plugs):
    tool = TOOLS.build(Plug(f"{plugs}:Tide", {"port": "Dover", "height": 2}), where="autocoa.tools.tide")
    assert (tool.port, tool.height) == ("Dover", 2)


def test_a_file_is_one_module_however_often_it_is_named(plugs):
    assert named(f"{plugs}:Tide", where="x") is named(f"{plugs}:Tide", where="y")


def test_a_finished_object_is_taken_as_it_stands(plugs):
    assert TOOLS.build(f"{plugs}:READY", where="x") is named(f"{plugs}:READY", where="x")


def test_a_function_is_itself_where_a_function_is_wanted_and_a_factory_where_an_object_is(plugs):
    assert METRICS.build(Plug(f"{plugs}:length", {"per": 2}), where="x")("four", ["4"]) == 2.0
    with pytest.raises(ConfigError, match=r"is no author: Tide has no method imagine"):
        AUTHORS.build(f"{plugs}:make", where="x")


@pytest.mark.parametrize(
    ("use", "arguments", "message"),
    [
        ("{}:Tyde", {}, r"^autocoa\.tools\.t: .* has no 'Tyde' \(did you mean 'Tide'\?\)$"),
        ("{}:Tide", {"prt": "x"}, r"takes no argument 'prt' \(did you mean 'port'\?\); it takes \['port', 'height'\]$"),
        ("{}:Tide", {}, r"missing a required argument: 'port'; it takes"),
        ("{}:Tide", {"port": "Atlantis"}, r"Tide could not be built: LookupError: no such port$"),
        ("{}:Mute", {}, r"is no tool: Mute has no method answer \(did you mean 'anwser'\?\)$"),
        ("{}:Blocking", {}, r"Blocking\.answer must be asynchronous: async def answer$"),
        ("{}:READY", {"port": "x"}, r"READY is a finished Tide and takes no arguments$"),
        ("{}:PORTS", {}, r"has no 'PORTS'"),
        ("/nowhere/plugs.py:Tide", {}, r"^autocoa\.tools\.t: there is no file /nowhere/plugs\.py$"),
        ("serch", {}, r"must be one of \['calculate', 'search'\], package\.module:Name or .*did you mean 'search'"),
    ],
)
def test_what_does_not_fit_a_socket_is_refused_in_one_sentence(plugs, use, arguments, message):
    with pytest.raises(ConfigError, match=message) as caught:
        TOOLS.build(Plug(use.format(plugs), arguments), where="autocoa.tools.t", known=("search", "calculate"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["import no_such_package", "1 / 0", "def f(:"], ids=["import", "raises", "syntax"])
def test_a_file_that_cannot_be_imported_is_refused_in_one_sentence_and_may_be_mended(tmp_path, content):
    file = tmp_path / "broken.py"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^x: .*broken\.py cannot be imported: \w+Error: ") as caught:
        named(f"{file}:Tide", where="x")
    assert "\n" not in str(caught.value)
    file.write_text("Tide = 3", encoding="utf-8")
    assert named(f"{file}:Tide", where="x") == 3


def test_an_error_whose_text_raises_is_described_all_the_same():
    class Wild(Exception):
        def __str__(self):
            raise RuntimeError

    assert described(Wild()) == "Wild: (its message cannot be spelled: RuntimeError)"
    assert described(ValueError("a\nb \ud800")) == "ValueError: a b ?"


def test_a_name_that_two_packages_publish_is_refused_where_it_is_used(tmp_path, monkeypatch):
    for package in ("one", "two"):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[autocoa.tools_test]\ntide = {package}:Tide\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"^x: 'tide' is published by several packages \(one:Tide, two:Tide\)"):
        Socket("autocoa.tools_test", "a tool").path("tide", where="x")


def test_the_identity_of_a_plug_is_its_content_and_not_its_place(tmp_path):
    found = []
    for folder, content in (("a", "X = 1"), ("b", "X = 1"), ("c", "X = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plug.py").write_text(content, encoding="utf-8")
        found.append(TOOLS.identity(Plug(f"{tmp_path}/{folder}/plug.py:X", {"k": 1}), where="x"))
    assert found[0] == found[1] != found[2]
    assert found[0]["use"] == "plug.py:X" and found[0]["arguments.k"] == 1
    assert TOOLS.identity("search", where="x") == {"use": "search"}


def test_the_files_that_a_spelled_setting_names_are_found(tmp_path):
    (tmp_path / "tool.py").write_text("x = 1", encoding="utf-8")
    text = f"autocoa.tools=[calculate,{{tide: {{use: '{tmp_path}/tool.py:tide'}}}}] a.py:X {tmp_path}/tool.py"
    assert files_named(text) == [tmp_path / "tool.py"]
