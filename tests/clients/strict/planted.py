"""Checks the validators themselves: valid requests and responses pass, and a single wrong field
anywhere does not.

Prints a line for each: `ok what` or `FAIL what: why`.
"""

import copy
import json

import speaks_gemini
import speaks_openai

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
GEMINI = {
    "contents": [
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "ab+/"}}]},
        {
            "role": "model",
            "parts": [
                {"text": "so", "thought": True},
                {"functionCall": {"id": "a", "name": "weather", "args": {"city": "Rome"}}, "thoughtSignature": "ab+/"},
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "a", "name": "weather", "response": {"output": "sunny"}}}],
        },
    ],
    "systemInstruction": {"parts": [{"text": "be kind"}]},
    "tools": [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "the weather",
                    "parameters": {**SCHEMA, "type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
                },
                {"name": "now", "parametersJsonSchema": {"type": "object"}},
            ]
        }
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
    "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
    "generationConfig": {
        "maxOutputTokens": 100,
        "temperature": 0.5,
        "topK": 40,
        "topP": 1,
        "stopSequences": ["END"],
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 1024},
    },
}
OPENAI = {
    "model": "gpt-5",
    "messages": [
        {"role": "system", "content": "be kind"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,ab+/"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "sunny"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "it", "parameters": SCHEMA}}],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_completion_tokens": 100,
    "temperature": 0.5,
    "stop": ["END"],
}
GEMINI_ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "hi"}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 1, "totalTokenCount": 6},
    "modelVersion": "gemini-3",
    "responseId": "r",
}
OPENAI_ANSWER = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}],
}
PLANTED = {"planted": 1}


def gemini(body, path="/models/gemini-3:streamGenerateContent?alt=sse"):
    return speaks_gemini.request_flaws(path, json.dumps(body))


def gemini_count(body):
    return gemini(body, "/models/gemini-3:countTokens")


def openai(body):
    return speaks_openai.request_flaws("/chat/completions", json.dumps(body))


def gemini_answer(body):
    return speaks_gemini.answer_flaws(json.dumps(body))


def openai_answer(body):
    return speaks_openai.answer_flaws(json.dumps(body))


