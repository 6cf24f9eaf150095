"""Requests with the official Python SDK, with its own retries disabled: a line of JSON for each
with its result.

Arguments: the gateway's key, and then pairs of a base URL and `create` or `stream`.
"""

import json
import sys

import anthropic


def become(base, how):
    client = anthropic.Anthropic(base_url=base, api_key=sys.argv[1], max_retries=0)
    ask = {"model": "claude-opus-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "hello"}]}
    try:
        if how == "create":
            message = client.messages.create(**ask)
        else:
            with client.messages.stream(**ask) as stream:
                message = stream.get_final_message()
        return {"message": message.to_dict(mode="json")}
    except anthropic.APIError as error:
        return {"error": type(error).__name__, "says": str(error)}


pairs = sys.argv[2:]
for base, how in zip(pairs[::2], pairs[1::2]):
    print(json.dumps(become(base, how)), flush=True)
