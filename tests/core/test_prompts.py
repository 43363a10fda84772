"""A prompt is found when settings are loaded, and put where it belongs; or refused in one sentence."""

from __future__ import annotations

import pytest
from chat_tokenizer import ChatTokenizer
from hypothesis import given
from hypothesis import strategies as st

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lookup import Plug
from autocoa_plugin.prompts import PROMPTS, check_prompt, get_prompt, prompt_ids, prompt_name, with_prompt
from autocoa_plugin.protocol import AUTOCOA, HERMES, ToolSpec

ASKED = {"role": "user", "content": "Who ?"}
SYSTEM = {"role": "system", "content": "Be brief."}
NOW = "autocoa_plugin.prompts:REACT_SEARCH"
TIDE = ToolSpec(
    "tide",
    "The tide in a port.",
    {"type": "object", "properties": {"port": {"type": "string"}, "hours": {"type": "integer"}}},
)


@pytest.fixture
def file(tmp_path):
    """A module of prompts."""
    path = tmp_path / "words.py"
    path.write_text(
        "BRIEF = 'Be brief.'\nNUMBER = 3\nBLANK = ' '\n"
        "def polite(word='please'):\n    return f'Answer {word}.'\n"
        "def broken():\n    raise KeyError('x')\n"
    )
    return path


def test_a_prompt_is_named_by_a_short_name_a_path_a_function_or_a_file(file, tmp_path):
    text = tmp_path / "mine.md"
    text.write_bytes("Antworte kürzer.\r\n".encode())
    assert get_prompt("autocoa_search") == PROMPTS["autocoa_search"]
    assert get_prompt(NOW) == PROMPTS["react_search"]
    assert get_prompt(f"{file}:BRIEF") == "Be brief."
    assert get_prompt(f"{file}:polite") == "Answer please."
    assert get_prompt(Plug(f"{file}:polite", {"word": "now"})) == "Answer now."
    assert get_prompt(str(text)) == "Antworte kürzer.\r\n"  # as it is
    check_prompt(None)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("autocoa_serch", r"^autocoa\.system_prompt must be one of \[.*\(did you mean 'autocoa_search'\?\)$"),
        ("judge_answer", "must be one of"),  # has places of its own
        ("{}:BREIF", r"^autocoa\.system_prompt: .* has no 'BREIF' \(did you mean 'BRIEF'\?\)$"),
        ("{}:NUMBER", r":NUMBER' must name a prompt, as text, got int$"),
        ("{}:BLANK", r"is an empty prompt; null puts none$"),
        ("{}:broken", "could not be built: KeyError: 'x'"),
        (Plug("{}:polite", {"wort": "x"}), r"takes no argument 'wort' \(did you mean 'word'\?\)"),
        (Plug("{}:BRIEF", {"word": "x"}), "is a finished str and takes no arguments"),
        (Plug("autocoa_search", {"word": "x"}), "'autocoa_search' is a finished text and takes no arguments"),
        ("no.such.module:PROMPT", "cannot be imported"),
        ("/nowhere/words.md", r"there is no file /nowhere/words\.md$"),
        ("{folder}/min.md", r"there is no file .*min\.md \(did you mean 'mine\.md'\?\)$"),
        ("{folder}/latin.txt", r"latin\.txt cannot be read as text in UTF-8"),
        ("{folder}/empty.txt", "is an empty prompt"),
        ("{folder}/folder.md", "cannot be read as text in UTF-8: .*Is a directory"),
    ],
    ids=str,
)
def test_a_prompt_that_cannot_be_found_is_refused_in_one_sentence(prompt, message, file, tmp_path):
    (tmp_path / "mine.md").write_text("x")
    (tmp_path / "latin.txt").write_bytes("kürzer".encode("latin-1"))
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "folder.md").mkdir()
    plug = Plug.of(prompt)
    use = plug.use.replace("{}", str(file)).replace("{folder}", str(tmp_path))
    with pytest.raises(ConfigError, match=message) as caught:
        check_prompt(Plug(use, plug.arguments), where="autocoa.system_prompt")
    assert "\n" not in str(caught.value)


