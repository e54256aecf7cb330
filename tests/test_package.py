"""What is in the package that users install."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.promise("skill.wheel")
@pytest.mark.skipif(find_spec("hatchling") is None and os.environ.get("CI") != "true", reason="there is no hatchling: ./try test brings it")
def test_the_skill_is_in_the_wheel_and_the_installed_program_finds_it(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name.startswith(("devsh_memory_mcp/", ".agents/", "pyproject", "README", "LICENSE")) and (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=checkout, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    program = "from devsh_memory_mcp.clients.skill import skill_source; print(skill_source())"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd="/", env={"PYTHONPATH": str(installed)}, capture_output=True, text=True, check=True
    )
    found = Path(ran.stdout.strip())
    assert found.is_relative_to(installed)
    assert (found / "SKILL.md").read_bytes() == (ROOT / ".agents/skills/devsh-orchestrator/SKILL.md").read_bytes()
