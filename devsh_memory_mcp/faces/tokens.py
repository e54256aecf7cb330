"""Who speaks to a server: the claims of a token, how one is made, and the only way to believe one.

A token is a JWT, signed with HS256 and nothing else. On the wire its claims are those that existing clients know (`taskRunId`, `teamId`,
`userId`, `iat`, `exp`) with ours beside them (`orchestrationId`, `role`, `attempt`). No error here repeats a part of a token.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import jwt

from devsh_memory_mcp.config import OPERATOR
from devsh_memory_mcp.errors import Unauthenticated

Role = Literal["user", "head", "worker"]

ALGORITHM = "HS256"
TEAM = "local"
NOBODY = "-"  # what stands in a claim that has to be there, and has nothing to say
LONGEST = 4096  # characters of a token that is looked at
MIN_KEY = 32  # bytes: what HS256 needs
_SKEW = timedelta(seconds=5)  # between two machines' clocks
_DEMANDED = ("taskRunId", "teamId", "userId", "iat", "exp")


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
    return jwt.encode(wire, key, algorithm=ALGORITHM)


def verify(key: bytes, token: str, now: datetime) -> Claims:
    """The claims of a token that was signed with `key` and is good at `now`; Unauthenticated says why it is not."""
    if len(token) > LONGEST:
        raise Unauthenticated("The token is longer than any of ours.")
    try:
        found = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            # Instants are compared below, with the clock that the caller has; the library would ask its own.
            options={"require": list(_DEMANDED), "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
        )
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"The token has no claim {error.claim}.") from None
    except jwt.InvalidSignatureError:
        raise Unauthenticated("The token was not signed by this server.") from None
    except jwt.PyJWTError:
        raise Unauthenticated(f"The token is not a JWT signed with {ALGORITHM}.") from None
    claims = _read(found)
    if now >= claims.exp:
        raise Unauthenticated("The token has expired.")
    if now + _SKEW < claims.iat:
        raise Unauthenticated("The token was made in the future: is a clock wrong?")
    return claims


def _read(found: dict[str, object]) -> Claims:
    role = found.get("role", "worker")
    if role not in get_args(Role):
        raise Unauthenticated("The token has a role that is not known.")
    claims = Claims(
        task_run_id=_text(found, "taskRunId"),
        team_id=_text(found, "teamId"),
        user_id=_text(found, "userId"),
        orchestration_id=_text(found, "orchestrationId") if "orchestrationId" in found else None,
        role="user" if role == "user" else "head" if role == "head" else "worker",
        iat=_instant(found, "iat"),
        exp=_instant(found, "exp"),
        attempt=_whole(found, "attempt") if "attempt" in found else None,
    )
    if claims.role == "head" and claims.orchestration_id is None:
        raise Unauthenticated("The token is a head's and names no orchestration.")
    return claims


def _text(found: dict[str, object], name: str) -> str:
    value = found[name]
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise Unauthenticated(f"The token's claim {name} is not a text.")
    return value


def _whole(found: dict[str, object], name: str) -> int:
    value = found[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unauthenticated(f"The token's claim {name} is not a number.")
    return value


def _instant(found: dict[str, object], name: str) -> datetime:
    value = found[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unauthenticated(f"The token's claim {name} is not an instant.")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated(f"The token's claim {name} is no instant that there is.") from None
