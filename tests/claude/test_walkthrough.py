"""The walkthrough in `docs/`, typed at a terminal as it stands there."""

import json
from pathlib import Path

from tests.claude import shop
from tests.claude.console import Console
from tests.claude.page import difference, steps
from tests.doubles.model_api import ModelApi
from tests.examples.conftest import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough.md"
ANSWERS = {"devsh setup claude": ("[Y/n]: ", "y\n"), "devsh orchestrate open": ("❯", "\x04\x04")}


class Reader:
    """Somebody who does what the page says, at the moments that it speaks of."""

    def __init__(self, typist: Terminal, api: ModelApi, home: Path, place: Path) -> None:
        self._typist, self._api, self._place = typist, api, place
        self._settings = home / ".claude.json"
        self._settings.write_text('{\n  "hasCompletedOnboarding": true,\n  "customApiKeyResponses": {"approved": ["sk-test"]}\n}\n')

    def before(self, typed: str) -> None:
        if typed == "devsh orchestrate status\n":
            for name in ("tax", "discount"):
                self._api.await_turn(f"Write {name}.py", 2)
        if typed.startswith("devsh orchestrate open"):
            self._trust_checkout()

    def after(self, typed: str) -> None:
        if typed.startswith("devsh orchestrate message"):
            self._api.open("told")

    def _trust_checkout(self) -> None:
        """Claude's question is answered already: it heeds no key in its first moment, and nothing shows when that is over."""
        told = self._typist.run(f"cd {self._place}/shop && devsh orchestrate open thanks --json")
        settings = json.loads(self._settings.read_text())
        settings.setdefault("projects", {})[json.loads(told.out)["directory"]] = {"hasTrustDialogAccepted": True}
        self._settings.write_text(json.dumps(settings, indent=2))


def test_every_command_runs_and_shows_what_the_page_shows(typist: Terminal, model_api: ModelApi, tmp_path: Path, claude_home: Path) -> None:
    shop.hand_out(model_api)
    shop.lead(model_api)
    reader = Reader(typist, model_api, claude_home, tmp_path)
    variables = {"CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1", "GIT_PAGER": "cat"}
    with Console(tmp_path, typist.environment | variables) as console:
        for typed, shown in steps(PAGE.read_text(encoding="utf-8")):
            reader.before(typed)
            code, seen = console.type(typed, *(answer for command, answer in ANSWERS.items() if typed.startswith(command)))
            reader.after(typed)
            assert code == 0, f"{typed}\n{seen}"
            assert shown is None or difference(shown, seen) is None, f"{typed}\n{difference(shown, seen)}\n{seen}"
