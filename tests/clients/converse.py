"""A conversation with tools by the official Python SDK, with its own retries disabled: a line of
JSON for each turn with its result. It ends at the first error.

Arguments: the gateway's key, its base URL, `create` or `stream`, the number of turns, and the turn
before which the client clears its first tool result, or 0.
"""

import json
import sys

import anthropic

key, base, how, turns, clears = sys.argv[1:]
client = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
schema = {"type": "object", "properties": {"path": {"type": "string"}}}
ask = {
    "model": "claude-opus-5-5",
    "max_tokens": 4096,
    "system": "Read what you need.",
    "thinking": {"type": "adaptive"},
    "tools": [{"name": name, "description": "Reads.", "input_schema": schema} for name in ("read", "search")],
}
messages = []


def follow_up(turn):
    calls = [block for block in messages[-1]["content"] if block.type == "tool_use"] if messages else []
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"result {turn}"} for call in calls]
    return {"role": "user", "content": results or f"question {turn}"}


for turn in range(1, int(turns) + 1):
    if turn == int(clears):
        messages[2]["content"][0]["content"] = "[cleared]"
    messages.append(follow_up(turn))
    try:
        if how == "create":
            message = client.messages.create(messages=messages, **ask)
        else:
            with client.messages.stream(messages=messages, **ask) as stream:
                message = stream.get_final_message()
    except anthropic.APIError as error:
        print(json.dumps({"error": type(error).__name__, "says": str(error)}), flush=True)
        break
    messages.append({"role": "assistant", "content": message.content})
    print(json.dumps({"stop_reason": message.stop_reason}), flush=True)
