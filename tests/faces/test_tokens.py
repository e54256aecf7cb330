"""Which tokens are believed."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from devsh_memory_mcp.errors import Unauthenticated
from devsh_memory_mcp.faces.tokens import LONGEST, MIN_KEY, Claims, mint, verify

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = b"k" * MIN_KEY
HEAD = Claims("tr_head", "local", "operator", "orch_1", "head", NOW, NOW + timedelta(hours=1), attempt=2)
WIRE = {"taskRunId": "tr_1", "teamId": "local", "userId": "someone", "iat": NOW.timestamp(), "exp": NOW.timestamp() + 60}


def signed(algorithm: str = "HS256", key: bytes = KEY, **claims: object) -> str:
    wire = {name: value for name, value in (WIRE | claims).items() if value is not None}
    return jwt.encode(wire, key, algorithm=algorithm)


@pytest.mark.parametrize("claims", [HEAD, replace(HEAD, role="user", orchestration_id=None, attempt=None), replace(HEAD, role="worker")])
def test_what_was_said_comes_back(claims: Claims) -> None:
    assert verify(KEY, mint(KEY, claims), NOW) == claims


def test_a_token_of_another_maker_with_our_key_is_a_workers() -> None:
    found = verify(KEY, signed(), NOW)
    assert (found.role, found.orchestration_id, found.task_run_id, found.is_guest) == ("worker", None, "tr_1", True)


def test_it_is_good_until_the_very_second_and_with_clocks_that_differ_a_little() -> None:
    token = mint(KEY, HEAD)
    assert verify(KEY, token, HEAD.exp - timedelta(seconds=1)) == HEAD
    assert verify(KEY, token, HEAD.iat - timedelta(seconds=4)) == HEAD
    for instant in (HEAD.exp, HEAD.iat - timedelta(minutes=1)):
        with pytest.raises(Unauthenticated):
            verify(KEY, token, instant)


def unsigned() -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, WIRE)]
    return ".".join((*parts, ""))


@pytest.mark.parametrize(
    "token",
    [
        "", "a.b.c", "ümlaut.ümlaut.ümlaut", "a" * (LONGEST + 1), unsigned(),
        signed(key=b"o" * MIN_KEY), signed("HS512", key=b"k" * 64),
        signed(role="owner"), signed(role=["head"]), signed(role="head"), signed(orchestrationId=7, role="head"),
        signed(taskRunId=None), signed(taskRunId=""), signed(teamId=None), signed(userId=None), signed(iat=None), signed(exp=None),
        signed(exp=True), signed(exp=1e300), signed(attempt="1"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_repeats_nothing_of_the_token(token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        verify(KEY, token, NOW)
    assert not token or token not in str(refused.value)


def test_one_byte_more_or_less_and_it_is_another_token() -> None:
    token = mint(KEY, HEAD)
    head, claims, signature = token.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(WIRE | {"role": "user"}).encode()).rstrip(b"=").decode()
    for tampered in (f"{head}.{forged}.{signature}", token[:-4], f"{head}.{claims}.", f"{head}.{claims}"):
        with pytest.raises(Unauthenticated):
            verify(KEY, tampered, NOW)


def test_a_short_key_signs_nothing() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        mint(b"short", HEAD)
