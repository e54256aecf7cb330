"""What a Seatbelt profile allows, by reading it: a small part of its language, and no kernel. The last rule that fits decides."""

import fnmatch
import re
import typing

from devsh_memory_mcp.shim.seatbelt import Profile

Form = typing.Any  # a word, or a list of forms
_TOKEN = re.compile(r'\s*(?:([()])|#?"((?:[^"\\]|\\.)*)"|([^\s()"]+))')


class Rule(typing.NamedTuple):
    allows: bool
    operations: list[str]
    filters: list[Form]


class Evaluator:
    """`by_name`: a rule that has an operation's own name is above those that have it in a wildcard, wherever they stand."""

    def __init__(self, profile: Profile, *, by_name: bool = False) -> None:
        self._parameters = profile.parameters
        self._by_name = by_name
        version, *forms = _forms(profile.text)
        assert version == ["version", "1"]
        assert all(word in ("allow", "deny") for word, *_ in forms)
        self.rules = [
            Rule(word == "allow", [each for each in rest if isinstance(each, str)], [each for each in rest if not isinstance(each, str)])
            for word, *rest in forms
        ]

    def may(self, operation: str, path: str = "", **subject: str) -> bool:
        """`subject` has by the name of a filter what that is compared with."""
        about = {"literal": path, "path-literal": path, **subject}
        fits = [rule for rule in self.rules if not rule.filters or any(self._fits(each, about) for each in rule.filters)]
        named = [rule for rule in fits if operation in rule.operations]
        wild = [rule for rule in fits if any(each == "default" or fnmatch.fnmatchcase(operation, each) for each in rule.operations)]
        return (named if named and self._by_name else wild)[-1].allows

    def reads(self, path: str) -> bool:
        return self.may("file-read-data", path)

    def writes(self, path: str) -> bool:
        return any(self.may(f"file-write-{how}", path) for how in ("data", "create", "mode"))

    def _fits(self, form: Form, about: typing.Mapping[str, str]) -> bool:
        kind, first, *rest = form
        if kind == "require-all":
            return all(self._fits(each, about) for each in (first, *rest))
        if kind in ("remote", "local") and first == "ip":
            return fnmatch.fnmatchcase(about.get(kind, ""), rest[0])
        if kind in ("remote", "local"):
            return "socket" in about and self._fits(rest[0], {"literal": about["socket"], "path-literal": about["socket"]})
        value = first if isinstance(first, str) else self._parameters[first[1]]
        if kind == "subpath":
            return f"{about['literal']}/".startswith(f"{value}/")
        if kind == "regex":
            return re.search(value, about["literal"]) is not None
        if kind == "sysctl-name-prefix":
            return about.get("sysctl-name", "").startswith(value)
        return about.get(kind) == value


def _forms(text: str) -> list[Form]:
    stack: list[list[Form]] = [[]]
    at = 0
    while match := _TOKEN.match(text, at):
        at = match.end()
        if match[1] == "(":
            stack.append([])
        elif match[1] == ")":
            stack[-2].append(stack.pop())
        else:
            stack[-1].append(match[3] or match[2])
    assert len(stack) == 1, "a parenthesis is open"
    assert not text[at:].strip(), text[at:]
    return stack[0]