COUNTED = {"generateContentRequest": {"model": "models/gemini-3", **GEMINI}}
CALL = ("contents", 1, "parts", 1)
FUNCTION = ("tools", 0, "functionDeclarations")
GOOD = [
    ("gemini request", gemini, GEMINI),
    ("gemini count", gemini_count, COUNTED),
    ("gemini small count", gemini_count, {"contents": GEMINI["contents"]}),
    ("gemini answer", gemini_answer, GEMINI_ANSWER),
    ("openai request", openai, OPENAI),
    ("openai answer", openai_answer, OPENAI_ANSWER),
]
# Where an unknown member, or a wrong one, is put into a valid value.
WRONG = [
    ("gemini top", gemini, GEMINI, (), PLANTED),
    ("gemini content", gemini, GEMINI, ("contents", 0), PLANTED),
    ("gemini part", gemini, GEMINI, ("contents", 0, "parts", 0), {"cache_control": {}}),
    ("gemini two kinds in a part", gemini, GEMINI, ("contents", 0, "parts", 1), {"text": "x"}),
    ("gemini snake case", gemini, GEMINI, ("contents", 1, "parts", 0), {"thought_signature": "ab+/"}),
    ("gemini call", gemini, GEMINI, (*CALL, "functionCall"), {"thoughtSignature": "ab+/"}),
    ("gemini arguments as text", gemini, GEMINI, (*CALL, "functionCall"), {"args": "{}"}),
    ("gemini signature", gemini, GEMINI, CALL, {"thoughtSignature": "not base 64!"}),
    ("gemini role", gemini, GEMINI, ("contents", 0), {"role": "system"}),
    ("gemini no parts", gemini, GEMINI, ("contents", 0), {"parts": []}),
    ("gemini tool", gemini, GEMINI, ("tools", 0), PLANTED),
    ("gemini function", gemini, GEMINI, (*FUNCTION, 0), {"input_schema": {}}),
    ("gemini name", gemini, GEMINI, (*FUNCTION, 0), {"name": "1 weather"}),
    ("gemini schema", gemini, GEMINI, (*FUNCTION, 0, "parameters"), {"$schema": "x"}),
    ("gemini schema below", gemini, GEMINI, (*FUNCTION, 0, "parameters", "properties", "city"), {"const": "x"}),
    ("gemini array without items", gemini, GEMINI, (*FUNCTION, 0, "parameters", "properties"), {"a": {"type": "ARRAY"}}),
    ("gemini unknown type", gemini, GEMINI, (*FUNCTION, 0, "parameters"), {"type": "TUPLE"}),
    ("gemini json schema", gemini, GEMINI, (*FUNCTION, 1, "parametersJsonSchema"), {"type": "tuple"}),
    ("gemini mode", gemini, GEMINI, ("toolConfig", "functionCallingConfig"), {"mode": "SOME"}),
    ("gemini threshold", gemini, GEMINI, ("safetySettings", 0), {"threshold": "NEVER"}),
    ("gemini setting", gemini, GEMINI, ("generationConfig",), {"max_tokens": 1}),
    ("gemini setting's type", gemini, GEMINI, ("generationConfig",), {"temperature": "0.5"}),
    ("gemini setting in the wrong place", gemini, GEMINI, (), {"temperature": 0.5}),
    ("gemini system in the wrong place", gemini, GEMINI, ("generationConfig",), {"systemInstruction": {"parts": []}}),
    ("gemini thinking", gemini, GEMINI, ("generationConfig", "thinkingConfig"), {"budget_tokens": 1}),
    ("gemini count top", gemini_count, COUNTED, (), {"contents": []}),
    ("gemini count below", gemini_count, COUNTED, ("generateContentRequest",), PLANTED),
    ("gemini count system", gemini_count, {"contents": GEMINI["contents"]}, (), {"systemInstruction": {"parts": []}}),
    ("gemini answer top", gemini_answer, GEMINI_ANSWER, (), PLANTED),
    ("gemini answer part", gemini_answer, GEMINI_ANSWER, ("candidates", 0, "content", "parts", 0), PLANTED),
    ("gemini answer finish", gemini_answer, GEMINI_ANSWER, ("candidates", 0), {"finishReason": "DONE"}),
    ("gemini answer usage", gemini_answer, GEMINI_ANSWER, ("usageMetadata",), PLANTED),
    ("openai top", openai, OPENAI, (), PLANTED),
    ("openai not a stream", openai, OPENAI, (), {"stream": False}),
    ("openai message", openai, OPENAI, ("messages", 3), {"is_error": True}),
    ("openai part", openai, OPENAI, ("messages", 1, "content", 0), {"cache_control": {}}),
    ("openai image", openai, OPENAI, ("messages", 1, "content", 1, "image_url"), PLANTED),
    ("openai role", openai, OPENAI, ("messages", 0), {"role": "developr"}),
    ("openai call", openai, OPENAI, ("messages", 2, "tool_calls", 0), {"index": 0}),
    ("openai called function", openai, OPENAI, ("messages", 2, "tool_calls", 0, "function"), PLANTED),
    ("openai arguments", openai, OPENAI, ("messages", 2, "tool_calls", 0, "function"), {"arguments": {}}),
    ("openai cut arguments", openai, OPENAI, ("messages", 2, "tool_calls", 0, "function"), {"arguments": "{"}),
    ("openai answer to nothing", openai, OPENAI, ("messages", 3), {"tool_call_id": "b"}),
    ("openai image in a result", openai, OPENAI, ("messages", 3), {"content": OPENAI["messages"][1]["content"]}),
    ("openai tool", openai, OPENAI, ("tools", 0), PLANTED),
    ("openai function", openai, OPENAI, ("tools", 0, "function"), {"input_schema": {}}),
    ("openai schema", openai, OPENAI, ("tools", 0, "function", "parameters"), {"type": "tuple"}),
    ("openai schema below", openai, OPENAI, ("tools", 0, "function", "parameters", "properties"), {"a": 1}),
    ("openai choice", openai, OPENAI, ("tool_choice",), PLANTED),
    ("openai options", openai, OPENAI, ("stream_options",), PLANTED),
    ("openai number as text", openai, OPENAI, (), {"temperature": "0.5"}),
    ("openai answer top", openai_answer, OPENAI_ANSWER, (), PLANTED),
    ("openai answer delta", openai_answer, OPENAI_ANSWER, ("choices", 0, "delta"), {"reasoning": "x"}),
    ("openai answer finish", openai_answer, OPENAI_ANSWER, ("choices", 0), {"finish_reason": "done"}),
]


def planted(good, way, members):
    bad = copy.deepcopy(good)
    place = bad
    for step in way:
        place = place[step]
    place.update(members)
    return bad


def say(name, why):
    print(f"FAIL {name}: {why}" if why else f"ok {name}", flush=True)


for name, check, body in GOOD:
    say(name, check(body))
for name, check, good, way, members in WRONG:
    flaws = check(planted(good, way, members))
    say(f"{name} ({'; '.join(flaws)[:150]})", "" if flaws else "not noticed")
