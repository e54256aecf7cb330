"""`devsh skill install`: the skill is copied to where agents look, and nothing is written over."""

import pytest

from devsh_memory_mcp.clients.skill import skill_source
from tests.doubles.user import User

NAME = "devsh-orchestrator"


@pytest.mark.promise("skill.install")
@pytest.mark.parametrize("project", [[], ["--project"]], ids=["user", "project"])
def test_it_is_copied_once_and_removed_without_a_trace(user: User, project: list[str]) -> None:
    before = user.files()
    assert user.types("skill", "install", "--yes", *project).code == 0
    place = (user.project if project else user.home) / ".claude/skills" / NAME
    assert (place / "SKILL.md").read_bytes() == (skill_source() / "SKILL.md").read_bytes()
    once = user.files()
    again = user.types("skill", "install", *project)
    assert ("There is nothing to do." in again.out, user.files()) == (True, once)
    assert user.types("skill", "install", "--yes", "--remove", *project).code == 0
    assert user.files() == before


@pytest.mark.promise("skill.install")
def test_repeating_it_plants_nothing_inside_the_skill(user: User) -> None:
    for _ in range(2):
        user.types("skill", "install", "--project", "--yes")
    directory = user.project / ".agents/skills" / NAME
    assert [path.name for path in directory.iterdir()] == ["SKILL.md"]
    assert (user.project / ".claude/skills" / NAME).is_symlink()


def test_skills_that_are_linked_as_a_whole_need_no_link_of_ours(user: User) -> None:
    (user.project / ".agents/skills").mkdir(parents=True)
    (user.project / ".claude").mkdir()
    (user.project / ".claude/skills").symlink_to("../.agents/skills")
    assert user.types("skill", "install", "--project", "--yes").code == 0
    assert not (user.project / ".agents/skills" / NAME / NAME).exists()
    assert not (user.project / ".agents/skills" / NAME).is_symlink()


@pytest.mark.parametrize("there", ["another text", None])
def test_what_somebody_else_put_there_stays_and_is_named(user: User, there: str | None) -> None:
    if there is not None:
        user.writes(f".claude/skills/{NAME}/SKILL.md", there)
    else:
        (user.home / ".claude/skills").mkdir(parents=True)
        (user.home / f".claude/skills/{NAME}").write_text("a file", encoding="utf-8")
    before = user.files()
    said = user.types("skill", "install", "--yes")
    assert (said.code != 0, user.files()) == (True, before)
    assert f".claude/skills/{NAME}" in said.err


def test_a_link_elsewhere_stays_and_is_named(user: User) -> None:
    (user.project / ".claude/skills").mkdir(parents=True)
    (user.project / ".claude/skills" / NAME).symlink_to("/elsewhere")
    before = user.files()
    said = user.types("skill", "install", "--project", "--yes")
    assert (said.code, user.files()) == (5, before)


def test_a_skill_of_somebody_else_does_not_keep_the_server_out(user: User) -> None:
    user.writes(f".claude/skills/{NAME}/SKILL.md", "another text")
    said = user.types("setup", "claude", "--yes")
    assert (said.code, (user.home / ".claude.json").exists()) == (0, True)
    assert "The skill is left out" in said.err


def test_an_older_copy_of_ours_is_brought_up_to_date_and_a_changed_one_is_not(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    older = user.home / "older"
    older.mkdir()
    (older / "SKILL.md").write_text("older", encoding="utf-8")
    (older / "gone.md").write_text("gone", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("devsh_memory_mcp.cli.setup.skill_source", lambda: older)
        user.types("skill", "install", "--yes")
    place = user.home / ".claude/skills" / NAME
    assert user.types("skill", "install", "--yes").code == 0
    assert (place / "SKILL.md").read_bytes() == (skill_source() / "SKILL.md").read_bytes()
    (place / "SKILL.md").write_text("mine", encoding="utf-8")
    said = user.types("skill", "install", "--yes", "--remove")
    assert "was changed since, so it stays" in said.err
    assert [path.name for path in place.iterdir()] == ["SKILL.md"]


def test_what_the_skill_command_put_there_setup_does_not_take_away(user: User) -> None:
    user.types("skill", "install", "--yes")
    before = user.files()
    user.types("setup", "claude", "--yes")
    user.types("setup", "claude", "--yes", "--remove")
    assert user.files() == before