def test_a_prompt_is_named_by_what_it_is_and_not_by_where_it_lies():
    assert prompt_name(None) is None and prompt_name("autocoa_search") == "autocoa_search"
    assert prompt_name("/home/me/mine.md") == "mine.md" and prompt_name(NOW) == NOW
    assert prompt_name(Plug("/home/me/words.py:polite", {"word": "now"})) == "words.py:polite"


def test_a_prompt_goes_first_and_a_conversation_with_instructions_keeps_its_own():
    first = {"role": "system", "content": PROMPTS["react_search"]}
    assert with_prompt([ASKED], "react_search") == [first, ASKED]
    for prompt in ("react_search", "search_r1_search", None):
        assert with_prompt([SYSTEM, ASKED], prompt) == [SYSTEM, ASKED]
    assert with_prompt([ASKED], None) == [ASKED]


def test_a_prompt_that_holds_the_question_goes_around_the_last_one(tmp_path):
    file = tmp_path / "around.txt"
    file.write_text("Say briefly: {question} ({question?}) \\boxed{answer}", encoding="utf-8")
    before = [ASKED, {"role": "assistant", "content": "Kim."}]
    messages = [*before, {"role": "user", "content": "And where {tools} "}]
    around = {"role": "user", "content": "Say briefly: And where {tools}  (And where {tools}?) \\boxed{answer}"}
    assert with_prompt(messages, str(file)) == [*before, around]
    assert messages[2]["content"] == "And where {tools} "  # what was handed in is as it was


@given(st.text(max_size=30))
def test_a_question_is_never_read_as_a_place(question):
    (message,) = with_prompt([{"role": "user", "content": question}], "search_r1_search")
    assert message["content"].endswith(f"Question: {question.strip().removesuffix('?')}?\n")


@pytest.mark.parametrize(
    "messages", [[], [{"role": "assistant", "content": "x"}], [{"role": "user", "content": [{"type": "image"}]}]]
)
def test_a_question_that_is_no_text_cannot_be_put_into_a_prompt(messages):
    with pytest.raises(ConfigError, match=r"'search_r1_search' holds \{question\}, which must be a user's text, got"):
        with_prompt(messages, "search_r1_search")


def test_a_prompt_may_tell_of_the_tools_a_line_each(tmp_path):
    file = tmp_path / "tools.txt"
    file.write_text("You have\n{tools}", encoding="utf-8")
    (system, _) = with_prompt([ASKED], str(file), AUTOCOA.with_tools([TIDE]))
    assert system["content"].splitlines() == [
        "You have",
        "- search: Parameters: query, a text. Call: <begin_search> query </end_search> "
        "Result: <search_result> .. </search_result>",
        "- calculate: Parameters: query, a text. Call: <begin_calculate> query </end_calculate> "
        "Result: <calculate_result> .. </calculate_result>",
        '- tide: The tide in a port. Parameters: {"type": "object", "properties": {"port": {"type": "string"}, '
        '"hours": {"type": "integer"}}}. Call: <begin_tide> {..} </end_tide> Result: <tide_result> .. </tide_result>',
    ]
    (system, _) = with_prompt([ASKED], str(file), HERMES.with_tools([TIDE]))
    assert 'Call: <tool_call> {"name": "tide", "arguments": {..}} </tool_call>' in system["content"]
    with pytest.raises(ConfigError, match=r"'tools\.txt' holds \{tools\}, and no tool is known here"):
        with_prompt([ASKED], str(file))


def test_a_template_is_given_the_tools_of_a_json_protocol_unless_the_prompt_has_told_of_them(tmp_path):
    given_tools = []

    class Noting(ChatTokenizer):
        def apply_chat_template(self, conversation, *, tokenize, **options):
            given_tools.append(options.get("tools"))
            return super().apply_chat_template(conversation, tokenize=tokenize)

    file = tmp_path / "tools.txt"
    file.write_text("{tools}", encoding="utf-8")
    told = HERMES.template_tools()
    for messages, prompt, protocol in (
        ([ASKED], "hermes_search", HERMES),
        ([ASKED], None, HERMES),
        ([ASKED], str(file), HERMES),
        ([SYSTEM, ASKED], str(file), HERMES),  # the prompt is not put, so the template tells
        ([ASKED], "autocoa_search", AUTOCOA),
        ([ASKED], "hermes_search", None),
    ):
        prompt_ids(Noting(), messages, system_prompt=prompt, protocol=protocol)
    assert given_tools == [told, told, None, told, None, None]
