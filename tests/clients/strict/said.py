"""What is common to both ways of saying what a model does."""

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
    """Of any size."""
    at, cut = 0, []
    while at < len(text):
        size = source.choice([1, 2, 5, 30, 1000])
        cut.append(text[at : at + size])
        at += size
    return cut


def signature(turn, call):
    """Of the first call of a turn, as the API signs; each another one."""
    return base64.b64encode(f"{turn}:{call}:".encode() + bytes(range(200, 256))).decode()
