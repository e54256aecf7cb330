"""What a token says of whoever shows it, and how one is made: by the standard library, since a runner makes one for each attempt.

How one is believed is in `tokens`, which alone knows.
"""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from devsh_memory_mcp.config import OPERATOR

Role = Literal["user", "head", "worker"]

ALGORITHM = "HS256"
TEAM = "local"
NOBODY = "-"  # what stands in a claim that has to be there, and has nothing to say
MIN_KEY = 32  # bytes: what HS256 needs


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of whoever shows it.

    A `user` is the head of all that belongs to `user_id`; a `head` leads `orchestration_id`; a `worker` is the agent of `task_run_id`,
    who reads and writes messages there. A token made elsewhere with the same key may name no orchestration and no role: it is a worker's.
    `attempt` is the only one of its task run for which it is good, where it says one. `task_run_id` is NOBODY for a user.
    """

    task_run_id: str
    team_id: str
    user_id: str
    orchestration_id: str | None
    role: Role
    iat: datetime
    exp: datetime
    attempt: int | None = None

    @property
    def is_guest(self) -> bool:
        """Whether he is somebody else than the server's own user."""
        return self.user_id != OPERATOR


def mint(key: bytes, claims: Claims) -> str:
    """A token that says so. ValueError for a key of fewer than MIN_KEY bytes."""
    if len(key) < MIN_KEY:
        raise ValueError(f"a signing key has at least {MIN_KEY} bytes")
    wire: dict[str, object] = {
        "taskRunId": claims.task_run_id,
        "teamId": claims.team_id,
        "userId": claims.user_id,
        "iat": int(claims.iat.timestamp()),
        "exp": int(claims.exp.timestamp()),
        "role": claims.role,
    }
    wire |= {"orchestrationId": claims.orchestration_id} if claims.orchestration_id else {}
    wire |= {"attempt": claims.attempt} if claims.attempt is not None else {}
    signed = f"{_encoded({'alg': ALGORITHM, 'typ': 'JWT'})}.{_encoded(wire)}"
    return f"{signed}.{_text(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def _encoded(document: dict[str, object]) -> str:
    return _text(json.dumps(document, separators=(",", ":")).encode())


def _text(content: bytes) -> str:
    """As a token has it: base64 for URLs, without what fills it up."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
