"""The house style's rules that can be read from the source. There is no list of pardons: the exceptions are the rules' own."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from devsh_memory_mcp.clients.claude import PLUGIN
from devsh_memory_mcp.clients.server import PROGRAM, SERVER_NAME, WAIT_SECONDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "devsh_memory_mcp"
FILE_WALL = 400
FUNCTION_WALL = 50

# Start-up: `mcp` alone takes a second, and `--version` and `list` do not need it.
MAY_IMPORT_LATE = ("cli/", "__main__.py", "program.py", "runner.py", "warm.py")

# Every attempt pays for what its shim imports, and an agent's adapter is imported there.
STANDARD_LIBRARY_ONLY = {"shim": {"shim", "agents", "errors"}, "agents": {"agents", "errors"}, "errors": {"errors"}}

CATCH_ALL_NAMES = {"manager", "handler", "utils", "helpers", "common", "base", "core", "types", "constants"}

# The hosts that files may name: reserved ones, this machine, and where the project and its specifications live.
HOSTS = {
    "api.openai.com",  # where Codex is told to take a key that is in a variable
    *("127.0.0.1", "localhost", "github.com", "keepachangelog.com", "semver.org", "json-schema.org"),
    *("modelcontextprotocol.io", "static.modelcontextprotocol.io"),
    "www.w3.org",  # the namespace of SVG
    *("api.anthropic.com", "api.openai.com", "chatgpt.com", "generativelanguage.googleapis.com"),  # the APIs that brokers stand before
}
RESERVED_HOST = re.compile(r"(.*\.)?example(\.(com|org|net))?|.*\.(test|invalid|localhost)|\W.*|")
# Directories of one machine or one person.
MACHINE = re.compile(r"(?<![\w.$}/])/(wor[k]|home/(?!someone\b|user\b|runner\b)\w+)/")
# Pages that are named are pages of this checkout, or files that this program or an agent's CLI writes or reads.
PAGE = re.compile(r"\b[A-Z][A-Z_]{3,}\.md\b")
PAGES = {"README.md", "HEAD_AGENT_INSTRUCTIONS.md", "AGENTS.md", "CLAUDE.md", "GEMINI.md"}

MODULES = {str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
every_module = pytest.mark.parametrize("name", MODULES)


def nodes(name: str) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(MODULES[name], name))


def functions(name: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(name) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports; nothing for other statements."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.module == PACKAGE.name:
        return [f"{PACKAGE.name}.{alias.name}" for alias in node.names]
    return [node.module or ""]


def tracked_texts() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():
            yield name, path.read_text(encoding="utf-8")


@every_module
def test_files_and_functions_keep_within_their_walls(name: str) -> None:
    assert len(MODULES[name].splitlines()) <= FILE_WALL
    long = {node.name: node.end_lineno - node.lineno + 1 for node in functions(name) if node.end_lineno}
    assert {function: lines for function, lines in long.items() if lines > FUNCTION_WALL} == {}


@every_module
def test_imports_are_absolute_and_for_every_reader(name: str) -> None:
    assert [ast.unparse(node) for node in nodes(name) if isinstance(node, ast.ImportFrom) and node.level] == []
    assert not re.search(r"\bTYPE_CHECKING\b", MODULES[name])


@every_module
def test_imports_stand_at_the_top(name: str) -> None:
    late = [ast.unparse(node) for function in functions(name) for node in ast.walk(function) if imported(node)]
    assert late == [] or name.startswith(MAY_IMPORT_LATE)


@every_module
def test_low_floors_stand_on_the_standard_library(name: str) -> None:
    floor = name.removesuffix(".py").split("/")[0]
    if floor not in STANDARD_LIBRARY_ONLY:
        return
    names = [module for node in nodes(name) for module in imported(node)]
    foreign = {module for module in names if module.split(".")[0] not in {*sys.stdlib_module_names, PACKAGE.name}}
    above = {module for module in names if module.startswith(PACKAGE.name) and module.split(".")[1] not in STANDARD_LIBRARY_ONLY[floor]}
    assert (foreign, above) == (set(), set())


@every_module
def test_modules_are_named_for_what_they_hold(name: str) -> None:
    assert CATCH_ALL_NAMES.isdisjoint(re.split(r"[/._]", name))


@every_module
def test_no_state_belongs_to_a_module(name: str) -> None:
    assert [node.names for node in nodes(name) if isinstance(node, ast.Global)] == []
    containers = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    for node in ast.parse(MODULES[name]).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, containers):
            target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
            assert target.isupper() or target == "__all__", f"{target} can change; tables are written in capitals"


def test_no_process_with_threads_is_forked_for_a_terminal() -> None:
    assert [name for name, text in tracked_texts() if name.endswith(".py") and re.search(r"\bpty\.for[k]\b|\bforkpt[y]\b", text)] == []


def test_the_package_itself_imports_nothing() -> None:
    assert not any(imported(node) for node in nodes("__init__.py"))


def test_the_floors_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_files_name_no_machine_and_no_foreign_host() -> None:
    hits = []
    for name, text in tracked_texts():
        hits += [f"{name}: {match[0]}" for match in MACHINE.finditer(text)]
        hosts = {match[1].rpartition("@")[2].partition(":")[0] for match in re.finditer(r"\b(?:https?|ssh|git)://([^/\s\"'`)>\]]*)", text)}
        hits += [f"{name}: {host}" for host in hosts if host not in HOSTS and not RESERVED_HOST.fullmatch(host)]
    assert hits == []


def test_pages_that_are_named_are_there() -> None:
    texts = dict(tracked_texts())
    there = PAGES | {Path(name).name for name in texts}
    assert [f"{name}: {page}" for name, text in texts.items() for page in PAGE.findall(text) if page not in there] == []


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f'VERSION = "{version}"' in MODULES["config.py"]
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    server, plugin = (json.loads((ROOT / name).read_text(encoding="utf-8")) for name in ("server.json", ".claude-plugin/plugin.json"))
    assert {server["version"], plugin["version"], *(package["version"] for package in server["packages"])} == {version}


@pytest.mark.promise("plugin.valid")
def test_the_server_is_the_same_wherever_it_is_described() -> None:
    server, plugin, market, project = (
        json.loads((ROOT / name).read_text(encoding="utf-8"))
        for name in ("server.json", ".claude-plugin/plugin.json", ".claude-plugin/marketplace.json", ".mcp.json")
    )
    entry = project["mcpServers"][SERVER_NAME]
    assert (entry["command"], entry["args"], entry["timeout"]) == ("uvx", [PROGRAM], WAIT_SECONDS * 1000)
    assert [package["identifier"] for package in server["packages"]] == [PROGRAM]
    assert len(server["description"]) <= 100  # the registry takes no more
    assert f"<!-- mcp-name: {server['name']} -->" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [each["name"] for each in market["plugins"]] == [plugin["name"]] == [PLUGIN]
    assert all((ROOT / plugin[part]).exists() for part in ("skills", "mcpServers"))


def test_shell_scripts_can_be_read_by_their_shell() -> None:
    for script, shell in {"try": "sh", ".ci/run": "bash", "tests/debian/bare.sh": "sh"}.items():
        assert (ROOT / script).stat().st_mode & 0o111
        subprocess.run([shell, "-n", ROOT / script], check=True)
