"""What of the user's own is shown to an agent as his programs: a link in there shows nothing else."""

import os
import pathlib

import pytest

from devsh_memory_mcp.shim import toolchain
from devsh_memory_mcp.shim.toolchain import Toolchains, find_toolchains


class Home:
    """A user's, with a PATH of his."""

    def __init__(self, root: pathlib.Path) -> None:
        self.path = root / "una"
        self.path.mkdir()

    def write(self, name: str, mode: int = 0o644) -> pathlib.Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(mode)
        return path

    def link(self, name: str, target: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(self.path / target)

    def toolchains(self, *directories: str, **more: str) -> Toolchains:
        path = os.pathsep.join(f"{self.path}/{name}" for name in directories)
        return find_toolchains({"PATH": path} | more, str(self.path), ())

    def shown(self, *directories: str, **more: str) -> set[str]:
        binds = self.toolchains(*directories, **more).binds
        assert all(bind.source == bind.target and not bind.writable for bind in binds)
        return {os.path.relpath(bind.target, self.path) for bind in binds}


@pytest.fixture
def home(tmp_path: pathlib.Path) -> Home:
    return Home(tmp_path)


def test_a_link_to_what_is_no_program_is_not_followed(home: Home) -> None:
    home.write(".ssh/id_ed25519", 0o600)
    home.write("elsewhere/tool", 0o755)
    home.link("project/bin/key", ".ssh/id_ed25519")
    home.link("project/bin/keys", ".ssh")
    home.link("project/bin/tool", "elsewhere/tool")
    home.link("project/bin/gone", "gone")
    assert home.shown("project/bin") == {"project/bin", "elsewhere/tool"}


@pytest.mark.parametrize("part", ["conf", "share", "src", "lib", "pkg"])
def test_a_part_that_leads_out_of_its_installation_is_not_shown(home: Home, part: str) -> None:
    home.write(".aws/credentials", 0o600)
    home.write("project/bin/tool", 0o755)
    home.link(f"project/{part}", ".aws")
    assert home.shown("project/bin") == {"project/bin"}


def test_a_part_that_leads_to_a_house_or_to_another_of_its_own_is(home: Home) -> None:
    home.write(".nvm/versions/lib/code")
    home.write("project/bin/tool", 0o755)
    home.write("project/lib64/code")
    home.link("project/lib", "project/lib64")
    home.link("project/share", ".nvm/versions/lib")
    assert home.shown("project/bin") == {"project/bin", "project/lib", "project/lib64", "project/share"}


def test_a_directory_that_is_a_link_to_another_shows_its_programs_alone(home: Home) -> None:
    home.write("dotfiles/scripts/tool", 0o755)
    home.write("dotfiles/scripts/.netrc", 0o600)
    home.link("project/bin", "dotfiles/scripts")
    home.link("project/node_modules", "dotfiles")
    assert home.shown("project/bin", "project/node_modules/scripts") == {"project/bin/tool"}


def test_of_a_directory_that_is_no_bin_only_the_programs_are_shown(home: Home) -> None:
    home.write("project/tool", 0o755)
    home.write("project/.env", 0o600)
    home.write("project/secrets/key", 0o755)
    home.link("project/other", "project/tool")
    assert home.shown("project") == {"project/tool", "project/other"}


@pytest.mark.parametrize(("mode", "count"), [(0o755, 101), (0o644, 1001)])
def test_where_there_are_too_many_it_is_left_out_and_said(home: Home, mode: int, count: int) -> None:
    for number in range(count):
        home.write(f"much/{number}", mode)
    home.write("project/tool", 0o755)
    found = home.toolchains("much", "project")
    assert [bind.target for bind in found.binds] == [f"{home.path}/project/tool"]
    assert found.left_out == (f"{home.path}/much",)
    assert [f"does not see {home.path}/much of your PATH" in warning for warning in found.warnings()] == [True]
    assert toolchain.Toolchains(()).warnings() == ()


def test_of_a_house_of_services_too_only_the_programs_parts_are_shown(home: Home) -> None:
    for name in ("bin/tool", "Cellar/tool/1/bin/tool", "opt/x", "var/postgres/data", "etc/my.cnf", "etc/ca-certificates/cert.pem"):
        home.write(f".linuxbrew/{name}", 0o755)
    names = {f".linuxbrew/{name}" for name in ("bin", "Cellar", "opt", "etc/ca-certificates")}
    assert home.shown(".linuxbrew/bin") == names


def test_of_what_a_variable_names_the_parts_that_programs_are_made_of_are_shown(home: Home) -> None:
    home.write("nvm/versions/node/tool", 0o755)
    home.write("nvm/.env")
    home.write(".pyenv/versions/tool")
    variables = {"NVM_DIR": f"{home.path}/nvm", "PYENV_ROOT": f"{home.path}/.pyenv", "JAVA_HOME": "relative"}
    assert home.shown(**variables) == {"nvm/versions", ".pyenv"}


def test_what_the_users_package_managers_keep_is_shown_whole(home: Home) -> None:
    home.write(".local/share/pnpm/tool", 0o755)
    home.write(".local/share/pnpm/global/code")
    home.write(".local/share/keyrings/login")
    assert home.shown(".local/share/pnpm") == {".local/share/pnpm"}
