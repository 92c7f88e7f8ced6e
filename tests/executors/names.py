"""Names that only a test knows, and how often each was looked up."""

import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest


def know(
    monkeypatch: pytest.MonkeyPatch, answers: Mapping[str, Sequence[str | list[str]]]
) -> Counter[str]:
    """Let names have addresses: one answer for each time that a name is asked, the last for ever.

    Gives how often each name was asked. Other names, and addresses, are looked up as ever.
    """
    asked: Counter[str] = Counter()
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **options: Any) -> list[Any]:
        if host not in answers:
            return real(host, port, *rest, **options)
        answer = answers[host][min(asked[host], len(answers[host]) - 1)]
        asked[host] += 1
        found = answer if isinstance(answer, list) else [answer]
        return [entry for each in found for entry in real(each, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked
