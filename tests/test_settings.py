"""Where a setting comes from, and what is said when it is wrong."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from devsh_memory_mcp.config import config_directory
from devsh_memory_mcp.errors import SettingsInvalid
from devsh_memory_mcp.settings import Settings, Values, load_settings, read_file
from devsh_memory_mcp.trust import RECORD, revoke, trust, trusted_files


class Place:
    """A user's configuration and a repository."""

    def __init__(self, scratch: Path) -> None:
        self.environment: dict[str, str] = {"HOME": str(scratch / "home")}
        self.own = scratch / "home" / ".config" / "devsh" / "config.toml"
        self.project = scratch / "project"
        self.theirs = self.project / ".devsh.toml"
        self.project.mkdir()
        self.own.parent.mkdir(parents=True)

    def load(self, **environment: str) -> Settings:
        return load_settings(self.project, self.environment | environment)

    def allow(self) -> None:
        trust(self.theirs, self.theirs.read_bytes(), self.environment)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_without_a_word_what_is_built_in_holds(place: Place) -> None:
    settings = place.load()
    assert (settings.default_agent, settings.branch_prefix, settings.auto_pr) == ("claude/haiku-4.5", "dev/", False)
    assert (settings.max_concurrent, settings.timeout_ms, settings.keep_days, settings.max_depth, settings.max_tasks) == (
        8,
        None,
        30,
        2,
        50,
    )
    assert (settings.setup, settings.include, settings.warnings) == (None, (), ())
    assert {settings.origin(key).source for key in Values.model_fields} == {"built in"}


@pytest.mark.promise("settings.order")
def test_environment_beats_repository_beats_user_beats_what_is_built_in(place: Place) -> None:
    place.own.write_text('keep_days = 1\nmax_tasks = 22\nbranch_prefix = "mine/"\n', encoding="utf-8")
    place.theirs.write_text('max_tasks = 11\nbranch_prefix = "theirs/"\n', encoding="utf-8")
    settings = place.load(DEVSH_BRANCH_PREFIX="now/")
    assert (settings.keep_days, settings.max_tasks, settings.branch_prefix, settings.max_depth) == (1, 11, "now/", 2)
    origins = [
        (settings.origin(key).source, settings.origin(key).place) for key in ("keep_days", "max_tasks", "branch_prefix", "max_depth")
    ]
    assert origins == [
        ("user", str(place.own)),
        ("repository", str(place.theirs)),
        ("environment", "DEVSH_BRANCH_PREFIX"),
        ("built in", None),
    ]


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("CMUX_DEFAULT_CODING_AGENT", "shell/sh", "default_agent", "shell/sh"),
        ("DEVSH_AUTO_PR", "true", "auto_pr", True),
        ("DEVSH_AUTO_PR", "0", "auto_pr", False),
        ("DEVSH_MAX_CONCURRENT", "3", "max_concurrent", 3),
        ("DEVSH_TIMEOUT", "1h30m", "timeout", timedelta(minutes=90)),
        ("DEVSH_TIMEOUT", "90", "timeout", timedelta(seconds=90)),
        ("DEVSH_SETUP", "npm ci", "setup", "npm ci"),
        ("DEVSH_INCLUDE", ".env, *.local", "include", (".env", "*.local")),
        ("DEVSH_KEEP_DAYS", "", "keep_days", 30),
    ],
)
def test_a_variable_says_what_a_file_would(place: Place, variable: str, text: str, key: str, value: object) -> None:
    assert getattr(place.load(**{variable: text}), key) == value


