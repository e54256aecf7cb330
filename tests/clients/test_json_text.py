"""A member goes into a JSON text and comes out of it, and no other byte changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.clients.json_text import parse, put_element, put_member, replaced, taken_element, taken_member
from devsh_memory_mcp.clients.text import spliced

KEYS = ("mcpServers", "devsh-memory")
RULES = ("permissions", "allow")
ENTRY = {"type": "stdio", "args": [], "env": {"É": "\u2028"}}

TEXTS = {
    "two spaces": '{\n  "userID": "x",\n  "mcpServers": {\n    "other": {\n      "command": "y"\n    }\n  }\n}\n',
    "no newline at the end": '{\n  "userID": "x"\n}',
    "four spaces": '{\n    "mcpServers": {\n        "other": {}\n    },\n    "n": 1e-7\n}\n',
    "tabs": '{\n\t"a": 1.0,\n\t"mcpServers": {\n\t\t"other": {}\n\t}\n}\n',
    "one line": '{"a":[1,2,{"b":"}\\"{"}],"mcpServers":{"other":{}},"permissions":{"allow":["x"]}}',
    "escapes": '{\n  "\\u006dcpServers": {\n    "other": {"k": "\\ud800"}\n  },\n  "n": 12345678901234567890123\n}',
    "carriage returns": '{\r\n  "a": 1,\r\n  "mcpServers": {\r\n    "other": {}\r\n  }\r\n}\r\n',
    "odd spaces": '  {  "a" :1 ,\n"mcpServers"  : { "other" : { } }  }\n\n',
    "rules": '{\n  "permissions": {\n    "deny": [],\n    "allow": [\n      "Bash(ls)",\n      "Read"\n    ]\n  }\n}\n',
    "a name twice": '{\n  "mcpServers": {\n    "a": {}\n  },\n  "mcpServers": {\n    "b": {}\n  }\n}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_member_that_went_in_comes_out_to_the_byte(text: str) -> None:
    put = put_member(text, KEYS, ENTRY)
    after = spliced(text, [put.splice])
    expected = json.loads(text)
    expected.setdefault("mcpServers", {})["devsh-memory"] = ENTRY
    assert json.loads(after) == expected
    assert put.made == (0 if "mcpServers" in json.loads(text) else 1)
    assert spliced(after, [taken_member(after, KEYS, put.made)]) == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_element_that_went_in_comes_out_to_the_byte(text: str) -> None:
    put = put_element(text, RULES, "mcp__x")
    after = spliced(text, [put.splice])
    assert json.loads(after)["permissions"]["allow"] == ["mcp__x", *json.loads(text).get("permissions", {}).get("allow", [])]
    assert spliced(after, [taken_element(after, RULES, "mcp__x", put.made)]) == text


def test_what_goes_in_looks_like_what_is_there() -> None:
    text = '{\n\t"mcpServers": {\n\t\t"other": {}\n\t}\n}\n'
    assert spliced(text, [put_member(text, KEYS, {"a": [1]}).splice]) == (
        '{\n\t"mcpServers": {\n\t\t"devsh-memory": {\n\t\t\t"a": [\n\t\t\t\t1\n\t\t\t]\n\t\t},\n\t\t"other": {}\n\t}\n}\n'
    )
    assert spliced("{}\n", [put_member("{}\n", KEYS, {}).splice]) == '{\n  "mcpServers": {\n    "devsh-memory": {}\n  }\n}\n'


def test_containers_that_were_made_stay_when_others_use_them_by_now() -> None:
    text = '{\n  "a": 1\n}\n'
    put = put_member(text, KEYS, {})
    used = spliced(text, [put.splice]).replace('"devsh-memory": {}', '"devsh-memory": {},\n    "later": {}')
    assert json.loads(spliced(used, [taken_member(used, KEYS, put.made)])) == {"a": 1, "mcpServers": {"later": {}}}
    put = put_element(text, RULES, "x")
    used = spliced(text, [put.splice]).replace('"x"', '"x",\n      "y"')
    assert json.loads(spliced(used, [taken_element(used, RULES, "x", put.made)])) == {"a": 1, "permissions": {"allow": ["y"]}}


def test_a_member_is_found_wherever_somebody_moved_it() -> None:
    text = '{"mcpServers": {"a": {}, "devsh-memory": {"x": 1}, "b": {}}, "permissions": {"allow": ["a", "mine", "b"]}}'
    assert spliced(text, [taken_member(text, KEYS, 1)]) == text.replace(', "devsh-memory": {"x": 1}', "")
    assert spliced(text, [taken_element(text, RULES, "mine", 2)]) == text.replace(', "mine"', "")
    assert spliced(text, [replaced(text, KEYS, 3)]) == text.replace('{"x": 1}', "3")


@pytest.mark.parametrize(
    ("text", "why"),
    [('{"a": 1,}', "line 1"), ("[]", "not an object"), ("{", "line 1"), ("{'a': 1}", "line 1"), ("[" * 100_000, "deeply")],
)
def test_what_is_no_document_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 1, 2, 4, "\t"]), st.booleans())
def test_any_document_comes_back_to_the_byte(document: dict[str, object], indent: int | str | None, ascii_only: bool) -> None:
    if not isinstance(document.get("mcpServers", {}), dict):
        return
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    put = put_member(text, KEYS, ENTRY)
    after = spliced(text, [put.splice])
    assert json.loads(after) == {**document, "mcpServers": {**document.get("mcpServers", {}), "devsh-memory": ENTRY}}  # type: ignore[dict-item]
    assert spliced(after, [taken_member(after, KEYS, put.made)]) == text
