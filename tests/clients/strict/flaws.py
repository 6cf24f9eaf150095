"""Common to the validators of both providers: flaws as lines of text, and differences of two JSON
values.
"""

import json

import jsonschema
import pydantic


def parsed(model, value):
    """The value as the model's type, or its flaws. It goes through JSON text, because only there do
    these models decode base64 strings to bytes.
    """
    adapter = model if isinstance(model, pydantic.TypeAdapter) else pydantic.TypeAdapter(model)
    try:
        return adapter.validate_json(json.dumps(value)), []
    except pydantic.ValidationError as error:
        return None, described(error)
    # An enumeration of google-genai accepts any word with a warning; the caller turns warnings into
    # exceptions.
    except Warning as warning:
        return None, [str(warning)]


def described(error):
    """A line for each error, without errors of union members that a constant rules out."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    others = [one["loc"][:-1] for one in errors if one["type"] == "literal_error"]
    meant = [one for one in errors if not any(one["loc"][: len(other)] == other for other in others if other)]
    return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in meant or errors][:8]


def differences(sent, said, path="$"):
    """Where the body that was sent differs from the SDK's; both alphabets of base64 are equal."""
    if isinstance(sent, dict) and isinstance(said, dict):
        lines = [f"{path}.{name}: the SDK does not send it" for name in sent if name not in said]
        lines += [f"{path}.{name}: only the SDK sends it" for name in said if name not in sent]
        for name in sent:
            if name in said:
                lines += differences(sent[name], said[name], f"{path}.{name}")
        return lines
    if isinstance(sent, list) and isinstance(said, list):
        if len(sent) != len(said):
            return [f"{path}: {len(sent)} items, the SDK sends {len(said)}"]
        return [line for at, pair in enumerate(zip(sent, said)) for line in differences(*pair, f"{path}[{at}]")]
    # In Python, True equals 1.
    same = sent == said and isinstance(sent, bool) == isinstance(said, bool)
    if same or path.endswith((".data", ".thoughtSignature")) and alphabet(sent) == alphabet(said):
        return []
    return [f"{path}: {short(sent)}, the SDK sends {short(said)}"]


def alphabet(text):
    return str(text).replace("+", "-").replace("/", "_").rstrip("=")


def short(value):
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def schema_flaws(schema, path):
    """Flaws of a JSON Schema itself: the provider's models accept any object as one."""
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
        return []
    except jsonschema.SchemaError as error:
        return [f"{path}{error.json_path[1:]}: {error.message}"]
