"""`devsh serve` as a process, and every command against it: from here as from elsewhere."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devsh_memory_mcp.cli.main import run
from devsh_memory_mcp.cli.session import Surroundings
from tests.cli.conftest import Said
from tests.engine.house import House, house

__all__ = ["house"]

DEVSH = [sys.executable, "-c", "import sys; from devsh_memory_mcp.cli import main; sys.exit(main())"]
Typed = Callable[..., Said]


@contextmanager
def serving(house: House, *options: str, ends_by: signal.Signals = signal.SIGTERM) -> Iterator[str]:
    """The first address at which it can be reached; it ends by a signal, cleanly, and leaves no socket."""
    environment = {**os.environ, "DEVSH_MEMORY_DIR": str(house.root)}
    command = [*DEVSH, "serve", "--json", *options]
    with subprocess.Popen(command, env=environment, cwd=house.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        try:
            line = server.stdout.readline()
            assert line, server.stderr.read().decode()
            yield json.loads(line)["urls"][-1]
            server.send_signal(ends_by)
            told = server.stderr.read().decode()
            assert (server.wait(30), "Traceback" in told) == (0, False), told
        finally:
            server.kill()


@pytest.fixture
def typed(house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Typed:
    """Types a command line on a machine that has no memory root; `root` is for what is done where the server is."""

    def typed(*words: str, root: Path | None = None, **environment: str) -> Said:
        here = {name: value for name, value in os.environ.items() if name != "DEVSH_MEMORY_DIR"}
        here["DEVSH_MEMORY_DIR"] = str(root or tmp_path / "elsewhere")
        code = run(list(words), Surroundings(environment=here | environment, directory=house.directory))
        captured = capfd.readouterr()
        return Said(code, captured.out, captured.err)

    return typed


@pytest.mark.promise("http.spawn", "http.status", "http.results", "http.list", "http.cancel", "http.serve", "http.token", "http.remote")
@pytest.mark.parametrize("at", ["tcp", "unix"])
def test_the_main_job_at_a_server(house: House, typed: Typed, tmp_path_factory: pytest.TempPathFactory, at: str) -> None:
    options = ("--port", "0") if at == "tcp" else ("--socket", str(tmp_path_factory.mktemp("s") / "s"))
    with serving(house, *options) as url:
        token = typed("token").out.strip()
        there = {"CMUX_API_BASE_URL": url, "CMUX_TASK_RUN_JWT": token}
        words = ["orchestrate", "spawn", "--agent", "shell/bash", "--repo", "none", "--name", "unit", "--json", "echo 'the result'"]
        spawned = json.loads(typed(*words, **there).out)
        assert spawned["taskId"] == "unit"
        watched = typed("orchestrate", "status", "unit", "--watch", "--interval", "60", **there)
        assert (watched.code, "completed" in watched.out) == (0, True)
        assert json.loads(typed("orchestrate", "status", "unit", "--json", **there).out)["result"] == "the result\n"
        assert typed("orchestrate", "wait", "unit", **there).code == 0
        assert [row["id"] for row in json.loads(typed("orchestrate", "list", "--json", **there).out)] == ["unit"]
        assert json.loads(typed("orchestrate", "results", "--json", **there).out)["completedTasks"] == 1
        assert typed("orchestrate", "logs", "unit", **there).out == "the result\n"
        assert typed("orchestrate", "explain", "unit", **there).code == 0
        assert json.loads(typed("orchestrate", "cancel", "unit", "--json", **there).out)["status"] == "completed"
        assert typed("orchestrate", "message", "head", "hello", "--type", "status", **there).code == 0
        missing = typed("orchestrate", "status", "nsabcdefghij", **there)
        assert (missing.code, "nsabcdefghij" in missing.err) == (4, True)
        for command in ("diff", "merge", "open"):
            assert typed("orchestrate", command, "unit", **there).code != 0
        by_option = typed("orchestrate", "list", "--json", "--remote", url, CMUX_TASK_RUN_JWT=token)
        assert json.loads(by_option.out)[0]["id"] == "unit"
    assert typed("orchestrate", "list", **there).code == 6, "nobody is there any more"


@pytest.mark.promise("http.pull", "http.metrics", "http.openapi")
def test_plain_clients_get_what_the_document_says(house: House, typed: Typed) -> None:
    with serving(house, "--port", "0") as url:
        headers = {"X-Task-Run-JWT": typed("token").out.strip()}
        with httpx2.Client(base_url=url, headers=headers) as client:
            assert client.get("/health").json()["ok"] is True
            spawned = client.post(
                "/api/orchestrate/spawn", json={"prompt": "true", "agent": "shell/sh", "repo": "none", "isCloudMode": True}
            )
            assert (spawned.status_code, spawned.json()["status"]) == (202, "pending")
            assert any("isCloudMode" in warning for warning in spawned.json()["warnings"])
            task, own = spawned.json()["orchestrationTaskId"], spawned.json()["orchestrationId"]
            waited = client.post("/api/orchestrate/wait", json={"ids": [task], "timeout": 30_000}, timeout=40)
            assert waited.json()["status"] == "completed"
            pulled = client.get("/api/orchestration/pull", params={"orchestrationId": own}).json()
            assert (pulled["synced"], pulled["aggregatedStatus"]["completed"]) == (True, 1)
            assert [each["orchestrationTaskId"] for each in pulled["tasks"]] == [task]
            metrics = client.get("/metrics").text
            assert 'devsh_tasks{status="completed"} 1' in metrics
            assert 'devsh_http_requests_total{route="spawn",status="202"} 1' in metrics
            assert client.get("/openapi.json").json()["openapi"].startswith("3.")
            assert "/api/orchestrate/spawn" in client.get("/").text


@pytest.mark.promise("cli.spawn.use-env-jwt", "cli.results.use-env-jwt")
def test_use_env_jwt_shows_the_token_and_its_absence_is_an_error(house: House, typed: Typed) -> None:
    with serving(house, "--port", "0") as url:
        there = {"CMUX_API_BASE_URL": url, "CMUX_TASK_RUN_JWT": typed("token").out.strip()}
        spawn = ["orchestrate", "spawn", "--use-env-jwt", "--agent", "shell/bash", "--repo", "none", "--json", "true"]
        spawned = json.loads(typed(*spawn, **there).out)
        results = typed("orchestrate", "results", spawned["orchestrationId"], "--use-env-jwt", "--json", **there)
        assert json.loads(results.out)["totalTasks"] == 1
        for words in (spawn, ["orchestrate", "results", "--use-env-jwt"], ["orchestrate", "list", "--use-env-jwt"]):
            said = typed(*words, CMUX_API_BASE_URL=url)
            assert (said.code, "CMUX_TASK_RUN_JWT" in said.err) == (7, True)
            assert typed(*words, CMUX_API_BASE_URL=url, CMUX_TASK_RUN_JWT="not.a.token").code == 7


def test_without_a_server_the_token_says_who_calls(house: House, typed: Typed) -> None:
    spawn = ["orchestrate", "spawn", "--agent", "shell/bash", "--repo", "none", "--json", "true"]
    spawned = json.loads(typed(*spawn, root=house.root).out)
    good = typed("token").out.strip()
    assert typed("orchestrate", "results", "--use-env-jwt", root=house.root, CMUX_TASK_RUN_JWT=good).code == 0
    for bad in ("not.a.token", f"{good}x"):
        assert typed("orchestrate", "results", "--use-env-jwt", root=house.root, CMUX_TASK_RUN_JWT=bad).code == 7
        assert typed("orchestrate", "results", root=house.root, CMUX_TASK_RUN_JWT=bad).code == 0, "nobody asked for it to be shown"
    assert typed("orchestrate", "results", "--use-env-jwt", root=house.root).code == 7
    worker = typed("token", "--worker", spawned["taskRunId"]).out.strip()
    assert typed("orchestrate", "wait", spawned["orchestrationTaskId"], root=house.root).code == 0
    sent = typed("orchestrate", "message", "head", "hi", "--type", "status", "--use-env-jwt", root=house.root, CMUX_TASK_RUN_JWT=worker)
    assert sent.code == 0
    journal = (house.root / "orchestrations" / spawned["orchestrationId"] / "EVENTS.jsonl").read_text()
    last = json.loads(journal.splitlines()[-1])
    assert (last["event"], last["from"], last["to"]) == ("message_sent", spawned["orchestrationTaskId"], "head")


@pytest.mark.parametrize("ends_by", [signal.SIGTERM, signal.SIGINT])
def test_it_is_told_to_end_and_begins_again_at_the_same_place(
    house: House, ends_by: signal.Signals, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("s") / "s"
    with serving(house, "--socket", str(path), "--port", "0", ends_by=ends_by) as url:
        assert url == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        refused = subprocess.run([*DEVSH, "serve", "--socket", str(path)], env=os.environ, capture_output=True, check=False)
        assert (refused.returncode, b"another server" in refused.stderr) == (6, True)
    assert not path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving(house, "--socket", str(path)):
        pass
    path.write_text("somebody's file")
    refused = subprocess.run([*DEVSH, "serve", "--socket", str(path)], env=os.environ, capture_output=True, check=False)
    assert (refused.returncode, path.read_text()) == (6, "somebody's file")


def test_it_is_served_with_tls_to_whom_trusts_the_certificate(house: House, typed: Typed, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    with serving(house, "--port", "0", "--tls-cert", str(certificate), "--tls-key", str(key)) as url:
        assert url.startswith("https://127.0.0.1:")
        there = {"CMUX_API_BASE_URL": url, "CMUX_TASK_RUN_JWT": typed("token").out.strip()}
        refused = typed("orchestrate", "list", **there)
        assert (refused.code, "certificate" in refused.err) == (6, True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(certificate))
            assert typed("orchestrate", "list", "--json", **there).out == "[]\n"


def test_a_client_imports_neither_the_engine_nor_the_web_stack_and_a_command_of_this_machine_no_client() -> None:
    heavy = {"uvicorn", "starlette", "jwt", "mcp", "devsh_memory_mcp.engine", "devsh_memory_mcp.wiring"}
    program = f"""