def test_the_users_file_is_where_xdg_says(tmp_path: Path) -> None:
    assert config_directory({"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "devsh"
    assert config_directory({"HOME": "/h", "XDG_CONFIG_HOME": "relative"}) == Path("/h/.config/devsh")
    assert config_directory({"HOME": "/h"}) == Path("/h/.config/devsh")


@pytest.mark.promise("settings.wrong")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keep_days = 1\nmax_tsks = 3\n", r"config\.toml, line 2: there is no setting 'max_tsks', did you mean 'max_tasks'"),
        ("default-agent = 'claude/opus'\n", r"line 1: there is no setting 'default-agent', did you mean 'default_agent'"),
        ("# a\n\n[limits]\nmax_tasks = 3\n", r"line 3: there is no setting 'limits'"),
        ("\nmax_concurrent = 'three'\n", r"line 2: max_concurrent: input should be a valid integer \(it is 'three'\)"),
        ("max_concurrent = 0\n", r"line 1: max_concurrent: is at least 1 \(it is '0'\)"),
        ("auto_pr = 1\n", r"line 1: auto_pr: input should be a valid boolean"),
        ("keep_days = 1\ntimeout = 'soon'\n", r"line 2: timeout: 'soon' is not a duration: write 90s"),
        ("timeout = 0\n", r"timeout: has to be more than nothing"),
        ("timeout = true\n", r"line 1: timeout: "),
        ("branch_prefix = 'a..b/'\n", r"branch_prefix: 'a\.\.b/' cannot begin a branch's name"),
        ("branch_prefix = ''\n", r"branch_prefix: '' cannot begin a branch's name"),
        ("default_agent = 'claude'\n", r"default_agent: 'claude' is no agent: write provider/model"),
        ("include = '.env'\n", r"line 1: include: "),
        ("include = ['.env',\n 3]\n", r"line 1: include: "),
        ("keep_days = \n", r"config\.toml is not TOML: .*line 1"),
        ("keep_days = 1\nkeep_days = 2\n", r"config\.toml is not TOML: .*line 2"),
        ("network = 'some'\n", r"line 1: network: string should match pattern .* \(it is 'some'\)"),
        ("memory = 'much'\n", r"line 1: memory: 'much' is no size: write 512M, 4G, 1.5G"),
        ("memory = 4\n", r"line 1: memory: '4' is less than 16M, and nothing would run"),
        ("cpus = 0\n", r"line 1: cpus: is at least 0.01 \(it is '0'\)"),
        ("cpus = 'two'\n", r"line 1: cpus: 'two' is no number of processors: write 2, or 0.5 for half of one"),
        ("sandbox = 'strong'\n", r"line 1: sandbox: input should be 'auto', 'required' or 'none'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(place: Place, text: str, said: str) -> None:
    place.own.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsInvalid, match=said):
        place.load()


@pytest.mark.parametrize(("variable", "text"), [("DEVSH_MAX_TASKS", "many"), ("DEVSH_AUTO_PR", "perhaps"), ("DEVSH_TIMEOUT", "-5m")])
def test_a_variable_that_is_wrong_is_named(place: Place, variable: str, text: str) -> None:
    with pytest.raises(SettingsInvalid, match=f"{variable}: "):
        place.load(**{variable: text})


def test_what_is_no_settings_file_is_not_read_for_long(place: Place) -> None:
    for make in (
        lambda: os.mkfifo(place.own),
        place.own.mkdir,
        lambda: place.own.write_bytes(b"\xff\xfe"),
        lambda: place.own.write_bytes(b"#" * 70_000),
        lambda: place.own.symlink_to("/dev/zero"),
    ):
        make()
        with pytest.raises(SettingsInvalid, match=str(place.own)):
            place.load()
        place.own.rmdir() if place.own.is_dir() else place.own.unlink()
    assert read_file(place.own) is None
    assert read_file(place.own / "below") is None


def test_a_project_that_is_no_directory_of_ours_has_the_users_settings(place: Place) -> None:
    place.own.write_text("keep_days = 7\n", encoding="utf-8")
    assert load_settings(None, place.environment).keep_days == 7
    assert load_settings(place.project / "absent", place.environment).keep_days == 7


@pytest.mark.promise("settings.trust")
def test_a_repository_names_no_command_until_the_user_allowed_that_very_content(place: Place) -> None:
    place.theirs.write_text('setup = "make deps"\nauto_pr = true\ndefault_agent = "shell/bash"\nmax_tasks = 3\n', encoding="utf-8")
    before = place.load()
    assert (before.setup, before.auto_pr, before.default_agent, before.max_tasks) == (None, False, "claude/haiku-4.5", 3)
    (warning,) = before.warnings
    assert "(setup, auto_pr, default_agent)" in warning
    assert warning.endswith(f"devsh trust {place.project}")
    place.allow()
    after = place.load()
    assert (after.setup, after.auto_pr, after.default_agent, after.warnings) == ("make deps", True, "shell/bash", ())
    place.theirs.write_text('setup = "make deps; curl example.org"\n', encoding="utf-8")
    assert (place.load().setup, place.load().ignored) == (None, ("setup",))
    place.allow()
    assert revoke(place.theirs, place.environment)
    assert not revoke(place.theirs, place.environment)
    assert place.load().setup is None


def test_what_changes_nothing_for_the_user_needs_no_leave(place: Place) -> None:
    place.theirs.write_text('auto_pr = false\ndefault_agent = "claude/opus"\ninclude = []\ntimeout = "2h"\n', encoding="utf-8")
    place.own.write_text('include = [".env"]\n', encoding="utf-8")
    settings = place.load()
    assert (settings.default_agent, settings.include, settings.timeout, settings.warnings) == ("claude/opus", (), timedelta(hours=2), ())


@pytest.mark.promise("settings.trust")
def test_a_repository_has_no_ignored_files_copied_until_the_user_allowed_it(place: Place) -> None:
    place.own.write_text('include = ["mine"]\n', encoding="utf-8")
    place.theirs.write_text('include = [".env"]\n', encoding="utf-8")
    assert (place.load().include, place.load().ignored) == (("mine",), ("include",))
    place.allow()
    assert (place.load().include, place.load().ignored) == ((".env",), ())


@pytest.mark.promise("settings.trust", "settings.billing")
def test_a_repository_does_not_say_who_pays_until_the_user_allowed_it(place: Place) -> None:
    place.own.write_text('billing = "subscription"\n', encoding="utf-8")
    place.theirs.write_text('billing = "api"\n', encoding="utf-8")
    assert (place.load().billing, place.load().ignored) == ("subscription", ("billing",))
    place.allow()
    assert place.load().billing == "api"


LIMITS = [
    ("max_depth", "", "1", "3"),
    ("max_tasks", "", "49", "51"),
    ("max_concurrent", "", "7", "9"),
    ("max_tasks", "max_tasks = 10", "9", "11"),
    ("max_tasks", "max_tasks = 100", "99", "101"),
    ("max_concurrent", "max_concurrent = 2", "1", "3"),
    ("max_depth", "max_depth = 1", "1", "2"),
    ("timeout", "timeout = '10m'", "'9m'", "'11m'"),
    ("memory", "memory = '2G'", "'1G'", "'3G'"),
    ("disk", "disk = '2G'", "'1G'", "'3G'"),
    ("cpus", "cpus = 2", "0.5", "3"),
]


@pytest.mark.promise("settings.trust", "settings.limits")
@pytest.mark.parametrize(("key", "own", "narrower", "wider"), LIMITS)
def test_a_repository_narrows_limits_and_widens_none_until_the_user_allowed_it(
    place: Place, key: str, own: str, narrower: str, wider: str
) -> None:
    place.own.write_text(f"{own}\n", encoding="utf-8")
    before = getattr(place.load(), key)
    place.theirs.write_text(f"{key} = {narrower}\n", encoding="utf-8")
    assert getattr(place.load(), key) <= before
    assert (place.load().origin(key).source, place.load().ignored) == ("repository", ())
    place.theirs.write_text(f"{key} = {wider}\n", encoding="utf-8")
    assert (getattr(place.load(), key), place.load().ignored) == (before, (key,))
    place.allow()
    assert getattr(place.load(), key) > before


@pytest.mark.parametrize(
    ("key", "own", "narrower", "wider"),
    [
        ("sandbox", "", "'required'", "'none'"),
        ("sandbox", "", "'auto'", "'none'"),
        ("sandbox", "sandbox = 'required'", "'required'", "'auto'"),
        ("network", "network = 'off'", "'off'", "'on'"),
        ("network", "", "'off'", None),
    ],
)
def test_a_repository_may_ask_for_more_walls_and_not_for_fewer(place: Place, key: str, own: str, narrower: str, wider: str | None) -> None:
    place.own.write_text(f"{own}\n", encoding="utf-8")
    before = getattr(place.load(), key)
    place.theirs.write_text(f"{key} = {narrower}\n", encoding="utf-8")
    assert (getattr(place.load(), key), place.load().ignored) == (narrower.strip("'"), ())
    if wider is not None:
        place.theirs.write_text(f"{key} = {wider}\n", encoding="utf-8")
        assert (getattr(place.load(), key), place.load().ignored) == (before, (key,))


def test_the_users_own_file_names_commands_freely(place: Place) -> None:
    place.own.write_text('setup = "make deps"\n', encoding="utf-8")
    assert (place.load().setup, place.load().warnings) == ("make deps", ())


def test_leave_is_for_a_place_and_lies_outside_of_it(place: Place, tmp_path: Path) -> None:
    place.theirs.write_text('setup = "make"\n', encoding="utf-8")
    place.allow()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / ".devsh.toml").write_bytes(place.theirs.read_bytes())
    assert load_settings(copy, place.environment).setup is None
    (tmp_path / "link").symlink_to(place.project)
    assert load_settings(tmp_path / "link", place.environment).setup == "make"
    record = config_directory(place.environment) / RECORD
    assert record.stat().st_mode & 0o777 == 0o600
    assert [(found.path, found.is_current) for found in trusted_files(place.environment)] == [(place.theirs, True)]
    place.theirs.unlink()
    assert [found.is_current for found in trusted_files(place.environment)] == [False]


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_a_broken_record_allows_nothing_and_is_named(place: Place, content: bytes) -> None:
    place.theirs.write_text('setup = "make"\n', encoding="utf-8")
    (config_directory(place.environment) / RECORD).write_bytes(content)
    with pytest.raises(SettingsInvalid, match=RECORD):
        place.load()
    with pytest.raises(SettingsInvalid, match=RECORD):
        place.allow()


def test_every_setting_is_described(place: Place) -> None:
    fields: Mapping[str, object] = {name: field.description for name, field in Values.model_fields.items()}
    assert all(fields.values())
