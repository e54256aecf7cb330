"""What of a caller's environment goes on to agents, and who he is."""

from pathlib import Path

import pytest

from devsh_memory_mcp.config import Caller, identity_of, memory_root
from devsh_memory_mcp.errors import MemoryRootUnusable
from devsh_memory_mcp.shim.address import has_secret, without_secrets


def handed_on(**environment: str) -> dict[str, str]:
    return Caller(Path("/"), environment).handed_on()


def test_only_what_is_on_the_list_goes_on() -> None:
    assert handed_on(PATH="/bin", LANG="C", IS_SANDBOX="1", AWS_SECRET_ACCESS_KEY="hush", NO_PROXY="localhost,.example.org") == {
        "PATH": "/bin", "LANG": "C", "IS_SANDBOX": "1", "NO_PROXY": "localhost,.example.org",
    }  # fmt: skip


def test_the_project_is_the_next_repository_above_and_an_empty_directory_named_git_is_none(tmp_path: Path) -> None:
    here = tmp_path / "project/a/b"
    (here / ".git").mkdir(parents=True)
    (tmp_path / "project/.git").mkdir()
    (tmp_path / "project/.git/HEAD").write_text("ref: refs/heads/main\n")
    assert Caller(here, {}).project == str(tmp_path / "project")
    (tmp_path / "project/a/.git").write_text("gitdir: /elsewhere\n")
    assert Caller(here, {}).project == str(tmp_path / "project/a"), "a worktree's"


@pytest.mark.parametrize("value", ["http://proxy.example.org:3128", "https://[::1]:3128/", "socks5://10.0.0.1:1080"])
def test_a_plain_url_of_a_proxy_or_an_index_goes_on(value: str) -> None:
    assert handed_on(https_proxy=value, PIP_INDEX_URL=value) == {"https_proxy": value, "PIP_INDEX_URL": value}


@pytest.mark.parametrize(
    "value",
    [
        "http://user:hush@example.org:3128",
        "http://hush@example.org:3128",
        "user:hush@proxy:3128",
        "proxy:3128",
        "https://index.example.org/simple?token=hush",
        "https://index.example.org/simple#hush",
        "http:" + "//user:a/hush@example.org",
        "http:" + "//[example.org",
        "http://example.org:port",
        "",
    ],
)
def test_what_may_hold_a_secret_stays_with_the_caller(value: str) -> None:
    assert handed_on(HTTPS_PROXY=value, all_proxy=value, UV_INDEX_URL=value, NPM_CONFIG_REGISTRY=value) == {}


@pytest.mark.parametrize(
    ("environment", "identity"),
    [
        ({}, "head"),
        ({"CMUX_TASK_RUN_ID": ""}, "head"),
        ({"CMUX_TASK_RUN_ID": "tr_1"}, "tr_1"),
        ({"CMUX_TASK_RUN_ID": "tr_1", "CMUX_IS_ORCHESTRATION_HEAD": "0"}, "tr_1"),
        ({"CMUX_TASK_RUN_ID": "tr_1", "CMUX_IS_ORCHESTRATION_HEAD": "1"}, "head"),
        ({"DEVSH_RUN": "tr_1.1"}, "head"),
    ],
)
def test_an_agent_is_whoever_has_a_task_run_and_leads_nobody(environment: dict[str, str], identity: str) -> None:
    assert identity_of(environment) == identity


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/a.git",
        "ssh://git@example.org:22/a",
        "git@example.org:a/b.git",
        "owner/repo",
        "file:///a@b?c",
        "https://[::1]:8/a",
    ],
)
def test_a_plain_address_holds_no_secret_and_is_shown_as_it_is(address: str) -> None:
    assert not has_secret(address)
    assert without_secrets(address) == address or address.startswith(("ssh:", "file:"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fatal: cannot read 'https://user:hush@example.org/a'", "fatal: cannot read 'https://…@example.org/a'"),
        ("HTTPS://hush@example.org/a and ssh://a:hush@example.org", "HTTPS://…@example.org/a and ssh://…@example.org"),
        ("user:hush@host:a", "…@host:a"),
        ("https://example.org/a?token=hush b", "https://example.org/a?… b"),
    ],
)
def test_secrets_are_not_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_inside_of_an_agents_sandbox_there_is_no_memory_root_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(MemoryRootUnusable, match="in the sandbox of an agent") as refused:
        memory_root(str(tmp_path / "new"), {"DEVSH_ISOLATION": "bubblewrap"})
    assert "--sandbox none" in refused.value.next_step
    assert not (tmp_path / "new").exists()
