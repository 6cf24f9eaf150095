"""The official Python SDK against a gateway whose upstream speaks another protocol: one line per
case, `ok name` or `FAIL name: why`.

Arguments: the base URL, the gateway's key, and `gemini` or `openai`. The upstream answers by what
the user's text asks for (strict/script.py).
"""

import json
import sys
import traceback

import anthropic

BASE, KEY, DIALECT = sys.argv[1:4]
CASES = []
WEATHER = {
    "name": "weather",
    "description": "the weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
THINKING = {"type": "enabled", "budget_tokens": 1024}


def case(run):
    CASES.append(run)
    return run


def client():
    return anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0)


def ask(text, **more):
    return {"model": "a-model", "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}


def streamed(**asked):
    with client().messages.stream(**asked) as stream:
        return stream.get_final_message()


def both(check, **asked):
    """Checks the response both as JSON and as a stream."""
    check(client().messages.create(**asked))
    check(streamed(**asked))


def raises(kind, act):
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


@case
def text_and_usage():
    def check(message):
        assert [block.type for block in message.content] == ["thinking", "text"], message
        assert message.content[0].thinking == "They greet.", message
        assert message.content[1].text == "hello from upstream", message
        assert message.stop_reason == "end_turn" and message.model == "a-model", message
        usage = message.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (600, 400, 50), usage

    both(check, **ask("hello", thinking=THINKING))


@case
def the_events_are_in_order():
    open_block, seen = None, []
    for event in client().messages.create(**ask("the weather", tools=[WEATHER], thinking=THINKING), stream=True):
        seen.append(event.type)
        if event.type == "content_block_start":
            assert open_block is None, seen
            open_block = event.index
        if event.type in ("content_block_delta", "content_block_stop"):
            assert event.index == open_block, seen
        if event.type == "content_block_stop":
            open_block = None
    assert seen[0] == "message_start" and seen[-2:] == ["message_delta", "message_stop"], seen
    assert seen.count("message_start") == seen.count("message_delta") == seen.count("message_stop") == 1, seen


def tool_round(make):
    asked = ask("the weather", tools=[WEATHER], thinking=THINKING)
    first = make(**asked)
    assert first.stop_reason == "tool_use", first
    used = first.content[-1]
    assert used.name == "weather" and used.input == {"city": "Rome"}, first
    result = {"type": "tool_result", "tool_use_id": used.id, "content": "sunny"}
    answered = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = make(**{**asked, "messages": asked["messages"] + answered})
    assert second.content[-1].text == "It is sunny in Rome.", second


@case
def a_tool_round():
    tool_round(client().messages.create)


@case
def a_tool_round_streamed():
    tool_round(streamed)


@case
def a_limit_says_when():
    # A model of its own, because the account is on cooldown for it afterwards.
    limited = {**ask("the limit"), "model": "limited"}
    error = raises(anthropic.RateLimitError, lambda: client().messages.create(**limited))
    assert error.response.headers["retry-after"] in ("6", "7"), error.response.headers
    assert error.body["error"]["type"] == "rate_limit_error", error.body
    assert "slow down, please" in error.body["error"]["message"], error.body


@case
def an_error_has_its_text():
    error = raises(anthropic.BadRequestError, lambda: client().messages.create(**ask("wrong")))
    assert error.body["error"]["type"] == "invalid_request_error", error.body
    assert "that was wrong" in error.body["error"]["message"], error.body


@case
def a_cut_stream_is_no_answer():
    raises(anthropic.APIError, lambda: streamed(**ask("cut")))


@case
def a_cut_stream_is_no_message():
    raises(anthropic.APIError, lambda: client().messages.create(**ask("cut")))


@case
def a_refusal():
    both(lambda message: expect(message.stop_reason, "refusal"), **ask("refuse"))


@case
def a_limit_of_length():
    both(lambda message: expect(message.stop_reason, "max_tokens"), **ask("long"))


@case
def count_tokens():
    count = client().messages.count_tokens(model="a-model", messages=[{"role": "user", "content": "hello"}])
    if DIALECT == "gemini":
        expect(count.input_tokens, 321)
    assert count.input_tokens > 0, count


@case
def models_list():
    listed = [model.id for model in client().models.list()]
    expect(sorted(listed), ["another-model", "one-model"])


def expect(got, wanted):
    assert got == wanted, f"{got!r}, wanted {wanted!r}"


for run in CASES:
    name = f"python {run.__name__}"
    try:
        run()
        print(f"ok {name}", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this case's failure
        where = traceback.extract_tb(error.__traceback__)[1:]
        line = where[-1].line if where else ""
        print(f"FAIL {name}: {json.dumps(repr(error))} at {line}", flush=True)
