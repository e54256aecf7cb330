"""What an agent may do unasked beside editing its checkout: to commit, and to run a project's own tests. The same for all agents."""

import os
import re
import shlex
import typing

COMMANDS = (
    "git add", "git commit",
    "npm test", "npm run test", "yarn test", "pnpm test", "npx vitest", "npx jest", "pytest", "python -m pytest", "python3 -m pytest",
    "python -m unittest", "python3 -m unittest", "uv run pytest", "tox", "go test", "go vet", "cargo test", "cargo check", "make test",
    "make check", "just test", "just check", "mvn test", "gradle test", "./gradlew test", "dotnet test", "bundle exec rspec", "mix test",
)  # fmt: skip
_WORDS = tuple(tuple(command.split()) for command in COMMANDS)
_OPERATOR = re.compile(r"[();<>|&]+")
_EXPANDED = ("`", "$(", "${", "$'", '$"', "\n", "\r")  # what is run or read where nobody looks for a command


def is_permitted(line: str) -> bool:
    """Whether it is nothing but such commands, one after the other."""
    if any(sign in line for sign in _EXPANDED):
        return False
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters = ""  # of what it takes for a comment, as in a#b, a shell runs the rest
    try:
        words = list(lexer)
    except ValueError:
        return False
    parts: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", ";"):
            parts.append([])
        elif _OPERATOR.fullmatch(word):
            return False
        else:
            parts[-1].append(word)
    return all(any(tuple(part[: len(known)]) == known for known in _WORDS) for part in parts)


def is_inside(paths: typing.Sequence[str], workspace: str) -> bool:
    """Whether all of them lie in the checkout, as far as their names tell; what a link leads to is not looked at."""
    absolute = (os.path.normpath(os.path.join(workspace, path)) for path in paths)
    return all(path == workspace or path.startswith(f"{workspace}/") for path in absolute)
