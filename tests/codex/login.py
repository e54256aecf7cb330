"""A ChatGPT login as `codex login` leaves it."""

import base64
import json
from pathlib import Path

ACCOUNT = "account-one"
UNCOMPRESSED = "features.enable_request_compression = false"  # of Codex's settings: the scripted model reads plain requests
FAR = 4_102_444_800


def write_login(codex_home: Path, signature: str, *, expires: int = FAR) -> str:
    """Its access token, which ends with that signature."""
    claims = {"chatgpt_plan_type": "plus", "chatgpt_account_id": ACCOUNT, "chatgpt_user_id": "user-1"}
    token = f"{_encoded({'alg': 'none'})}.{_encoded({'exp': expires, 'https://api.openai.com/auth': claims})}.{signature}"
    tokens = {"id_token": token, "access_token": token, "refresh_token": "r", "account_id": ACCOUNT}
    document = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": "2099-01-01T00:00:00Z"}
    (codex_home / "auth.json").write_text(json.dumps(document))
    return token


def _encoded(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()
