"""Names for what is saved, where git says no."""

from typing import NamedTuple

import pytest

from devsh_memory_mcp.shim import publication
from devsh_memory_mcp.shim.process import CommandFailed


class Refusing(NamedTuple):
    """A git that makes no ref which is there, as one does that another git was quicker than."""

    there: dict[str, str]
    notes: list[str]

    def set_ref(self, _ref: str, *words: str) -> None:
        _, _, ref = words[-1].partition(":")
        if ref in self.there:
            raise CommandFailed(f"cannot lock ref '{ref}'")

    def find_user(self, *words: str) -> str | None:
        return self.there.get(words[-1])

    def note(self, text: str) -> None:
        self.notes.append(text)

    own_directory = "git"


@pytest.mark.parametrize(("at", "name"), [("tip", "refs/devsh/salvage/tr_1/1"), ("other", "refs/devsh/salvage/tr_1/1-2")])
def test_a_salvage_ref_that_somebody_else_has_just_made_is_its_own_where_it_is_at_the_same_commit(at: str, name: str) -> None:
    git = Refusing({"refs/devsh/salvage/tr_1/1": at}, [])
    assert publication.salvage(git, "tip", "refs/devsh/salvage/tr_1/1") == name  # type: ignore[arg-type]
    assert len(git.notes) == (at == "tip")
