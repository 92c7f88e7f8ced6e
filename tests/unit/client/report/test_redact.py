from typing import Any

import pytest

from regrow.client.report.redact import HIDDEN, Redactor, is_secret

PLAIN = Redactor()


@pytest.mark.parametrize(
    "name",
    [
        "password", "PASSWORD", "db_password", "userPassword", "passwd", "passphrase", "secret",
        "client_secret", "clientSecret", "token", "access_token", "X-Auth-Token", "api_key",
        "apikey", "API-Key", "x-api-key", "Authorization", "proxy-authorization", "Cookie",
        "Set-Cookie", "private_key", "privateKey", "credentials", "aws_secret_access_key",
        "AccessKey", "db_pass", "smtpPwd", "auth", "jwt", "session_id", "connection_string",
    ],
)  # fmt: skip
def test_name_of_a_secret_is_known(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["user", "url", "key", "author", "pass_rate", "passed", "authority", "session", "spin", ""],
)
def test_other_names_are_not(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"password": "hunter2", "user": "ann"}, {"password": HIDDEN, "user": "ann"}),
        ({"a": [{"api_key": "x1"}]}, {"a": [{"api_key": HIDDEN}]}),
        ({"credentials": {"user": "a", "pin": 7}}, {"credentials": HIDDEN}),
        ({"token": 123456}, {"token": HIDDEN}),
        ({"tokens": ["a", "b"]}, {"tokens": HIDDEN}),
        ({"name": "Authorization", "value": "xyz"}, {"name": "Authorization", "value": HIDDEN}),
        ({"key": "DB_PASSWORD", "value": "xyz"}, {"key": "DB_PASSWORD", "value": HIDDEN}),
        ([["Cookie", "a=b"], ["Accept", "*/*"]], [["Cookie", HIDDEN], ["Accept", "*/*"]]),
        (["curl", "--token", "xyz", "-v"], ["curl", "--token", HIDDEN, "-v"]),
        (["login", "--password=xyz"], ["login", f"--password={HIDDEN}"]),
        (["-H", "Authorization: Basic dXNlcjpwYXNz"], ["-H", f"Authorization: {HIDDEN}"]),
    ],
)
def test_secrets_in_values_are_hidden(value: Any, shown: Any) -> None:
    assert PLAIN.value(value) == shown


@pytest.mark.parametrize(
    "value",
    [
        {"password": "${{ secrets.DB }}"},
        {"Authorization": "Bearer ${{ secrets.TOKEN }}"},
        {"token": '${{ tasks."log-in".result.token }}'},
        {"url": "https://x.test/?token=${{ secrets.TOKEN }}"},
        {"max_tokens": 500, "total_tokens": 12.5},
        {"password": None, "has_token": True, "secret": ""},
        {"text": "the password was wrong", "basic": "a basic understanding of tokens"},
        {"url": "https://x.test:8080/a@b?c=d", "mail": "ann@x.test"},
        {"name": "get-token", "executor": "http"},
        [1, 2.5, None, True, "text"],
    ],
)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert PLAIN.value(value) == value


def test_reference_with_a_text_in_it_is_hidden() -> None:
    assert PLAIN.value({"password": "${{ 'hunter2' }}"}) == {"password": HIDDEN}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ann:pw@x.test/a", f"https://{HIDDEN}@x.test/a"),
        ("postgres://u:p@ss@db/x", f"postgres://{HIDDEN}@db/x"),
        ("cannot GET https://tok@x.test", f"cannot GET https://{HIDDEN}@x.test"),
        ("Bearer abc.def-ghi refused", f"Bearer {HIDDEN} refused"),
        ("Authorization: Bearer abc", f"Authorization: {HIDDEN}"),
        ("authorization=Basic dXNlcjpwYXNz", f"authorization={HIDDEN}"),
        ("said Basic dXNlcjpwYXNz to it", f"said Basic {HIDDEN} to it"),
        ("Cookie: a=1; b=2\nAccept: x", f"Cookie: {HIDDEN}\nAccept: x"),
        ("?api_key=k1&user=ann", f"?api_key={HIDDEN}&user=ann"),
        ("DB_PASSWORD=hunter2 ./run", f"DB_PASSWORD={HIDDEN} ./run"),
        (
            """{"password": "a \\" b", "user": "ann"}""",
            f"""{{"password": {HIDDEN}, "user": "ann"}}""",
        ),
        ("{'secret': 'x y', 'n': 1}", f"{{'secret': {HIDDEN}, 'n': 1}}"),
        ("client_secret: hunter2", f"client_secret: {HIDDEN}"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_-1 expired", f"{HIDDEN} expired"),
        ("ghp_abcdefghijklmnopqrstuvwxyz01", HIDDEN),
        ("key AKIAABCDEFGHIJKLMNOP", f"key {HIDDEN}"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----!", f"{HIDDEN}!"),
        ("-----BEGIN PRIVATE KEY-----\nMII", HIDDEN),
    ],
)
def test_secrets_in_texts_are_hidden(text: str, shown: str) -> None:
    assert PLAIN.text(text) == shown


def test_what_is_hidden_once_is_hidden_wherever_it_turns_up() -> None:
    redactor = Redactor([{"deep": [{"api_key": "live-key-2030"}]}])

    assert redactor.text("no account for live-key-2030.") == f"no account for {HIDDEN}."
    assert redactor.value({"echo": "live-key-2030"}) == {"echo": HIDDEN}


def test_credentials_are_known_without_their_scheme() -> None:
    redactor = Redactor([{"Authorization": "Token live-key-2030"}])

    assert redactor.text("live-key-2030 is stale") == f"{HIDDEN} is stale"


def test_short_secrets_and_references_are_not_looked_for() -> None:
    redactor = Redactor([{"pin": "12", "token": "${{ secrets.API }}"}])

    assert redactor.text("12 monkeys, ${{ secrets.API }}") == "12 monkeys, ${{ secrets.API }}"


def test_hiding_twice_changes_nothing() -> None:
    text = "password=hunter2 Bearer abc.def https://u:p@x.test Cookie: a"

    assert PLAIN.text(PLAIN.text(text)) == PLAIN.text(text)


@pytest.mark.parametrize(
    "piece", ["a", "token", "eyJ", "://", "password=", '"', "-----BEGIN ", "A "]
)
def test_long_texts_take_no_long_time(piece: str) -> None:
    PLAIN.text(piece * (200_000 // len(piece)))