import sys
from devsh_memory_mcp.cli.main import run
run(sys.argv[1:])
print(sorted({heavy | {"httpx2"}!r} & set(sys.modules)), file=sys.stderr)
"""
    for words, found in (
        (["orchestrate", "list", "--remote", "127.0.0.1:1"], ["httpx2"]),
        (["orchestrate", "list"], ["devsh_memory_mcp.engine", "devsh_memory_mcp.wiring"]),
        (["serve", "--help"], []),
        (["token", "--help"], []),
    ):
        here = {**os.environ, "CMUX_TASK_RUN_JWT": "a.b.c"}
        ran = subprocess.run([sys.executable, "-c", program, *words], env=here, capture_output=True, text=True, check=True)
        assert ran.stderr.splitlines()[-1] == str(found), words


def self_signed(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


def test_what_is_no_way_to_serve_or_to_make_a_token_is_refused(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    for words, code in (
        (("serve", "--tls-cert", str(file)), 2),
        (("serve", "--host", "no such host.invalid", "--port", "0"), 6),
        (("token", "--head", "orch_a", "--worker", "tr_b"), 2),
        (("token", "--owner", "operator"), 2),
        (("token", "--owner", "../x"), 2),
        (("token", "--expires", "0"), 2),
        (("orchestrate", "list", "--remote", "ftp://example.org"), 2),
        (("orchestrate", "list", "--remote", "https://user:hush@example.org"), 2),
    ):
        said = typed(*words, CMUX_TASK_RUN_JWT="x.y.z")
        assert (said.code, "hush" in said.err) == (code, False), (words, said.err)


def test_a_key_of_the_environment_signs_and_a_short_one_does_not(typed: Typed) -> None:
    assert typed("token", CMUX_TASK_RUN_JWT_SECRET="s" * 32).out.count(".") == 2
    assert typed("token", CMUX_TASK_RUN_JWT_SECRET="short").code == 2
    said = json.loads(typed("token", "--head", "orch_abc", "--expires", "1h", "--json").out)
    assert (said["role"], said["orchestrationId"], said["owner"]) == ("head", "orch_abc", "operator")
