"""Responses in Gemini's protocol, made with google-genai's response types."""

import base64
import json

from google.genai import types

from said import Answer, pieces, pieces_of, signature


class Gemini:
    """The format of the public API's streams: thoughts, text and whole calls as parts, usage in
    each chunk.
    """

    # Whether text may follow a call.
    mixes = True
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
                # The SDK writes another base64 alphabet than the API.
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
        """Flaws of the signatures of an earlier turn."""
        signed = [part for part in content["parts"] if "functionCall" in part]
        wanted = [signature(number, 0)] + [None] * (len(signed) - 1) if signed else []
        got = [part.get("thoughtSignature") for part in signed]
        return [] if got == wanted else [f"turn {number}: the signatures {got}, wanted {wanted}"]

    def results(self, sent):
        """The latest results: name, whether it failed, and all of it as text."""
        parts = sent["contents"][-1]["parts"]
        return [part["functionResponse"] for part in parts if "functionResponse" in part]

    def has_image(self, sent, data):
        return data in json.dumps(sent["contents"])
