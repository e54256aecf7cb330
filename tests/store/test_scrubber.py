"""What looks like a secret does not leave; what does not, stays to the byte."""

import json

import pytest

from devsh_memory_mcp.agents.plain import as_read
from devsh_memory_mcp.store.scrubber import MARK, Scrubber, rest_of_key

# Put together here, so that no file of this repository has the shape of a key.
KEYS = {
    "anthropic": "sk-" + "ant-api03-AbC_def-123",
    "openai": "sk-" + "proj-a1b2c3d4e5f6g7h8i9",
    "github": "ghp" + "_AbCdEfGhIjKlMnOpQrStUvWx",
    "fine-grained": "github" + "_pat_11AAAAAAA0abcdefghij_klm",
    "gitlab": "glpat" + "-abcdefghij1234567890",
    "slack": "xoxb" + "-1234567890-abcdefghij",
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "jwt": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "bearer": "Bearer " + "abcdefghijkl123456==",
    "url": "https://someone:hunter22@example.com/r.git",
    "query": "https://example.com/r?access=hunter22",
    "assigned": "DB_PASSWORD=hunter22",
    "quoted": 'api_key: "hunter22"',
    "postgres": "PGPASSWORD=hunter22",
    "mysql": "MYSQL_PWD=hunter22",
    "pass": "DB_PASS='hunter22'",
    "pat": "GITHUB_PAT=hunter22",
    "option": "--password hunter22",
    "short option": "--password x9 --token hunter22",
    "netrc": "machine example.com login someone password hunter22",
    "curl": "curl -sSu someone:hunter22 example.com",
    "user": "--user 'someone:hunter22'",
    "authorization": "Authorization: Token hunter22",
    "cookie": "Cookie: theme=dark; session=hunter22",
    "camel": '{"dbPassword":"hunter22"}',
    "number": '{"password":4711004711}',
    "list": '{"password":["hunter22"]}',
    "registry": '{"auths":{"r":{"auth":"' + 'c29tZW9uZTpodW50ZXIyMg=="}}}',
    "azure": "AccountName=a;AccountKey=hunter22/+==;EndpointSuffix=b",
    "words": 'password="several words, hunter22"',
    "escaped": 'password=\\"several words, hunter22\\"',
    "ampersand": "secret=ab&hunter22",
    "webhook": "https:" + "//hooks.slack.com/services/T00000000/B00000000/abcdefghij",
    "slack app": "xapp" + "-1-A0-abcdefghij",
    "google": "ya29" + ".a0AfH6-abcdefghij",
    "vault": "hvs" + ".CAESI-abcdefghij",
    "sendgrid": "SG" + ".0123456789abcdefghij.abcdefghij",
    "runner": "glrt" + "-abcdefghij1234567890",
    "docker": "dckr" + "_pat_abcdefghij123",
}
SECRET_PARTS = ("AbC_def", "a1b2c3d4", "AbCdEfGh", "11AAAAAAA0", "abcdefghij", "IOSFODNN", "c2lnbmF0", "hunter22", "x9", "4711", "c29tZW9u")


@pytest.mark.parametrize("text", KEYS.values(), ids=KEYS)
def test_keys_are_known_by_their_shape_and_counted(text: str) -> None:
    for around in ("{}", "it is {}, I think", "({})", "export X={};true"):
        scrubber = Scrubber({})
        scrubbed = scrubber.text(around.format(text))
        assert not any(part in scrubbed for part in SECRET_PARTS), scrubbed
        assert +scrubber.counts


