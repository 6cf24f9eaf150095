"""Random requests, both plausible and absurd: the strict upstream must find no flaw in what a
dialect makes of them. What the protocol cannot express must be rejected with that reason.

Schemas are those that Anthropic accepts: JSON Schema of 2020-12, which need not make sense.

Arguments: the gateway's base URL, its key, the model, and the number of requests. Prints a line for
each failure, and one with the counts. The same numbers give the same requests.
"""

import http.client
import json
import random
import sys
import urllib.parse

BASE, KEY, MODEL, COUNT = sys.argv[1:5]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ODD = "two\nlines \"quoted\" \\ \u0000 \u2028 é 😀"
TEXTS = ["", " ", "hello", ODD, "x" * 3000, "{\"a\": 1}", "~0:1~", "(no content)"]
NAMES = ["weather", "mcp__a__b", "a.b", "1st", "mit leer", "ü", "x" * 130, "Bash", "get-it"]
KEYS = ["city", "a_b", "0", "$ref", "type", "properties", "ä", "x" * 70]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.ids = []
        self.names = []

    def chance(self, share):
        return self.random.random() < share

    def one(self, options):
        return self.random.choice(options)

    def some(self, make, most):
        return [make() for _ in range(self.random.randint(0, most))]

    def request(self):
        body = {"model": MODEL, "max_tokens": self.one([1, 100, 4096, 200000])}
        if self.chance(0.7):
            body["tools"] = self.some(self.tool, 5)
            self.names = [tool["name"] for tool in body["tools"]]
        body["messages"] = self.messages()
        if self.chance(0.5):
            body["system"] = self.one([self.one(TEXTS), self.some(self.text, 3)])
        if self.chance(0.3):
            choice = self.one([{"type": "auto"}, {"type": "any"}, {"type": "none"}, {"type": "tool", "name": self.name()}])
            if self.chance(0.4):
                choice["disable_parallel_tool_use"] = self.chance(0.5)
            body["tool_choice"] = choice
        if self.chance(0.5):
            body["thinking"] = self.one(
                [
                    {"type": "enabled", "budget_tokens": self.one([1024, 5000, 100000])},
                    {"type": "disabled"},
                    {"type": "adaptive", "display": self.one(["omitted", "updates", "summarized"])},
                    {"type": "adaptive"},
                ]
            )
        for name, values in {
            "temperature": [0, 0.5, 1, 1.0],
            "top_p": [0.1, 1],
            "top_k": [1, 40, 500],
            "stop_sequences": [[], ["END"], ["a", "b", "c", "d", "e", "f"], [" ", "\n"]],
            "metadata": [{"user_id": "u"}, {}],
            "service_tier": ["auto", "standard_only"],
            "context_management": [{"edits": []}],
            "output_config": [
                {"effort": "low"},
                {"effort": "max"},
                {"format": {"type": "json_schema", "schema": self.top_schema()}},
            ],
            "mcp_servers": [[], [{"type": "url", "url": "https://x.test", "name": "m"}]],
            "container": [None, "c_1"],
            "unheard_of": [1, {"a": []}],
            "stream": [True, False],
        }.items():
            if self.chance(0.25):
                body[name] = self.one(values)
        return body

    def messages(self):
        made = []
        for _ in range(self.random.randint(1, 10)):
            role = self.one(["user", "assistant", "user", "assistant", "system"])
            blocks = {"user": self.user_block, "assistant": self.assistant_block, "system": self.text}[role]
            content = self.one(TEXTS) if self.chance(0.3) else self.some(blocks, 4)
            made.append({"role": role, "content": content})
        return [*made, {"role": "user", "content": "go on"}]

    def text(self):
        block = {"type": "text", "text": self.one(TEXTS)}
        if self.chance(0.2):
            block["cache_control"] = {"type": "ephemeral"}
        if self.chance(0.1):
            block["citations"] = self.one([None, []])
        return block

    def user_block(self):
        return self.one([self.text, self.text, self.image, self.document, self.result, self.result, self.result, self.odd])()

    def assistant_block(self):
        return self.one([self.text, self.text, self.call, self.call, self.call, self.thinking, self.thinking, self.odd])()

    def image(self):
        kind = self.one(["image/png", "image/webp", "image/jpeg"])
        source = [{"type": "base64", "media_type": kind, "data": PNG}, {"type": "url", "url": "https://x.test/a.png"}]
        return {"type": "image", "source": self.one(source * 4 + [{"type": "file", "file_id": "f"}])}

    def document(self):
        sources = [
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            {"type": "text", "media_type": "text/plain", "data": self.one(TEXTS)},
            {"type": "content", "content": self.one(["words", [self.text()], [self.image()]])},
            {"type": "url", "url": "https://x.test/a.pdf"},
        ]
        block = {"type": "document", "source": self.one(sources)}
        if self.chance(0.3):
            block |= {"title": "a title", "context": "some context", "citations": {"enabled": True}}
        return block

    def call(self):
        self.ids.append(self.one([f"toolu_{len(self.ids)}", f"call|{len(self.ids)} ä", "x" * 60 + str(len(self.ids))]))
        return {"type": "tool_use", "id": self.ids[-1], "name": self.name(), "input": self.value(2, True)}

    def result(self):
        known = self.ids and self.chance(0.9)
        block = {"type": "tool_result", "tool_use_id": self.one(self.ids) if known else "toolu_lost"}
        if self.chance(0.9):
            block["content"] = self.one([self.one(TEXTS), self.some(self.result_block, 3)])
        if self.chance(0.4):
            block["is_error"] = self.chance(0.5)
        return block

    def result_block(self):
        reference = {"type": "tool_reference", "tool_name": self.name()}
        return self.one([self.text(), self.text(), self.image(), self.document(), reference, self.search()])

    def search(self):
        return {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "found"}]}

    def thinking(self):
        signed = self.one(["", "EqQB/w8+", "not base 64!", "x" * 400])
        if self.chance(0.2):
            return {"type": "redacted_thinking", "data": "c2VjcmV0"}
        return {"type": "thinking", "thinking": self.one(TEXTS), "signature": signed}

    def odd(self):
        return self.one(
            [
                {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
                {"type": "container_upload", "file_id": "f"},
                {"type": "unheard_of", "data": [1]},
                self.search(),
            ]
        )

    def name(self):
        return self.one(self.names) if self.names and self.chance(0.7) else self.one(NAMES)

    def tool(self):
        if self.chance(0.1):
            return {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
        tool = {"name": self.one(NAMES), "input_schema": self.top_schema()}
        if self.chance(0.8):
            tool["description"] = self.one(TEXTS)
        more = {"cache_control": {"type": "ephemeral"}, "defer_loading": True, "strict": True, "type": "custom"}
        for name, value in more.items():
            if self.chance(0.15):
                tool[name] = value
        return tool

    def top_schema(self):
        schema = {"type": "object", "properties": {self.one(KEYS): self.schema(3) for _ in range(self.random.randint(0, 4))}}
        if self.chance(0.5):
            schema["required"] = sorted({self.one([*schema["properties"], "gone"]) for _ in range(2)})
        if self.chance(0.3):
            schema["$defs"] = {"one": self.schema(1), "self": {"$ref": "#"}, "loop": {"$ref": "#/$defs/loop"}}
        if self.chance(0.3):
            draft = "https://json-schema.org/draft/2020-12/schema"
            schema |= self.one([{"$schema": draft}, {"additionalProperties": False}, {"title": "T"}])
        if self.chance(0.1):
            schema = self.one([{}, {"type": "object"}, {"properties": {}}, {"anyOf": [schema, {"type": "object"}]}])
        return schema

    def schema(self, depth):
        plain = [
            lambda: {"type": self.one(["string", "number", "integer", "boolean", "null"])},
            lambda: {"type": "string", "enum": self.some(lambda: self.one(["a", "b", ""]), 3)},
            lambda: {"enum": [1, "a", None, True]},
            lambda: {"type": "integer", "enum": [1, 2]},
            lambda: {"const": self.one(["a", 1, None, {"a": 1}])},
            lambda: {"type": ["string", "null"], "default": None},
            lambda: {"type": ["string", "integer"], "description": "either"},
            lambda: {"type": "string", "format": self.one(["date-time", "uri", "email"]), "pattern": "^a$", "minLength": 1},
            lambda: {"type": "number", "exclusiveMinimum": 0, "maximum": 5.5, "multipleOf": 0.5},
            lambda: {"type": "array"},
            lambda: self.one([True, False, {}]),
            lambda: {"$ref": self.one(["#/$defs/one", "#/$defs/loop", "#/$defs/gone", "#/properties/city", "#"])},
        ]
        deep = [
            lambda: {"type": "array", "items": self.schema(depth - 1), "minItems": 1, "uniqueItems": True},
            lambda: {"type": "array", "prefixItems": [self.schema(depth - 1)], "items": False},
            lambda: {"type": "object", "properties": {self.one(KEYS): self.schema(depth - 1)}, "required": ["city"]},
            lambda: {"type": "object", "additionalProperties": self.schema(depth - 1), "propertyNames": {"pattern": "a"}},
            lambda: {"type": "object", "patternProperties": {"^a": self.schema(depth - 1)}, "minProperties": 1},
            lambda: {self.one(["anyOf", "oneOf", "allOf"]): [self.schema(depth - 1), *self.some(lambda: self.schema(0), 2)]},
            lambda: {"type": "string", "anyOf": [{"minLength": 1}, {"format": "uri"}]},
            lambda: {"not": self.schema(depth - 1), "description": "not so"},
            lambda: {"if": self.schema(depth - 1), "then": self.schema(depth - 1), "type": "object"},
        ]
        return self.one(plain + (deep * 2 if depth > 0 else []))()

    def value(self, depth, top=False):
        if top or depth > 0 and self.chance(0.5):
            return {self.one(KEYS): self.value(depth - 1) for _ in range(self.random.randint(0, 3))}
        return self.one([None, True, 1, 1.5, 10**20, self.one(TEXTS), [], [None, {"a": []}]])


def ask(body):
    address = urllib.parse.urlsplit(BASE)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    headers = {"content-type": "application/json", "x-api-key": KEY, "anthropic-version": "2023-06-01"}
    connection.request("POST", "/v1/messages", json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


counts = {"answered": 0, "refused": 0}
for seed in range(int(COUNT)):
    body = Maker(seed).request()
    status, text = ask(body)
    whole = "message_stop" in text if body.get("stream") else '"stop_reason":"end_turn"' in text
    if status == 200 and whole:
        counts["answered"] += 1
    elif status == 400 and "capability_rejected: " in text:
        counts["refused"] += 1
    else:
        print(f"FAIL {seed}: {status} {text[:600]}", flush=True)
print(json.dumps(counts), flush=True)
