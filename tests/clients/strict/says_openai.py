"""Responses in OpenAI's protocol, made with the openai package's response types."""

import json

from openai.types import Model, chat

from said import Answer, pieces, pieces_of


class OpenAi:
    """The format of servers with reasoning: reasoning, text, calls as interleaved deltas, usage in
    a separate chunk.
    """

    # Whether text may follow a call.
    mixes = False
    ends = {"done": "stop", "long": "length", "refused": "content_filter"}

    def stream(self, number, turn):
        deltas = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in pieces(turn.thoughts)]
        deltas += [{"content": piece} for piece in pieces(turn.text)]
        begun = []
        for place, (name, arguments) in enumerate(turn.calls):
            call = {"index": place, "id": f"call_of_turn_{number}_{place}", "type": "function"}
            deltas.append({"tool_calls": [{**call, "function": {"name": name, "arguments": ""}}]})
            begun.append(pieces(json.dumps(arguments), 9))
        while any(begun):
            more = [(place, left.pop(0)) for place, left in enumerate(begun) if left]
            deltas += [{"tool_calls": [{"index": place, "function": {"arguments": piece}}]} for place, piece in more]
        events = [self.chunk(number, {"index": 0, "delta": delta, "finish_reason": None}) for delta in deltas]
        if not turn.cut:
            end = "tool_calls" if turn.calls else self.ends[turn.end]
            events.append(self.chunk(number, {"index": 0, "delta": {}, "finish_reason": end}))
            events += [self.chunk(number, None), "[DONE]"]
        return Answer(events=events, cut=turn.cut)

    def chunk(self, number, choice):
        usage = {
            "prompt_tokens": 1000 + number,
            "completion_tokens": 50,
            "total_tokens": 1050 + number,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 30},
        }
        value = chat.ChatCompletionChunk.model_validate(
            {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "gpt-of-the-test",
                "choices": [choice] if choice else [],
                "usage": None if choice else usage,
            }
        )
        return value.model_dump_json(exclude_unset=True)

    def at_random(self, steps, end, source):
        deltas, calls = [{"role": "assistant", "content": source.choice([None, ""])}], []
        for kind, *said in steps:
            if kind == "call":
                name, arguments = said
                place = len(calls)
                call = {"index": place, "id": f"call_at_random_{place}", "type": "function"}
                text = json.dumps(arguments) if arguments else source.choice(["", "{}"])
                calls.append([{**call, "function": {"name": name, "arguments": ""}}])
                calls[-1] += [{"index": place, "function": {"arguments": part}} for part in pieces_of(text, source)]
            else:
                field = "reasoning_content" if kind == "thought" else "content"
                deltas += [{field: piece} for piece in pieces_of(said[0], source)]
        together = source.random() < 0.5
        while any(calls):
            # Calls begin in order; their deltas are interleaved, or one call follows the other.
            begun = [call for call in calls if call and "id" not in call[0]]
            new = [call for call in calls if call and "id" in call[0]][:1]
            next_call = source.choice(begun + new) if together else (begun + new)[0]
            deltas.append({"tool_calls": [next_call.pop(0)]})
        reason = {"tool_use": "tool_calls", "end_turn": "stop", "max_tokens": "length", "refusal": "content_filter"}[end]
        if source.random() < 0.5:
            deltas.append({})
        ends = [None] * (len(deltas) - 1) + [reason]
        choices = [{"index": 0, "delta": delta, "finish_reason": end} for delta, end in zip(deltas, ends)]
        return [*(self.chunk(0, choice) for choice in choices), self.chunk(0, None), "[DONE]"]

    def ends_in(self, event):
        return event != "[DONE]" and any(choice["finish_reason"] for choice in json.loads(event)["choices"])

    def error(self, status, message, wait=None):
        kinds = {400: "invalid_request_error", 429: "rate_limit_exceeded"}
        error = {"message": message, "type": kinds[status], "param": None, "code": None}
        headers = {"retry-after": str(wait)} if wait else {}
        return Answer(status=status, headers=headers, body=json.dumps({"error": error}))

    def models(self, names):
        listed = [Model(id=name, created=1, object="model", owned_by="test").model_dump() for name in names]
        return Answer(body=json.dumps({"object": "list", "data": listed}))

    def is_list(self, path):
        return path == "/models"

    def is_count(self, path):
        return False

    def turns(self, sent):
        return [message for message in sent["messages"] if message["role"] == "assistant"]

    def history(self):
        return "messages"

    def head(self):
        return ("tools", "tool_choice")

    def last_text(self, sent):
        last = [message for message in sent["messages"] if message["role"] == "user"][-1]["content"]
        return last if isinstance(last, str) else "\n".join(part.get("text", "") for part in last)

    def has_result(self, sent):
        return any(message["role"] == "tool" for message in sent["messages"])

    def thinks(self, sent):
        return "reasoning_effort" in sent

    def calls(self, message):
        made = message.get("tool_calls") or []
        return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in made]

    def signed_wrong(self, number, message):
        """Nothing is signed in this protocol, but a call keeps the id that the server gave it."""
        names = [call["id"] for call in message.get("tool_calls") or []]
        wanted = [f"call_of_turn_{number}_{place}" for place in range(len(names))]
        return [] if names == wanted else [f"turn {number}: the ids {names}, wanted {wanted}"]

    def results(self, sent):
        came = []
        for message in reversed(sent["messages"]):
            if message["role"] == "assistant":
                break
            if message["role"] == "tool":
                came.insert(0, message)
        return came

    def has_image(self, sent, data):
        return f"data:image/png;base64,{data}" in json.dumps(sent["messages"])