BREAKS = {
    "colour": "\x1b[0m", "colours": "\x1b[1;31m\x1b[K", "title": "\x1b]0;title\x07", "quoted": "\\u001b[0m", "shell": "\\033[0m",
    "backspace": "X\b", "bold": "_\b", "joiner": "\u200d", "bell": "\x07", "reset": "\x1bc",
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("text", [KEYS[name] for name in ("anthropic", "github", "jwt", "assigned", "option", "url")])
def test_a_key_that_is_broken_up_goes_as_one_wherever_it_is_broken(text: str, name: str) -> None:
    for at in range(1, len(text)):
        broken = f"it is {text[:at]}{BREAKS[name]}{text[at:]}\n"
        again = "" if "\b" in broken else json.dumps(broken)
        for line in (broken.encode(), json.dumps({"said": broken, "again": again}).encode() + b"\n"):
            scrubbed = Scrubber({}).line(line).decode()
            assert MARK in scrubbed or "…" in scrubbed, scrubbed
            assert not any(part in as_read(scrubbed) for part in SECRET_PARTS), scrubbed


def test_the_value_of_a_variable_and_a_private_key_are_known_when_they_are_coloured() -> None:
    assert Scrubber({"MY_SECRET": "s3cret-value"}).line(b"s3cr\x1b[1met-value\n") == f"{MARK}\n".encode()
    scrubber, begin = Scrubber({}), "-----BEGIN \x1b[1mPRIVATE KEY-----"
    assert b"".join(scrubber.line(f"{line}\n".encode()) for line in (begin, "abc", "\x1b[1m-----END PRIVATE KEY-----", "x")) == (
        f"{MARK}\nx\n".encode()
    )


def test_a_line_that_is_printed_over_itself_goes_whole_where_that_shows_a_key() -> None:
    key = KEYS["anthropic"]
    assert Scrubber({}).line(f"1 %\r{key}\r3 %\r\n".encode()) == f"1 %\r{MARK}\r3 %\r\n".encode()
    assert Scrubber({}).line(f"{'x' * 9}{key[9:]}\r{key[:9]}\r\n".encode()) == f"{MARK}\r\n".encode()


@pytest.mark.parametrize("text", KEYS.values(), ids=KEYS)
def test_a_line_of_json_stays_one_also_where_json_stands_in_it(text: str) -> None:
    document = {"seq": 7, "message": f'a "{text}"\nb', "inner": json.dumps({"said": [text]}), "list": [text], text: 1}
    line = Scrubber({}).line(json.dumps(document).encode() + b"\n")
    assert json.loads(line)["seq"] == 7
    assert line.endswith(b"}\n")
    assert not any(part in line.decode() for part in SECRET_PARTS), line


def test_values_of_variables_that_hold_credentials_are_known_in_every_spelling() -> None:
    value = 'pä"ss\\wörd /x'
    scrubber = Scrubber({"ANTHROPIC_AUTH_TOKEN": value, "MY_SECRET": "s3cret-value", "HOME": "/home/someone", "TOKEN": "short"})
    for spelled in (value, json.dumps(value), json.dumps(json.dumps(value)), "p%C3%A4%22ss%5Cw%C3%B6rd%20%2Fx", "it's s3cret-value!"):
        assert MARK in scrubber.text(spelled)
    assert scrubber.text("/home/someone is short") == "/home/someone is short"
    assert set(scrubber.counts) >= {"the value of ANTHROPIC_AUTH_TOKEN", "the value of MY_SECRET"}


@pytest.mark.parametrize("name", ["PGPASSWORD", "MYSQL_PWD", "DB_PASS", "GITHUB_PAT"])
def test_variables_of_passwords_are_known_by_their_names(name: str) -> None:
    assert Scrubber({name: "an0ther-value", "PWD": "not-a-secret"}).text("an0ther-value not-a-secret") == f"{MARK} not-a-secret"


def test_a_netrc_of_many_lines_and_a_quoted_value_leave_nothing_and_take_no_more() -> None:
    assert Scrubber({}).text("machine a\n  login b\n  password c\n") == f"machine a\n  login b\n  password {MARK}\n"
    assert Scrubber({}).text('password="a b", x="c"') == f'password="{MARK}", x="c"'


def test_a_branch_that_is_named_after_a_prompt_does_not_tell_its_secret() -> None:
    scrubber = Scrubber({})
    scrubber.text(f"use {KEYS['github']} for it")
    assert scrubber.text("dev/use-ghp-abcdefghijklmnop-a1b2c") == f"dev/use-{MARK}-a1b2c"
    assert scrubber.text("dev/use-the-branch-a1b2c") == "dev/use-the-branch-a1b2c"


@pytest.mark.parametrize("kind", ["OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_private_keys_go_whole_in_one_line_or_many(kind: str) -> None:
    begin, end = f"-----BEGIN {kind}-----", f"-----END {kind}-----"
    body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
    scrubber = Scrubber({})
    assert body not in scrubber.text(f"{begin}\n{body}\n{end}")
    lines = [scrubber.line(f"{line}\n".encode()) for line in ("before", begin, body, body, end, "after")]
    assert b"".join(lines) == f"before\n{MARK}\nafter\n".encode()
    assert [rest_of_key(text.encode()) for text in (f"{body}\n{end}\nafter", f"{begin}\n{body}\n{end}", "none")] == [
        len(body) + 1 + len(end), 0, 0,
    ]  # fmt: skip


def test_what_is_no_secret_stays_to_the_byte() -> None:
    lines = [
        b'{"seq": 1,  "event":"agent_spawned", "taskRunId":"tr_abc123def456","idempotencyKey":"k-1234567890","usage":{"inputTokens":12}}\n',
        b"task-management-of-12345 costs 5 tokens: a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\n",
        b"not \xff text, no newline",
        b"docker run -u 1000:1000 x; PASS: test_of_all passed; cd /some_path: ok; python -u x.py\n",
        b'{"auth": "subscription", "pass": 12, "passwordNeeded": true, "token": null, "secret": false}\n',
        b"https://example.com/path#x at 12:30\r\n",
        b"\x1b[32mok\x1b[0m 12 tokens\r100 %\b\b of \\033[1mit\r\n",
    ]
    scrubber = Scrubber({"PATH": "/usr/bin"})
    assert [scrubber.line(line) for line in lines] == lines
    assert not +scrubber.counts


def test_json_that_hides_a_value_behind_a_second_key_or_is_too_deep_is_scrubbed_as_text() -> None:
    key = KEYS["anthropic"]
    twice, deep = f'{{"a":"{key}","a":"x"}}\n', "[" * 100_000 + f'"{key}"' + "]" * 100_000
    for line in (twice, deep, f'\ufeff{{"a":"{key}"}}\n', f'{{"token":"{"x" * 12}"}}\n'):
        scrubbed = Scrubber({}).line(line.encode()).decode()
        assert MARK in scrubbed
        assert "AbC_def" not in scrubbed


def test_long_lines_that_mean_harm_take_no_long_time() -> None:
    words = [
        "a:", "://", "sk-", "eyJ", "token", "-----BEGIN PRIVATE KEY-----", "bearer ", "x@", "password=", "password='", "--password ",
        "cookie: a=", "cookie: ", "-u a", 'auth": "', "login a ", "_pass\\\\", "--", "\\", "curl " + "-u" + " " * 4,
        "\b", "a\b", "\r", "\x1b[", "\\x1b[", "ab\b\b", "\x1b]", "token\r", "\r",
    ]  # fmt: skip
    for word in words:
        Scrubber({}).text(word * (200_000 // len(word)))
