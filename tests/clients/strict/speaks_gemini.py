"""Flaws of a Gemini request or response, found with google-genai's own models, which accept no
unknown field.

A request must survive a round trip through the SDK: parsed by its types and written by the
converters of its own requests, it must be unchanged. This finds misplaced fields as well as unknown
ones.
"""

import json
import re
import warnings

import pydantic
from google import genai
from google.genai import models, types

from flaws import differences, parsed, schema_flaws

PUBLIC = genai.Client(api_key="none")
VERTEX = genai.Client(vertexai=True, api_key="none")

# A part has only one of these fields in the API; the SDK's model would accept several.
KINDS = {
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
}
# As documented by types.FunctionDeclaration.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")


def request_flaws(path, body, vertex=False):
    """Flaws of a POST: the path below the base URL with its query, and the body's text."""
    asked = re.fullmatch(r"/models/([^/:?]+):(streamGenerateContent\?alt=sse|generateContent|countTokens)", path)
    if not asked:
        return [f"path: {path}"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sent = json.loads(body)
        if asked[2] == "countTokens":
            return count_flaws(asked[1], sent, vertex)
        return generate_flaws(asked[1], sent, vertex)


def answer_flaws(text):
    """Flaws of the data of one event, or of a body that is not a stream."""
    value = json.loads(text)
    # Without `alt=sse` the API answers with a list.
    items = value if isinstance(value, list) else [value]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [flaw for item in items for flaw in one_answer_flaws(item)]


def one_answer_flaws(value):
    return error_flaws(value) if "error" in value else parsed(types.GenerateContentResponse, value)[1]


def error_flaws(value):
    """Flaws of a google.rpc.Status. The SDK has no model of it; its APIError reads these three
    fields.
    """
    kinds = {"code": int, "message": str, "status": str}
    error = value["error"]
    flaws = [f"beside error: {name}" for name in value if name != "error"]
    flaws += [f"error.{name}: no such field" for name in error if name not in (*kinds, "details")]
    return flaws + [f"error.{name}: {error.get(name)!r}" for name in kinds if not isinstance(error.get(name), kinds[name])]


def generate_flaws(model, sent, vertex):
    parts_of = {name: value for name, value in sent.items() if name not in ("contents", "generationConfig")}
    settings = sent.get("generationConfig", {})
    contents, flaws = parsed(list[types.Content], sent.get("contents"))
    flaws = [f"contents.{line}" for line in flaws]
    flaws += [f"generationConfig.{line}" for line in parsed(types.GenerationConfig, settings)[1]]
    config, more = parsed(types.GenerateContentConfig, {**parts_of, **settings})
    flaws += more + [flaw for check in (part_flaws, tool_flaws) for flaw in check(sent)]
    if flaws:
        return flaws
    parameters = types._GenerateContentParameters(model=model, contents=contents, config=config)
    client, convert = (
        (VERTEX, models._GenerateContentParameters_to_vertex)
        if vertex
        else (PUBLIC, models._GenerateContentParameters_to_mldev)
    )
    return against_the_sdk(sent, lambda: convert(client._api_client, parameters, None, parameters))


def count_flaws(model, sent, vertex):
    # The public API accepts a whole request in this field. The SDK does not use it, so its
    # countTokens has no system and no tools there.
    whole = sent.get("generateContentRequest")
    if whole is not None and not vertex:
        named = whole.get("model")
        flaws = [] if list(sent) == ["generateContentRequest"] else [f"beside generateContentRequest: {list(sent)}"]
        flaws += [] if named == f"models/{model}" else [f"generateContentRequest.model: {named}"]
        inner = {name: value for name, value in whole.items() if name != "model"}
        return flaws + generate_flaws(model, inner, vertex)
    contents, flaws = parsed(list[types.Content], sent.get("contents"))
    rest = {name: value for name, value in sent.items() if name != "contents"}
    config, more = parsed(types.CountTokensConfig, rest)
    if flaws or more:
        return flaws + more + part_flaws(sent)
    parameters = types._CountTokensParameters(model=model, contents=contents, config=config)
    client, convert = (
        (VERTEX, models._CountTokensParameters_to_vertex)
        if vertex
        else (PUBLIC, models._CountTokensParameters_to_mldev)
    )
    return against_the_sdk(sent, lambda: convert(client._api_client, parameters, None, parameters))


def against_the_sdk(sent, convert):
    try:
        said = written(convert())
    # A field that exists only in the other API is a ValueError of the converters.
    except ValueError as error:
        return [str(error)]
    return differences(sent, {name: value for name, value in said.items() if not name.startswith("_")})


def written(value):
    """JSON with the API's names: the SDK's last step for a request, except for the spelling of
    nested names.
    """
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, dict):
        return {name: written(member) for name, member in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    if isinstance(value, bytes):
        return pydantic.TypeAdapter(bytes, config={"ser_json_bytes": "base64"}).dump_python(value, mode="json")
    return value


def part_flaws(sent):
    flaws = []
    for at, content in enumerate(sent.get("contents") or []):
        if content.get("role") not in ("user", "model"):
            flaws.append(f"contents[{at}].role: {content.get('role')}")
        if not content.get("parts"):
            flaws.append(f"contents[{at}].parts: there are none")
        for place, part in enumerate(content.get("parts") or []):
            kinds = KINDS & part.keys()
            if len(kinds) != 1:
                flaws.append(f"contents[{at}].parts[{place}]: one of its kinds was wanted, got {sorted(kinds)}")
    return flaws


def tool_flaws(sent):
    flaws = []
    for tool in sent.get("tools") or []:
        for function in tool.get("functionDeclarations") or []:
            name = function.get("name", "")
            if not NAME.fullmatch(name):
                flaws.append(f"tools: the name {name!r}")
            if "parametersJsonSchema" in function:
                flaws += schema_flaws(function["parametersJsonSchema"], f"tools.{name}")
            flaws += demands(function.get("parameters"), f"tools.{name}")
    return flaws


def demands(schema, path):
    """Flaws that the API rejects, but the SDK's model of a schema cannot express."""
    if not isinstance(schema, dict):
        return []
    flaws = []
    kind = str(schema.get("type", "")).upper()
    if kind == "ARRAY" and "items" not in schema:
        flaws.append(f"{path}: an array without items")
    if "enum" in schema and kind not in ("STRING", ""):
        flaws.append(f"{path}: an enum of {kind}")
    properties = schema.get("properties") or {}
    unknown = [name for name in schema.get("required") or [] if name not in properties]
    if unknown:
        flaws.append(f"{path}: required, but no property: {unknown}")
    below = list(properties.items()) + [("items", schema.get("items"))]
    below += [(f"anyOf[{at}]", one) for at, one in enumerate(schema.get("anyOf") or [])]
    return flaws + [flaw for name, one in below for flaw in demands(one, f"{path}.{name}")]
