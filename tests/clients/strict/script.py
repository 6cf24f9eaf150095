"""What the strict upstream answers, made with the provider's own response types.

A `Turn` says what the model does; `Gemini` and `OpenAi` say it in their protocol. `Session` is a conversation of ten turns
for Claude Code, which also checks what came back of the turns before; `Sdk` answers by what the last user text asks for,
`Always` the same, `AtRandom` anything (turns.py).
"""

import base64
import dataclasses
import json
import pathlib

from google.genai import types
from openai.types import Model, chat

import turns


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


class Gemini:
    """As the public API streams: thoughts, text and whole calls as parts, usage in each chunk."""

    ends = {"done": "STOP", "long": "MAX_TOKENS", "refused": "SAFETY"}

    def stream(self, number, turn):
        parts = [types.Part(text=piece, thought=True) for piece in pieces(turn.thoughts)]
        parts += [types.Part(text=piece) for piece in pieces(turn.text)]
        for place, (name, arguments) in enumerate(turn.calls):
            signed = base64.b64decode(signature(number, place)) if place == 0 else None
            call = types.FunctionCall(name=name, args=arguments)
            parts.append(types.Part(function_call=call, thought_signature=signed))
        events = [self.chunk(number, [part]) for part in parts]
        if not turn.cut:
            events.append(self.chunk(number, [types.Part(text="")], self.ends[turn.end]))
        return Answer(events=events, cut=turn.cut)

    def chunk(self, number, parts, end=None):
        usage = types.GenerateContentResponseUsageMetadata(
            prompt_token_count=1000 + number,
            cached_content_token_count=400,
            candidates_token_count=20,
            thoughts_token_count=30,
            total_token_count=1050 + number,
        )
        candidate = types.Candidate(content=types.Content(role="model", parts=parts), finish_reason=end, index=0)
        response = types.GenerateContentResponse(
            candidates=[candidate],
            usage_metadata=usage,
            model_version="gemini-of-the-test",
            response_id=f"response-{number}",
        )
        value = response.model_dump(mode="json", by_alias=True, exclude_none=True)
        for part in value["candidates"][0]["content"]["parts"]:
            if "thoughtSignature" in part:
                # The SDK writes the other alphabet of base 64 than the API.
                part["thoughtSignature"] = part["thoughtSignature"].replace("-", "+").replace("_", "/")
        return json.dumps(value)

    def at_random(self, steps, end, source):
        parts = []
        for place, (kind, *said) in enumerate(steps):
            if kind == "call":
                name, arguments = said
                signed = base64.b64decode(signature(0, place)) if source.random() < 0.5 else None
                call = types.FunctionCall(name=name, args=arguments or None)
                parts.append(types.Part(function_call=call, thought_signature=signed))
            else:
                thought = True if kind == "thought" else None
                parts += [types.Part(text=piece, thought=thought) for piece in pieces_of(said[0], source)]
        events = []
        while parts:
            count = source.choice([1, 1, 2, 4])
            events.append(parts[:count])
            parts = parts[count:]
        reason = {"tool_use": "STOP", "end_turn": "STOP", "max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}[end]
        if source.random() < 0.5:
            events.append(source.choice([[], [types.Part(text="")]]))
        ends = [None] * (len(events) - 1) + [reason]
        return [self.chunk(0, parts, end) for parts, end in zip(events, ends)]

    def ends_in(self, event):
        return "finishReason" in event

    def error(self, status, message, wait=None):
        kinds = {400: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED"}
        error = {"code": status, "message": message, "status": kinds[status]}
        if wait:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            error["details"] = [{"@type": kind, "retryDelay": f"{wait}s"}]
        return Answer(status=status, body=json.dumps({"error": error}))

    def count(self):
        said = types.CountTokensResponse(total_tokens=321).model_dump(mode="json", by_alias=True, exclude_none=True)
        return Answer(body=json.dumps(said))

    def models(self, names):
        said = [types.Model(name=f"models/{name}", display_name=name.title()) for name in names]
        listed = [model.model_dump(mode="json", by_alias=True, exclude_none=True) for model in said]
        for model in listed:
            model["supportedGenerationMethods"] = ["generateContent", "countTokens"]
        return Answer(body=json.dumps({"models": listed}))

    def is_list(self, path):
        return path.startswith("/models?") or path == "/models"

    def is_count(self, path):
        return path.endswith(":countTokens")

    def turns(self, sent):
        """The model's contents of a conversation."""
        return [content for content in sent["contents"] if content["role"] == "model"]

    def history(self):
        return "contents"

    def head(self):
        return ("systemInstruction", "tools", "toolConfig")

    def last_text(self, sent):
        last = [content for content in sent["contents"] if content["role"] == "user"][-1]
        return "\n".join(part.get("text", "") for part in last["parts"])

    def has_result(self, sent):
        return any("functionResponse" in part for content in sent["contents"] for part in content["parts"])

    def thinks(self, sent):
        return sent.get("generationConfig", {}).get("thinkingConfig", {}).get("includeThoughts") is True

    def calls(self, content):
        made = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        return [(call["name"], call.get("args", {})) for call in made]

    def signed_wrong(self, number, content):
        """What is wrong with the signatures of an earlier turn."""
        signed = [part for part in content["parts"] if "functionCall" in part]
        wanted = [signature(number, 0)] + [None] * (len(signed) - 1) if signed else []
        got = [part.get("thoughtSignature") for part in signed]
        return [] if got == wanted else [f"turn {number}: the signatures {got}, wanted {wanted}"]

    def results(self, sent):
        """The results that came last: name, whether it failed, all of it as text."""
        parts = sent["contents"][-1]["parts"]
        return [part["functionResponse"] for part in parts if "functionResponse" in part]

    def has_image(self, sent, data):
        return data in json.dumps(sent["contents"])


class OpenAi:
    """As servers with reasoning stream: reasoning, text, calls as interleaved deltas, usage in a chunk of its own."""

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
            # Beginning in order; then in turns, or one after the other.
            begun = [call for call in calls if call and "id" not in call[0]]
            new = [call for call in calls if call and "id" in call[0]][:1]
            told = source.choice(begun + new) if together else (begun + new)[0]
            deltas.append({"tool_calls": [told.pop(0)]})
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
        """Nothing is signed here, but a call has the name that the server gave it."""
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


def bash(command):
    return ("Bash", {"command": command, "description": "as the test wants it"})


class Session:
    """Ten turns of Claude Code, which gets a picture to look at."""

    def __init__(self, speaks, picture):
        self.speaks = speaks
        self.before = None
        self.picture = base64.b64encode(pathlib.Path(picture).read_bytes()).decode()
        self.turns = [
            Turn("Three at once.", "I look.", [bash("echo one"), bash("echo two"), bash("echo three")]),
            Turn("A picture.", "", [("Read", {"file_path": picture})]),
            Turn("This will fail.", "It may fail.", [bash("echo not-so-good >&2; exit 3")]),
            *(Turn(f"Thought {n}.", f"Step {n}.", [bash(f"echo step-{n}")]) for n in range(3, 9)),
            Turn("That is all.", "All ten turns are done."),
        ]

    def to(self, path, body, flaws):
        sent = json.loads(body)
        past = self.speaks.turns(sent)
        number = len(past)
        flaws += self.went_on(body) + self.came_back(sent, past, number)
        if not self.speaks.thinks(sent):
            flaws.append("thinking is off")
        return self.speaks.stream(number, self.turns[min(number, len(self.turns) - 1)])

    def went_on(self, body):
        """A conversation only grows: all that was sent before is sent again, byte for byte."""
        before, self.before = self.before, members(body)
        if before is None:
            return []
        now = self.before
        flaws = [f"{name} changed" for name in self.speaks.head() if now.get(name) != before.get(name)]
        history = self.speaks.history()
        if not now[history].startswith(before[history][:-1] + ","):
            at = next((at for at, pair in enumerate(zip(now[history], before[history])) if pair[0] != pair[1]), 0)
            was, is_now = before[history][at - 40 : at + 60], now[history][at - 40 : at + 60]
            flaws.append(f"{history} changed at {at}: {was!r} became {is_now!r}")
        return flaws

    def came_back(self, sent, past, number):
        flaws = []
        for place, said in enumerate(past):
            flaws += self.speaks.signed_wrong(place, said)
            if self.speaks.calls(said) != self.turns[place].calls:
                flaws.append(f"turn {place}: the calls {self.speaks.calls(said)}")
        if number:
            wanted = len(self.turns[number - 1].calls)
            results = self.speaks.results(sent)
            if len(results) != wanted:
                flaws.append(f"turn {number}: {len(results)} results, wanted {wanted}")
            flaws += self.of_the_turn(number, json.dumps(results), sent)
        return flaws

    def of_the_turn(self, number, results, sent):
        words = {1: ["one", "two", "three"], 3: ["not-so-good", "Exit code 3"], 4: ["step-3"], 9: ["step-8"]}
        flaws = [f"turn {number}: no {word!r}" for word in words.get(number, []) if word not in results]
        if number == 1 and not results.index("one") < results.index("two") < results.index("three"):
            flaws.append("the results are in another order")
        if number == 2 and not self.speaks.has_image(sent, self.picture):
            flaws.append("the picture did not come")
        return flaws


def members(text):
    """The members of an object as they are spelt."""
    decoder, at, found = json.JSONDecoder(), 1, {}
    while text[at - 1] != "}":
        name, at = decoder.raw_decode(text, at)
        begin = at + 1
        _, at = decoder.raw_decode(text, begin)
        found[name] = text[begin:at]
        at += 1
    return found


class Sdk:
    """By what the last user text asks for."""

    def __init__(self, speaks):
        self.speaks = speaks

    def to(self, path, body, flaws):
        if self.speaks.is_list(path):
            return self.speaks.models(["one-model", "another-model"])
        if self.speaks.is_count(path):
            return self.speaks.count()
        sent = json.loads(body)
        asked = self.speaks.last_text(sent)
        if "limit" in asked:
            return self.speaks.error(429, "slow down, please", wait=7)
        if "wrong" in asked:
            return self.speaks.error(400, "that was wrong")
        if "cut" in asked:
            return self.speaks.stream(0, Turn("Hm.", "This will not be finished", cut=True))
        if "refuse" in asked:
            return self.speaks.stream(0, Turn("", "", end="refused"))
        if "long" in asked:
            return self.speaks.stream(0, Turn("", "and so on", end="long"))
        if "weather" in asked and not self.speaks.has_result(sent):
            return self.speaks.stream(0, Turn("Which city?", "I look.", [("weather", {"city": "Rome"})]))
        if self.speaks.has_result(sent):
            return self.speaks.stream(1, Turn("", "It is sunny in Rome."))
        return self.speaks.stream(0, Turn("They greet.", "hello from upstream"))


class Always:
    """The same, whatever is asked for."""

    def __init__(self, speaks):
        self.speaks = speaks

    def to(self, path, body, flaws):
        return self.speaks.stream(0, Turn("Hm.", "hello from upstream"))


class AtRandom:
    """What turns.py says for the number in the user's text, in pieces of any size."""

    def __init__(self, speaks):
        self.speaks = speaks

    def to(self, path, body, flaws):
        seed = int(self.speaks.last_text(json.loads(body)).split()[-1])
        steps, end, cut, source = turns.answer(seed, isinstance(self.speaks, Gemini))
        events = self.speaks.at_random(steps, end, source)
        if cut:
            # Something of what matters is lost, so not only the usage behind the end or `[DONE]`.
            last = max(at for at, event in enumerate(events) if self.speaks.ends_in(event))
            events = events[: source.randint(0, last)]
        return Answer(events=events, cut=cut)
