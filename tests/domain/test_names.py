"""Ids and branch names."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.domain.names import branch_name, checked_id, new_orchestration_id, new_task_id, new_task_run_id
from devsh_memory_mcp.errors import InvalidId
from tests.doubles.chance import counting


def test_a_branch_is_named_after_its_prompt_and_its_task() -> None:
    assert branch_name("dev/", "Fix the login — please!", "nsabcdefghij") == "dev/fix-the-login-please-fghij"
    assert branch_name("dev/", "修正", "nsabcdefghij") == "dev/feature-update-fghij"


@given(st.text(max_size=300), st.sampled_from(["dev/", "devsh/", "a-very-long-prefix/of-a-team/"]))
def test_every_prompt_gives_a_name_that_git_takes(prompt: str, prefix: str) -> None:
    name = branch_name(prefix, prompt, "nsabcdefghij")
    assert len(name) <= 60
    assert name.startswith(prefix)
    assert name.endswith("-fghij")
    assert ".." not in name
    assert "//" not in name


@pytest.mark.parametrize("prompt", ["", "-", "a.lock", "../../etc", "HEAD", "@{"])
def test_git_itself_agrees(prompt: str) -> None:
    name = branch_name("dev/", prompt, "nsabcdefghij")
    subprocess.run(["git", "check-ref-format", "--branch", name], check=True, capture_output=True)


def test_new_ids_are_ids() -> None:
    choose = counting()
    for make in (new_orchestration_id, new_task_id, new_task_run_id):
        assert checked_id(make(choose)) != checked_id(make(choose))


@pytest.mark.parametrize("text", ["", "..", "a/b", "-a", "a" * 65, "a\n", "ä", "a b"])
def test_nothing_else_is_an_id(text: str) -> None:
    with pytest.raises(InvalidId):
        checked_id(text)
