"""An agent that wants its code run outside, or its checkout unreadable: nothing of its is executed, its files are saved."""

import os
import pathlib
import subprocess

import pytest

from tests.shim.stage import Repository, Stage

# It knows by its parent's environment whether it runs for the agent or for the shim; HOME is not to be relied on in the latter.
MONITOR = """
cat >"$HOME/evil" <<END
#!/bin/sh
grep -qz '^CMUX_TASK_RUN_ID=' /proc/\\$PPID/environ || echo "\\$0" >>"$HOME/executed"
cat
END
chmod +x "$HOME/evil"
"""
CONFIGURE = """
for key in core.fsmonitor core.sshCommand core.editor core.pager gpg.program diff.external filter.x.clean filter.x.smudge filter.x.process \
    merge.x.driver diff.x.textconv diff.x.command uploadpack.packObjectsHook credential.helper core.alternateRefsCommand; do
    git -C "$1" config $key "$HOME/evil"
done
git -C "$1" config core.hooksPath "$HOME/hooks"
git -C "$1" config filter.x.required true
mkdir -p "$HOME/hooks"
for hook in pre-commit post-checkout post-index-change reference-transaction pre-push post-commit; do
    cp "$HOME/evil" "$HOME/hooks/$hook"
done
"""


def assert_nothing_ran(stage: Stage) -> None:
    executed = stage.root / "executed"
    assert not executed.exists(), executed.read_text()


def test_what_is_laid_out_here_would_be_executed_by_a_careless_git(stage: Stage, repository: Repository) -> None:
    subprocess.run(
        ["sh", "-c", f"{MONITOR} set -- .; {CONFIGURE}"], cwd=repository.path, env={**os.environ, "HOME": str(stage.root)}, check=True
    )
    repository.git("add", "-A")
    assert (stage.root / "executed").exists()


def test_hooks_monitors_and_filters_of_the_agent_are_not_executed(stage: Stage, repository: Repository) -> None:
    script = f"{MONITOR} set -- .; {CONFIGURE} echo '* filter=x diff=x merge=x' >.gitattributes; echo new >made; echo more >>readme"
    outcome = stage.run(script, checkout=repository.checkout())
    assert repository.files(outcome.branch or "")["readme"] == "hello\nmore"
    assert_nothing_ran(stage)


def test_a_nested_repository_is_saved_as_files_and_its_configuration_is_not_executed(stage: Stage, repository: Repository) -> None:
    script = f"""{MONITOR}
    for place in nested "nested/in it"; do
        mkdir -p "$place"; git init -q "$place"; echo "$place" >"$place/file"
        git -C "$place" add file; git -C "$place" commit -qm inner; echo loose >"$place/loose"
    done
    git init -q unborn; echo only >unborn/only; git init -q nested/unborn; echo only >nested/unborn/only
    for place in nested "nested/in it" unborn nested/unborn; do set -- "$place"; {CONFIGURE} done
    """
    outcome = stage.run(script, checkout=repository.checkout())
    files = repository.files(outcome.branch or "")
    assert {"nested/file", "nested/loose", "nested/in it/file", "nested/in it/loose", "unborn/only", "nested/unborn/only"} < set(files)
    assert files["nested/loose"] == "loose"
    assert_nothing_ran(stage)


def test_a_submodule_made_hostile_is_not_executed(stage: Stage, repository: Repository, tmp_path: pathlib.Path) -> None:
    inner = Repository(tmp_path / "inner")
    inner.commit("inner", file="inner\n")
    repository.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    repository.commit("with a submodule")
    fetch = "git -c protocol.file.allow=always submodule --quiet update --init"
    script = f"{MONITOR} {fetch}; set -- sub; {CONFIGURE} echo x >>sub/file; echo new >made"
    outcome = stage.run(script, checkout=repository.checkout())
    assert repository.git("show", f"{outcome.branch}:made") == "new"
    assert repository.git("ls-tree", outcome.branch or "", "sub") == repository.git("ls-tree", "main", "sub")
    assert_nothing_ran(stage)


@pytest.mark.parametrize(
    "ruin",
    [
        "rm -rf .git",
        "rm -rf .git; mkfifo .git",
        "rm -rf .git; ln -s /dev/zero .git",
        "rm .git/HEAD; mkfifo .git/HEAD",
        "mv .git ../elsewhere; ln -s ../elsewhere .git",
        "echo rubbish >.git/HEAD",
        "find .git -type f -exec sh -c 'echo rubbish >\"$1\"' sh {} \\;",
        "rm -rf .git; git init -q .; git add -A; git commit -qm anew",
        "rm -rf .git/objects",
    ],
)
def test_a_ruined_git_directory_costs_no_file(stage: Stage, repository: Repository, ruin: str) -> None:
    outcome = stage.run(f"echo new >made; git add made; git commit -qm mine; echo left >left; {ruin}; true", checkout=repository.checkout())
    assert outcome.succeeded, outcome
    files = repository.files(outcome.branch or "")
    assert (files["made"], files["left"], files["readme"]) == ("new", "left", "hello")


def test_a_removed_workspace_is_told(stage: Stage, repository: Repository) -> None:
    outcome = stage.run('rm -rf "$PWD"', checkout=repository.checkout())
    assert (outcome.branch, outcome.salvage_ref) == (None, None)
    assert any("removed its checkout" in warning for warning in outcome.warnings)


def test_an_agent_that_went_back_in_history_is_taken_where_it_stands(stage: Stage, repository: Repository) -> None:
    first = repository.git("rev-parse", "HEAD")
    repository.commit("second", second="2\n")
    outcome = stage.run(f"git reset -q --hard {first}; echo new >made", checkout=repository.checkout())
    assert set(repository.files(outcome.branch or "")) == {".gitignore", "made", "readme", "src/code"}
    assert outcome.warnings == ()


def test_odd_files_do_not_keep_the_others_from_being_saved(stage: Stage, repository: Repository) -> None:
    script = """mkfifo pipe; ln -s /etc/passwd link; echo x >'new
line'; echo '*.u working-tree-encoding=UTF-16' >.gitattributes; printf 'odd' >bad.u; echo new >made; chmod 200 made"""
    outcome = stage.run(script, checkout=repository.checkout())
    if os.geteuid() == 0:
        assert repository.git("show", f"{outcome.branch}:made") == "new"
    else:  # nobody but root reads it, so it stays in the checkout, and that is told
        assert outcome.unsaved
    assert repository.git("show", f"{outcome.branch}:link") == "/etc/passwd"
    assert outcome.succeeded
