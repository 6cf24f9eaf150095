"""Random turns of a model: the same number gives the same turn to the upstream and to the reader.

An answer is a list of steps, `("thought", text)`, `("text", text)` or `("call", name, arguments)`,
how it ends, and whether the stream is cut before that.
"""

import random

WORDS = ["a", "\n", "é😀", "{\"x\":", " ", "\\", "data: [DONE]\n\n", "\u2028", "word " * 40, "<tool>"]
ARGUMENTS = [{}, {"city": "Rome"}, {"a": None, "b": [1, {"c": "\"\n"}], "d": 1.5}, {"long": "x" * 500}]
ENDS = ["end_turn", "end_turn", "max_tokens", "refusal"]


def answer(seed, mixed):
    """With `mixed`, steps of any kind follow each other, which only Gemini's protocol allows."""
    source = random.Random(seed)
    steps = []
    for _ in range(source.randint(1, 6)):
        kind = source.choice(["thought", "text", "text", "call"])
        if kind == "call":
            steps.append((kind, f"tool_{source.randint(0, 3)}", source.choice(ARGUMENTS)))
        else:
            steps.append((kind, "".join(source.choice(WORDS) for _ in range(source.randint(1, 5))) + "."))
    if not mixed:
        steps.sort(key=lambda step: ["thought", "text", "call"].index(step[0]))
    called = any(step[0] == "call" for step in steps)
    end = "tool_use" if called else source.choice(ENDS)
    return steps, end, source.random() < 0.2, source


def blocks(steps):
    """The blocks that a client should read: adjacent steps of one kind are one block."""
    made = []
    for kind, *said in steps:
        if kind != "call" and made and made[-1][0] == kind:
            made[-1] = (kind, made[-1][1] + said[0])
        else:
            made.append((kind, *said))
    return made
