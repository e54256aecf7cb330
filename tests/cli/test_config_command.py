"""`devsh config` and `devsh trust`, as they are typed."""

import json
import tomllib
from pathlib import Path

import pytest

from devsh_memory_mcp.settings import Values
from tests.doubles.user import User


@pytest.fixture
def user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> User:
    return User(tmp_path, capsys)


@pytest.mark.promise("settings.config")
def test_each_value_is_shown_with_the_place_that_says_it(user: User) -> None:
    own = user.writes(".config/devsh/config.toml", "keep_days = 3\n")
    (user.project / ".devsh.toml").write_text('timeout = "90m"\n', encoding="utf-8")
    said = user.types("config", DEVSH_MAX_TASKS="7")
    lines = {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if line[:1] != " "}
    assert set(lines) == set(Values.model_fields)
    assert lines["keep_days"] == ["3", *str(own).split()]
    assert lines["timeout"] == ["1h30m", f"{user.project}/.devsh.toml"]
    assert (lines["max_tasks"], lines["auto_pr"]) == (["7", "DEVSH_MAX_TASKS"], ["false", "built", "in"])
    found = json.loads(user.types("config", "--json").out)["settings"]
    assert (found["timeout"]["value"], found["timeout"]["source"], found["include"]["value"]) == ("1h30m", "repository", [])


@pytest.mark.promise("settings.config")
def test_one_value_is_printed_alone(user: User) -> None:
    assert user.types("config", "get", "max_depth").out == "2\n"
    assert user.types("config", "get", "timeout").out == ""
    assert user.types("config", "get", "memory", DEVSH_MEMORY="1.5g").out == "1536M\n"
    assert user.types("config", "get", "disk", DEVSH_DISK="20g").out == "20G\n"
    assert user.types("config", "get", "include", DEVSH_INCLUDE=".env,*.local").out == ".env\n*.local\n"
    assert json.loads(user.types("config", "get", "auto_pr", "--json").out)["value"] is False
    said = user.types("config", "get", "max_dept")
    assert (said.code, "did you mean 'max_depth'?" in said.err) == (2, True)


@pytest.mark.promise("settings.config")
@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ("", ("timeout", "30m"), 'timeout = "30m"\n'),
        ("keep_days = 1", ("timeout", "30m"), 'keep_days = 1\ntimeout = "30m"\n'),
        ("# mine\nkeep_days=1# short\nmax_tasks = 3\n", ("keep_days", "9"), "# mine\nkeep_days=9# short\nmax_tasks = 3\n"),
        ("setup = 'a # b'  # c\n", ("setup", 'echo "x" # y'), 'setup = "echo \\"x\\" # y"  # c\n'),
        ("", ("memory", "4G"), 'memory = "4G"\n'),
        ("cpus = 1.5\n", ("cpus", "2"), "cpus = 2\n"),
        ('"auto_pr" = false\n', ("auto_pr", "true"), '"auto_pr" = true\n'),
        ('include = [".env"] # all\n', ("include", "a b", "*.c"), 'include = ["a b", "*.c"] # all\n'),
    ],
)
def test_a_value_is_written_into_its_line_and_all_else_stays(user: User, before: str, words: tuple[str, ...], after: str) -> None:
    path = user.writes(".config/devsh/config.toml", before, 0o640)
    said = user.types("config", "set", *words)
    assert (said.code, path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777) == (0, after, 0o640)
    assert words[0] in tomllib.loads(after)


@pytest.mark.parametrize(
    ("before", "words", "why"),
    [
        ("include = [\n  '.env',\n]\n", ("include", "x"), "include is written over several lines"),
        ("keep_days = \n", ("keep_days", "3"), "is not TOML"),
        ("keep_day = 1\n", ("keep_days", "3"), "there is no setting 'keep_day'"),
        ("", ("keep_days", "many"), "config set: keep_days: input should be a valid integer"),
        ("", ("keep_days", "1", "2"), "keep_days takes one value; these are 2"),
        ("", ("network", "some"), "should match pattern '^(on|off|allow:.+)$'"),
    ],
)
def test_what_cannot_be_written_safely_is_refused_and_the_file_stays(user: User, before: str, words: tuple[str, ...], why: str) -> None:
    path = user.writes(".config/devsh/config.toml", before)
    said = user.types("config", "set", *words)
    assert (said.code, path.read_text(encoding="utf-8")) == (2, before)
    assert why in said.err


def test_a_value_that_does_not_hold_here_says_what_does(user: User) -> None:
    (user.project / ".devsh.toml").write_text("keep_days = 2\n", encoding="utf-8")
    said = user.types("config", "set", "keep_days", "9")
    assert f"here {user.project}/.devsh.toml comes before it and says 2" in said.err


@pytest.mark.promise("settings.trust")
def test_trust_shows_what_it_allows_lists_and_revokes_it(user: User) -> None:
    file = user.project / ".devsh.toml"
    assert user.types("trust").code == 4
    file.write_text('setup = "make deps"\nkeep_days = 1\n', encoding="utf-8")
    assert "ignored until you allow it: devsh trust" in user.types("config").err
    said = user.types("trust")
    assert ("make deps" in said.out, "keep_days" in said.out, "--yes" in said.err, said.code) == (True, False, True, 2)
    assert user.types("config", "get", "setup").out == "", "nobody was there to agree to it"
    said = user.types("trust", "--yes")
    assert said.out.index("make deps") < said.out.index("It may from now on")
    assert f"devsh trust --revoke {user.project}" in said.out
    assert user.types("config", "get", "setup").out == "make deps\n"
    assert user.types("trust", "--list").out == f"{file}\n"
    file.write_text('setup = "make other"\n', encoding="utf-8")
    assert "changed since" in user.types("trust", "--list").out
    assert user.types("config", "get", "setup").out == ""
    assert json.loads(user.types("trust", str(user.project), "--yes", "--json").out)["allowed"] == {"setup": "make other"}
    assert json.loads(user.types("trust", "--revoke", "--json").out)["revoked"] is True
    assert "was not allowed" in user.types("trust", "--revoke").out
    assert "No repository" in user.types("trust", "--list").out


def test_who_sets_a_repositorys_command_himself_need_not_allow_it_again(user: User) -> None:
    assert user.types("config", "set", "--project", "setup", "make deps").code == 0
    assert user.types("config", "get", "setup").out == "make deps\n"
    file = user.project / ".devsh.toml"
    file.write_text('setup = "curl example.org"\n', encoding="utf-8")
    said = user.types("config", "set", "--project", "keep_days", "3")
    assert "ignored until you allow it" in said.err
    assert user.types("config", "get", "setup").out == ""


@pytest.mark.promise("settings.wrong")
def test_broken_settings_are_told_by_every_command_that_needs_them_and_by_no_other(user: User) -> None:
    user.writes(".config/devsh/config.toml", "max_tasks = 'x'\n")
    assert user.types("config").code == 2
    assert user.types("orchestrate", "list", DEVSH_MEMORY_DIR=str(user.home / "memory")).code == 0


@pytest.mark.promise("settings.wrong")
@pytest.mark.parametrize("text", ["timeout = 'soon'\n", "timeout = '-1'\n", "keep_day = 1\n", "keep_days = \n", "default_agent = 'x'\n"])
def test_an_error_ends_with_one_full_stop_and_speaks_of_nothing_that_was_not_to_be_started(user: User, text: str) -> None:
    user.writes(".config/devsh/config.toml", text)
    said = user.types("config")
    first = said.err.splitlines()[0]
    assert (said.code, first.endswith((".", "?")), ".." in first.replace("...", ""), "tarted" in said.err) == (2, True, False, False)
