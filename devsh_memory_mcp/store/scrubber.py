"""What looks like a secret, taken out of texts that leave this machine.

Known are the values of variables that hold credentials, the shapes of common keys, passwords beside their names, and what stands in
URLs. JSON is scrubbed string by string, so that it stays JSON. What is scrubbed is counted by kind and never told.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import quote

from devsh_memory_mcp.agents.plain import as_read, overprinted
from devsh_memory_mcp.inventory import CREDENTIALS
from devsh_memory_mcp.shim.address import without_secrets

MARK = "[scrubbed]"
_SHORTEST = 8  # characters of a value; shorter ones would be found in innocent words
_LONGEST_WORD = 8192  # characters; one that is longer and has an address in it is taken out whole
_OF_A_NAME = 4000  # characters
_MOST_FOLDS, _LONGEST_FOLD = 500, 80
_PLACES = ("_URL", "_DIR", "_HOME")  # how variables end whose values are no secrets themselves
_SECRET_VARIABLE = re.compile(
    r"(?:.*_)?(?:KEY|CREDENTIALS?|JWT|COOKIE|PASS|PAT)S?|.*(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE)S?|.+_PWD", re.IGNORECASE
)
_NAMES = r"password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key"
_SECRET_KEY = re.compile(
    rf"(?i:.*(?:{_NAMES}|authorization)|(?:.*[_.-])?(?:jwt|cookie)|.+[_.-](?:pass|pwd|pat))|.*[a-z](?:Pass|Pwd|Jwt|Cookie)"
)
_GUESSED_KEY, _GUESSED_VALUE = re.compile(r"(?i:_?auth|pass)"), re.compile(r"(?=.*[0-9A-Z=])\S{6,}")
_BESIDE, _COMMANDS = "passwords beside their names", "passwords of commands"
# Up to the closing quote, which may itself be escaped; to the end of the line where there is none.
_QUOTED = r"(?P<quote>\\*[\"'])(?!(?P=quote))[^\n]+?(?=(?<!\\)(?P=quote)|\n|\Z)"
_SHAPES: Mapping[str, re.Pattern[str]] = {
    "keys of Anthropic and OpenAI": re.compile(r"(?<![A-Za-z0-9])sk-(?:ant-[\w-]{4,1024}|(?=[\w-]{0,512}\d)[\w-]{16,1024})"),
    "tokens of code hosts": re.compile(
        r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{10,512}|github_pat_\w{10,512}|gl(?:pat|rt|dt|ptt)-[\w.-]{10,512}|dckr_[op]at_[\w-]{10,512})"
    ),
    "keys of other services": re.compile(
        r"(?<![A-Za-z0-9])(?:xox[abeposr]-[\w-]{8,512}|xapp-[\w-]{8,512}|A(?:KI|SI)A[0-9A-Z]{12,64}|AIza[\w-]{20,128}|hf_[A-Za-z0-9]{16,128}"
        r"|npm_[A-Za-z0-9]{20,128}|pypi-[\w-]{20,512}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,256}|ya29\.[\w.-]{10,4096}|hv[sbr]\.[\w-]{10,1024}"
        r"|SG\.[\w-]{10,128}(?:\.[\w-]{1,256})?|hooks\.slack\.com/[\w/-]{8,512})"
    ),
    "web tokens (JWT)": re.compile(r"(?<![\w-])eyJ[\w-]{8,4096}\.eyJ[\w-]{8,8192}(?:\.[\w-]{0,2048})?"),
    "private keys": re.compile(
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END)[\s\S]){0,20000}"
        r"(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
    ),
    "authorization headers": re.compile(
        r"(?i)(?P<name>authorization\\*[\"']?\s{0,4}[:=]\s{0,4}\\*[\"']?)(?!\[scrubbed\])(?:[a-z][\w-]{0,32}[ \t]{1,4})?[^\s\"'\\,]+"
        r"|\b(?:bearer|basic)\s{1,4}(?=[\w.~+/=-]{0,200}[\d=])[\w.~+/=-]{12,4096}"
    ),
    "cookies": re.compile(
        r"(?i)(?P<name>cookie\\*[\"']?\s{0,4}:\s{0,4}\\*[\"']?)(?:[^\s=;,\"'\\]{1,256}=(?:\"[^\"\n]*\"|[^\s;\"'\\]*)(?:;[ \t]{0,4})?)+"
    ),
    _COMMANDS: re.compile(
        rf"(?im)(?P<name>(?<![\w-])--[\w-]{{0,32}}(?:pass|pwd|pat|cookie|{_NAMES})[ \t=]{{1,4}}"  # --password x
        r"|(?:^[ \t]{0,16}|\b(?:login|account|machine)\s{1,4}\S{1,256}\s{1,4})password[ \t]{1,4}"  # netrc
        r"|(?<![\w-])(?:-[a-z]{0,8}u|--(?:proxy-)?user)[ \t=]{0,4}(?=\\{0,8}[\"']?[^\s:\"']{1,256}:)(?!\d+:\d))"  # curl -u a:b
        rf"(?:{_QUOTED}|(?!\[scrubbed\])[^\s\"'\\-][^\s\"'\\]*)"
    ),
    "logins of registries": re.compile(r"(?i)(?P<name>[\"']_?auth\\*[\"']\s{0,4}:\s{0,4}\\*[\"']|\b_auth\s{0,4}=\s{0,4})[\w+/-]{8,}=*"),
    _BESIDE: re.compile(
        rf"(?i)(?P<name>(?:{_NAMES}|(?<=_)(?:pass|pwd|pat)|(?-i:(?<=[a-z])P(?:ass|wd)))\\*[\"']?\s{{0,4}}(?:=>|:=|[:=])\s{{0,4}}(?:\[\s{{0,4}}(?=\\*[\"']))?)"
        rf"(?!\\*[\"']?\[scrubbed\])(?:{_QUOTED}|(?:\d{{4}}|[^\s\"'\\,;{{}}\[\]()<>]{{5}})[^\s\"'\\;]*)"
    ),
}
_NAMED = ("passw", "passphrase", "secret", "token", "key", "pwd")
# Without one of these, in small letters, a shape is not there: most texts have none.
_HINTS: Mapping[str, tuple[str, ...]] = {
    "keys of Anthropic and OpenAI": ("sk-",),
    "tokens of code hosts": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "glrt-", "gldt-", "glptt-", "dckr_"),
    "keys of other services": (
        "xox", "xapp-", "akia", "asia", "aiza", "hf_", "npm_", "pypi-", "sk_", "rk_", "ya29.", "hvs.", "hvb.", "hvr.", "sg.", "hooks.slack",
    ),
    "web tokens (JWT)": ("eyj",),
    "private keys": ("-----begin",),
    "authorization headers": ("authorization", "bearer", "basic"),
    "cookies": ("cookie",),
    _COMMANDS: (*_NAMED, "--pass", "-pat", "cookie", "curl", " -u", "--user", "--proxy-user"),
    "logins of registries": ("_auth", 'auth"', "auth'", "auth\\"),
    _BESIDE: (*_NAMED, *(f"{name}{end}" for name in ("pass", "_pat") for end in "=:\"'\\ ")),
}  # fmt: skip
_SIGNS = (*dict.fromkeys(hint for hints in _HINTS.values() for hint in hints), "@", "://", "\\u", "\\b", "jwt")
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_ENDS = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_WORDS = re.compile(r"([\s'\"]+)")


class Scrubber:
    """Scrubs texts; `counts` says how often what was found."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.counts: Counter[str] = Counter()
        self._values = _values(environment)
        self._folded = {fold for value, _ in self._values if (fold := _fold(value))}
        self._is_in_key = False

    def begin(self) -> None:
        """Another file begins."""
        self._is_in_key = False

    def line(self, content: bytes) -> bytes:
        """One line of a file of text or of JSON lines; the same bytes where nothing in it is secret."""
        text = content.decode(errors="surrogateescape")
        if self._is_clean(text):
            return content
        document = parsed(text)
        if document is None:
            return self._plain_line(text).encode(errors="surrogateescape")
        try:
            scrubbed = self.document(document)
        except RecursionError:
            return self._plain_line(text).encode(errors="surrogateescape")
        if scrubbed == document:
            return content
        return (
            json.dumps(scrubbed, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + content[len(content.rstrip(b"\n")) :]
        )

    def document(self, value: object) -> object:
        """A JSON value; keys are scrubbed as well."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.document(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self._entry(key, item) for key, item in value.items()}
        return value

    def text(self, text: str) -> str:
        """Any text. A secret that is broken up, by colours for instance, is one all the same, and goes with what breaks it up."""
        shown = as_read(text)
        if shown != text and (scrubbed := self._lines(shown)) != shown:
            return scrubbed
        return self._lines(text)

    def _lines(self, text: str) -> str:
        """A line that is printed over itself goes whole where a secret is read in what comes of it."""
        if not _is_overprinted(text):
            return self._scrubbed(text)
        return self._scrubbed("\n".join(map(self._overprinted, text.split("\n"))))

    def _overprinted(self, line: str) -> str:
        said = line.rstrip("\r")
        shown = overprinted(said)
        return f"{MARK}{line[len(said) :]}" if "\r" in said and self._scrubbed(shown) != shown else line

    def _scrubbed(self, text: str) -> str:
        for value, what in self._values:
            if value in text:
                text = self._taken_out(text, re.compile(re.escape(value)), what)
        small = text.lower()
        for what, shape in _SHAPES.items():
            if any(hint in small for hint in _HINTS[what]):
                text = self._taken_out(text, shape, what)
        if "-" in text and self._folded:
            text = self._without_folds(text)
        return self._addresses(text) if "@" in text or "://" in text else text

    def _taken_out(self, text: str, shape: re.Pattern[str], what: str) -> str:
        """Without what the shape finds; behind its named groups, where it has some."""

        def take(found: re.Match[str]) -> str:
            kept = "".join(found[group] or "" for group in shape.groupindex)
            fold = _fold(found[0][len(kept) :])
            if fold and len(self._folded) < _MOST_FOLDS:
                self._folded.add(fold)
            return kept + MARK

        text, count = shape.subn(take, text)
        self.counts[what] += count
        return text

    def _without_folds(self, text: str) -> str:
        """A branch is named after the first words of a prompt, in small letters and cut: a secret in one is in the other."""
        for fold in self._folded:
            start = 0
            while (start := text.find(fold[:_SHORTEST], start)) >= 0:
                stop = start + _SHORTEST
                while text[stop : stop + 1] == fold[stop - start : stop - start + 1] != "":
                    stop += 1
                if text[stop : stop + 1] == "-" or text[stop - 1] == "-":
                    text = f"{text[:start]}{MARK}{text[stop:]}"
                    self.counts["names of branches"] += 1
                start += 1
        return text

    def _is_clean(self, text: str) -> bool:
        """Whether nothing in a line could be the sign of a secret; most lines are, and are not taken apart."""
        shown = as_read(text)
        if _is_overprinted(text) or (shown != text and not self._is_clean(shown)):
            return False
        small = text.lower()
        if self._is_in_key or any(sign in small for sign in _SIGNS):
            return False
        return not any(value in text for value, _ in self._values) and not any(fold[:_SHORTEST] in small for fold in self._folded)

    def _entry(self, key: str, value: object) -> object:
        if isinstance(value, list):
            return [self._entry(key, item) for item in value]
        # What is true, false or null tells no secret.
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value in ("", MARK):
            return self.document(value)
        is_guessed = isinstance(value, str) and _GUESSED_KEY.fullmatch(key) and _GUESSED_VALUE.fullmatch(value)
        if not is_guessed and not _SECRET_KEY.fullmatch(key):
            return self.document(value)
        self.counts[_BESIDE] += 1
        return MARK

    def _plain_line(self, text: str) -> str:
        """A private key goes over many lines, of which no single one says that it is one."""
        if self._is_in_key:
            self._is_in_key = not _KEY_ENDS.search(as_read(text))
            return ""
        shown = as_read(text)
        begins = _KEY_BEGINS.search(shown)
        self._is_in_key = begins is not None and not _KEY_ENDS.search(shown, begins.end())
        ending = "\n" if text.endswith("\n") and begins else ""
        return self.text(text.rstrip("\n") if ending else text) + ending

    def _addresses(self, text: str) -> str:
        words = [self._address(word) for word in _WORDS.split(text)]
        return "".join(words)

    def _address(self, word: str) -> str:
        if "@" not in word and "://" not in word:
            return word
        bare = without_secrets(word) if len(word) <= _LONGEST_WORD else MARK
        self.counts["userinfo and queries of URLs"] += bare != word
        return bare


def without_secrets_in_names(text: str, environment: Mapping[str, str]) -> str:
    """The beginning of a text of which a name is made that others will see; what looks like a secret is left out."""
    return Scrubber(environment).text(text[:_OF_A_NAME]).replace(MARK, "").replace("…", "")


def _is_overprinted(text: str) -> bool:
    """Whether a carriage return stands within a line of it."""
    return "\r" in text and any("\r" in line.rstrip("\r") for line in text.split("\n"))


def _fold(secret: str) -> str:
    """The secret as it would stand in the name of a branch; empty where that says too little of it."""
    fold = "-".join(re.findall(r"[a-z0-9]+", secret[:_LONGEST_FOLD].lower()))
    return fold if len(fold) >= _SHORTEST else ""


def _values(environment: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is not to be seen, the longest first, and the variable that it is of; also as it stands inside of JSON and of URLs."""
    found: dict[str, str] = {}
    for name, value in environment.items():
        is_known = name in CREDENTIALS and not name.endswith(_PLACES)
        if len(value.strip()) >= _SHORTEST and (is_known or (_SECRET_VARIABLE.fullmatch(name) and "/" not in value[:1])):
            once = json.dumps(value.strip())[1:-1]
            for spelling in (value.strip(), once, json.dumps(once)[1:-1], quote(value.strip(), safe="")):
                found.setdefault(spelling, f"the value of {name}")
    return sorted(found.items(), key=lambda entry: -len(entry[0]))


def rest_of_key(content: bytes) -> int:
    """How many bytes of a text that begins somewhere are the end of a private key."""
    text = content.decode("latin-1")
    ends = _KEY_ENDS.search(text)
    return 0 if ends is None or _KEY_BEGINS.search(text, 0, ends.start()) else ends.end()


def parsed(text: str) -> object:
    """The JSON object or array in a text, None where it is something else, or not what every reader would take it for."""
    bare = text.removeprefix("\ufeff").lstrip()
    if bare[:1] not in ("{", "["):
        return None
    try:
        return json.loads(bare, object_pairs_hook=_unambiguous)
    except (ValueError, RecursionError):
        return None


def _unambiguous(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; one that has a key twice hides the first value from whoever looks at it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
