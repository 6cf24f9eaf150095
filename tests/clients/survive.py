"""One request with the official Python SDK, which itself tries nothing again: one line of JSON says what became of it.

Arguments: the base URL, the gateway's key, and `create` or `stream`.
"""

import json
import sys

import anthropic

base, key, how = sys.argv[1:4]
client = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
ask = {"model": "claude-opus-5-5", "max_tokens": 256, "messages": [{"role": "user", "content": "hello"}]}
try:
    if how == "create":
        message = client.messages.create(**ask)
    else:
        with client.messages.stream(**ask) as stream:
            message = stream.get_final_message()
    print(json.dumps({"message": message.to_dict(mode="json")}))
except anthropic.APIError as error:
    print(json.dumps({"error": type(error).__name__, "says": str(error)}))
