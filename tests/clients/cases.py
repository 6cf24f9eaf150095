"""The official Python SDK against a running gateway: one line per case, `ok name` or `FAIL name:
why`.

Arguments: the base URL, the gateway's key, and the base URL of a second gateway that has a small
body limit.
"""

import json
import sys
import threading
import time
import traceback

import anthropic

BASE, KEY, SMALL = sys.argv[1:4]
MODEL = "claude-opus-5-5"
CASES = []


def case(run):
    CASES.append(run)
    return run


def client(**options):
    options.setdefault("api_key", KEY)
    options.setdefault("base_url", BASE)
    options.setdefault("max_retries", 0)
    return anthropic.Anthropic(**options)


def ask(text="hello", **more):
    return {"model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": text}], **more}


def raises(kind, act):
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


WEATHER = {
    "name": "weather",
    "description": "the weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
USE_WEATHER = 'use the tool weather with {"city": "Rome"}'


@case
def create():
    message = client().messages.create(**ask())
    assert message.type == "message" and message.role == "assistant"
    assert message.model == MODEL
    assert message.stop_reason == "end_turn"
    assert message.content[0].text
    assert message.usage.output_tokens > 0


@case
def create_streamed():
    events = [event.type for event in client().messages.create(**ask(), stream=True)]
    assert events[0] == "message_start" and events[-1] == "message_stop", events


@case
def stream_helper():
    with client().messages.stream(**ask()) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text and message.content[0].text == text
    assert message.stop_reason == "end_turn"


@case
def tool_use():
    message = client().messages.create(**ask(USE_WEATHER, tools=[WEATHER]))
    assert message.stop_reason == "tool_use"
    tool = next(block for block in message.content if block.type == "tool_use")
    assert tool.name == "weather" and tool.input == {"city": "Rome"}


@case
def tool_use_streamed():
    with client().messages.stream(**ask(USE_WEATHER, tools=[WEATHER])) as stream:
        message = stream.get_final_message()
    tool = next(block for block in message.content if block.type == "tool_use")
    assert tool.input == {"city": "Rome"}


def run_tools(stream):
    called = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: the city
        """
        called.append(city)
        return "sunny"

    runner = client().beta.messages.tool_runner(
        model=MODEL,
        max_tokens=256,
        tools=[weather],
        messages=[{"role": "user", "content": USE_WEATHER}],
        stream=stream,
    )
    if stream:
        messages = [part.get_final_message() for part in runner]
    else:
        messages = list(runner)
    assert called == ["Rome"], called
    assert messages[-1].stop_reason == "end_turn", messages[-1]
    assert len(messages) == 2, len(messages)


@case
def tool_runner():
    run_tools(stream=False)


@case
def tool_runner_streamed():
    run_tools(stream=True)


@case
def count_tokens():
    count = client().messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "hello"}])
    assert count.input_tokens > 0


@case
def models_list():
    ids = [model.id for model in client().models.list(limit=1)]
    assert ids and len(ids) == len(set(ids)), ids


@case
def models_retrieve():
    first = next(iter(client().models.list()))
    assert client().models.retrieve(first.id).id == first.id


@case
def models_retrieve_unknown():
    error = raises(anthropic.NotFoundError, lambda: client().models.retrieve("unheard-of"))
    assert error.status_code == 404 and error.body["error"]["type"] == "not_found_error", error.body


@case
def wrong_key_is_not_retried():
    begun = time.monotonic()
    error = raises(
        anthropic.AuthenticationError,
        lambda: client(api_key="wrong", max_retries=5).messages.create(**ask()),
    )
    assert error.status_code == 401 and error.body["error"]["type"] == "authentication_error"
    assert time.monotonic() - begun < 3
    assert error.request_id.startswith("req_")


@case
def bad_request():
    error = raises(
        anthropic.BadRequestError,
        lambda: client().post("/v1/messages", body={"messages": []}, cast_to=object),
    )
    assert error.body["error"]["type"] == "invalid_request_error", error.body


@case
def body_too_large():
    error = raises(
        anthropic.APIStatusError,
        lambda: client(base_url=SMALL).messages.create(**ask("x" * 200_000)),
    )
    assert error.status_code == 413 and error.body["error"]["type"] == "request_too_large", error.body


@case
def key_in_either_header():
    both = [{"x-api-key": KEY}, {"Authorization": f"Bearer {KEY}"}]
    for headers in both:
        bare = client(api_key="not-the-key")
        assert bare.messages.create(**ask(), extra_headers=headers).type == "message"
    assert anthropic.Anthropic(auth_token=KEY, api_key=None, base_url=BASE).messages.create(**ask()).type == "message"


@case
def base_url_with_a_slash():
    assert client(base_url=BASE + "/").messages.create(**ask()).type == "message"


@case
def base_url_with_v1_is_explained():
    error = raises(anthropic.NotFoundError, lambda: client(base_url=BASE + "/v1").messages.create(**ask()))
    assert BASE in str(error), error


@case
def raw_response():
    raw = client().messages.with_raw_response.create(**ask())
    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.parse().type == "message"


@case
def warm_up():
    raw = client().messages.with_raw_response.create(**ask("Warmup"))
    assert raw.headers["x-warmup-intercepted"] == "true"
    with client().messages.stream(**ask("warmup")) as stream:
        assert stream.get_final_message().model == MODEL


@case
def large_body():
    message = client().messages.create(**ask("word " * 400_000))
    assert message.type == "message"


@case
def unknown_fields_and_betas():
    message = client().beta.messages.create(
        **ask(), betas=["unheard-of-2031-01-01"], extra_body={"zzz": {"a": 1}}
    )
    assert message.type == "message"


@case
def cancelled_stream_leaves_the_gateway_well():
    with client().messages.stream(**ask("word " * 5_000)) as stream:
        next(iter(stream))
    assert client().messages.create(**ask()).type == "message"


@case
def many_at_once():
    results = []

    def one():
        results.append(client().messages.create(**ask()).type)

    threads = [threading.Thread(target=one) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["message"] * 16, results


for run in CASES:
    name = f"python {run.__name__}"
    try:
        run()
        print(f"ok {name}", flush=True)
    except AttributeError as error:
        if "tool_runner" in str(error) or "beta_tool" in str(error):
            print(f"ok {name} (not in this version)", flush=True)
        else:
            print(f"FAIL {name}: {error!r}", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's failure
        where = traceback.extract_tb(error.__traceback__)[1:]
        line = where[0].line if where else ""
        print(f"FAIL {name}: {json.dumps(repr(error))} at {line}", flush=True)
