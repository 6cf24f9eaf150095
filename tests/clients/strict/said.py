"""Common to both protocols: turns, answers and random pieces of text."""

import base64
import dataclasses


@dataclasses.dataclass
class Turn:
    thoughts: str = ""
    text: str = ""
    calls: list = dataclasses.field(default_factory=list)
    end: str = "done"
    cut: bool = False


@dataclasses.dataclass
class Answer:
    status: int = 200
    headers: dict = dataclasses.field(default_factory=dict)
    body: str | None = None
    events: list = dataclasses.field(default_factory=list)
    cut: bool = False


def pieces(text, size=7):
    return [text[at : at + size] for at in range(0, len(text), size)]


def pieces_of(text, source):
    """The text in pieces of random sizes."""
    at, cut = 0, []
    while at < len(text):
        size = source.choice([1, 2, 5, 30, 1000])
        cut.append(text[at : at + size])
        at += size
    return cut


def signature(turn, call):
    """The signature of a call. The API signs the first call of a turn; each signature is different.
    """
    return base64.b64encode(f"{turn}:{call}:".encode() + bytes(range(200, 256))).decode()
