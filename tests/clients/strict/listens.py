"""Reads random responses (turns.py) with the official Python SDK: each must arrive completely and
in Anthropic's order, or visibly truncated.

Arguments: the gateway's base URL, its key, `gemini` or `openai`, and the number of responses.
Prints a line for each failure, and one with the counts.
"""

import json
import sys

import anthropic

import turns

BASE, KEY, DIALECT, COUNT = sys.argv[1:5]
CLIENT = anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0)


def asked(seed):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    tools = [{"name": f"tool_{at}", "input_schema": {"type": "object"}} for at in range(4)]
    # A model of its own: a truncated response puts the account on cooldown for that model.
    messages = [{"role": "user", "content": f"seed {seed}"}]
    return {"model": f"m-{seed}", "max_tokens": 4096, "thinking": thinking, "tools": tools, "messages": messages}


def out_of_order(events):
    """The first event that is out of order."""
    open_block, next_index, state = None, 0, "before"
    for event in events:
        kind = event.type
        fine = {
            "message_start": state == "before",
            "content_block_start": state == "within" and open_block is None and getattr(event, "index", 0) == next_index,
            "content_block_delta": open_block is not None and getattr(event, "index", None) == open_block,
            "content_block_stop": open_block is not None and getattr(event, "index", None) == open_block,
            "message_delta": state == "within" and open_block is None,
            "message_stop": state == "ending",
            "ping": True,
        }[kind]
        if not fine:
            return f"{kind} while {state}, block {open_block}"
        if kind == "content_block_start":
            open_block, next_index = event.index, next_index + 1
        if kind == "content_block_stop":
            open_block = None
        state = {"message_start": "within", "message_delta": "ending", "message_stop": "done"}.get(kind, state)
    return None if state == "done" else f"ended while {state}"


def heard(message):
    names = {"thinking": "thought", "text": "text", "tool_use": "call"}
    for block in message.content:
        # A signature without thinking.
        if block.type == "thinking" and not block.thinking:
            continue
        said = (block.name, block.input) if block.type == "tool_use" else (getattr(block, block.type),)
        yield (names[block.type], *said)


def result(seed):
    """`whole`, `cut`, or `empty`: thinking alone is not a message that Gemini meant to end."""
    steps, end, cut, _ = turns.answer(seed, DIALECT == "gemini")
    thinks_only = all(kind == "thought" for kind, *_ in steps)
    if not cut and DIALECT == "gemini" and end == "end_turn" and thinks_only:
        return "empty"
    return "cut" if cut else "whole"


def wrong(seed):
    steps, end, _, _ = turns.answer(seed, DIALECT == "gemini")
    wanted = result(seed)
    for how in ("stream", "create"):
        try:
            if how == "stream":
                events = list(CLIENT.messages.create(**asked(seed), stream=True))
                if order := out_of_order(events):
                    return order
                with CLIENT.messages.stream(**asked(seed)) as stream:
                    message = stream.get_final_message()
            else:
                message = CLIENT.messages.create(**asked(seed))
        except anthropic.APIError as error:
            if wanted != "whole":
                continue
            return f"{how}: {error!r}"
        if wanted != "whole":
            return f"{how}: it was {wanted}, and came as {message.to_json(indent=None)}"
        got = list(heard(message))
        if got != turns.blocks(steps) or message.stop_reason != end:
            return f"{how}: {message.stop_reason} {got}, wanted {end} {turns.blocks(steps)}"
    return None


counts = {"whole": 0, "cut": 0, "empty": 0}
for seed in range(int(COUNT)):
    if flaw := wrong(seed):
        print(f"FAIL {seed}: {flaw}"[:2000], flush=True)
    else:
        counts[result(seed)] += 1
print(json.dumps(counts), flush=True)
