"""Caps `max_tokens`. The setting `most` is the largest value that is sent."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import settings
from wit_world.imports.exchange import (
    Node,
    Operation_Replace,
    Verdict,
    Verdict_Proceed,
)

MAX_TOKENS = "$.max_tokens"


def most_of(text: str) -> int:
    given = {"most": 8192, **json.loads(text)}
    unknown = given.keys() - {"most"}
    if unknown:
        raise Err(f"settings: unknown key `{unknown.pop()}`, expected `most`")
    if type(given["most"]) is not int or given["most"] < 1:
        raise Err("settings: `most`: expected a number of tokens")
    return given["most"]


class Manifest(exports.Manifest):
    def describe(self, settings: str) -> str:
        most_of(settings)
        return json.dumps(
            {
                "summary": "caps max_tokens",
                "version": "1.0.0",
                "guards": {"attempt": [{"path": MAX_TOKENS}]},
            }
        )


class AttemptHook(exports.AttemptHook):
    def on_attempt(self, request, target) -> Verdict:
        most = most_of(settings.get())
        for found in request.read(MAX_TOKENS):
            if json.loads(found.value) > most:
                capped = Node(pointer=found.pointer, value=str(most))
                request.patch([Operation_Replace(capped)])
                request.note(f"max_tokens {found.value} capped to {most}")
        return Verdict_Proceed()
