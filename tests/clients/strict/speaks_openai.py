"""Flaws of an OpenAI chat completions request or response, found with the openai package's own
types.

Its request types are TypedDicts, which allow every key. Some of their lists are iterables, whose
items pydantic checks only when they are read. So the types are rebuilt with the same keys and
types, nothing else allowed, and lists.
"""

import collections.abc
import json
import types
import typing

import pydantic
import typing_extensions
from openai.types import chat, shared
from openai.types.chat import completion_create_params

from flaws import parsed, schema_flaws

STRICT = pydantic.ConfigDict(extra="forbid", strict=True)


def strict(annotation, known=None):
    """The same type, in which no TypedDict at any depth accepts an undeclared key."""
    known = {} if known is None else known
    if typing_extensions.is_typeddict(annotation):
        if annotation not in known:
            known[annotation] = typed_dict(annotation, known)
        return known[annotation]
    origin, members = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return typing.Union[tuple(strict(member, known) for member in members)]
    if origin in (collections.abc.Iterable, collections.abc.Sequence, list):
        return list[strict(members[0], known)]
    if origin is dict:
        return dict[members[0], strict(members[1], known)]
    if origin is typing.Annotated:
        return strict(members[0], known)
    if origin not in (None, typing.Literal):
        raise TypeError(f"a kind of type that is not known here: {annotation}")
    return annotation


def typed_dict(source, known):
    fields = {}
    needed = required(source)
    for name, annotation in typing_extensions.get_type_hints(source, include_extras=True).items():
        if typing.get_origin(annotation) in (typing_extensions.Required, typing_extensions.NotRequired):
            annotation = typing.get_args(annotation)[0]
        mark = typing_extensions.Required if name in needed else typing_extensions.NotRequired
        fields[name] = mark[strict(annotation, known)]
    return pydantic.with_config(STRICT)(typing_extensions.TypedDict(source.__name__, fields))


def required(source):
    """The required keys; `__required_keys__` does not see annotations that are strings."""
    bases = [base for base in getattr(source, "__orig_bases__", ()) if typing_extensions.is_typeddict(base)]
    needed = {name for base in bases for name in required(base)}
    inherited = {name for base in bases for name in base.__annotations__}
    for name, annotation in typing_extensions.get_type_hints(source, include_extras=True).items():
        mark = typing.get_origin(annotation)
        unmarked = mark not in (typing_extensions.Required, typing_extensions.NotRequired)
        if mark is typing_extensions.Required or unmarked and source.__total__ and name not in inherited:
            needed.add(name)
    return needed


REQUEST = pydantic.TypeAdapter(strict(completion_create_params.CompletionCreateParamsStreaming))


def request_flaws(path, body):
    """Flaws of a POST: the path below the base URL, and the body's text."""
    if path != "/chat/completions":
        return [f"path: {path}"]
    sent = json.loads(body)
    for message in sent["messages"]:
        for call in message.get("tool_calls") or []:
            # Google's own member of a call. It goes only to an upstream that sent it.
            call.pop("extra_content", None)
    flaws = parsed(REQUEST, sent)[1]
    return flaws or schemas(sent) + pairs(sent["messages"])


def answer_flaws(text):
    """Flaws of the data of one event, or of a body that is not a stream."""
    if text.strip() == "[DONE]":
        return []
    value = json.loads(text)
    if "error" in value:
        kind, value = shared.ErrorObject, value["error"]
    else:
        kind = chat.ChatCompletion if value.get("object") == "chat.completion" else chat.ChatCompletionChunk
    # The models keep unknown fields and use plain lists, so only their extra fields are checked.
    answer, flaws = parsed(kind, value)
    return flaws or extras(answer, "$")


def extras(value, path):
    if isinstance(value, pydantic.BaseModel):
        found = [f"{path}.{name}: no such field in {type(value).__name__}" for name in value.model_extra or {}]
        return found + [line for name in type(value).model_fields for line in extras(getattr(value, name), f"{path}.{name}")]
    if isinstance(value, list):
        return [line for at, item in enumerate(value) for line in extras(item, f"{path}[{at}]")]
    return []


def schemas(sent):
    flaws = []
    for tool in sent.get("tools") or []:
        if tool["type"] == "function":
            name = tool["function"]["name"]
            flaws += schema_flaws(tool["function"].get("parameters", {}), f"tools.{name}")
    wanted = (sent.get("response_format") or {}).get("json_schema")
    return flaws + (schema_flaws(wanted.get("schema", {}), "response_format") if wanted else [])


def pairs(messages):
    """The API requires an answer to each call right after it, and no answer without a call."""
    flaws, open_calls = [], []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] in open_calls:
                open_calls.remove(message["tool_call_id"])
            else:
                flaws.append(f"messages[{at}]: an answer to {message['tool_call_id']}, which was not called")
            continue
        if open_calls:
            flaws.append(f"messages[{at}]: no answer to {open_calls} before it")
        open_calls = [call["id"] for call in message.get("tool_calls") or []]
        for call in message.get("tool_calls") or []:
            try:
                json.loads(call["function"]["arguments"])
            except ValueError as error:
                flaws.append(f"messages[{at}]: the arguments are no JSON: {error}")
    return flaws + ([f"no answer to {open_calls}"] if open_calls else [])
