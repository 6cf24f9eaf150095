// The official TypeScript SDK against a running gateway: one line per case, `ok name` or `FAIL
// name: why`.
//
// Arguments: the base URL, the gateway's key, and the base URL of a second gateway that has a small
// body limit.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const [base, key, small] = process.argv.slice(2);
const model = "claude-opus-5-5";

const client = (options = {}) =>
  new Anthropic({ apiKey: key, baseURL: base, maxRetries: 0, ...options });
const ask = (text = "hello", more = {}) => ({
  model,
  max_tokens: 256,
  messages: [{ role: "user", content: text }],
  ...more,
});
const weather = {
  name: "weather",
  description: "the weather in a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const useWeather = 'use the tool weather with {"city": "Rome"}';

const cases = {
  async create() {
    const message = await client().messages.create(ask());
    assert.equal(message.type, "message");
    assert.equal(message.model, model);
    assert.equal(message.stop_reason, "end_turn");
    assert.ok(message.content[0].text);
  },

  async create_streamed() {
    const types = [];
    for await (const event of await client().messages.create(ask("hello", { stream: true }))) {
      types.push(event.type);
    }
    assert.equal(types[0], "message_start");
    assert.equal(types.at(-1), "message_stop");
  },

  async stream_helper() {
    let text = "";
    const stream = client().messages.stream(ask()).on("text", (part) => (text += part));
    const message = await stream.finalMessage();
    assert.ok(text);
    assert.equal(message.content[0].text, text);
  },

  async tool_use_streamed() {
    const message = await client().messages.stream(ask(useWeather, { tools: [weather] })).finalMessage();
    assert.equal(message.stop_reason, "tool_use");
    const tool = message.content.find((block) => block.type === "tool_use");
    assert.deepEqual(tool.input, { city: "Rome" });
  },

  async tool_runner() {
    const called = [];
    const message = await client().beta.messages.toolRunner({
      ...ask(useWeather),
      tools: [{ ...weather, run: async ({ city }) => (called.push(city), "sunny"), parse: (input) => input }],
    });
    assert.deepEqual(called, ["Rome"]);
    assert.equal(message.stop_reason, "end_turn");
  },

  async tool_runner_streamed() {
    const called = [];
    const runner = client().beta.messages.toolRunner({
      ...ask(useWeather),
      tools: [{ ...weather, run: async ({ city }) => (called.push(city), "sunny"), parse: (input) => input }],
      stream: true,
    });
    let last;
    for await (const stream of runner) last = await stream.finalMessage();
    assert.deepEqual(called, ["Rome"]);
    assert.equal(last.stop_reason, "end_turn");
  },

  async count_tokens() {
    const count = await client().messages.countTokens({ model, messages: [{ role: "user", content: "hi" }] });
    assert.ok(count.input_tokens > 0);
  },

  async models_list() {
    const ids = [];
    for await (const one of client().models.list({ limit: 1 })) ids.push(one.id);
    assert.ok(ids.length > 0);
    assert.equal(new Set(ids).size, ids.length);
    assert.equal((await client().models.retrieve(ids[0])).id, ids[0]);
  },

  async wrong_key_is_not_retried() {
    const begun = Date.now();
    await assert.rejects(
      client({ apiKey: "wrong", maxRetries: 5 }).messages.create(ask()),
      (error) => error instanceof Anthropic.AuthenticationError && error.status === 401,
    );
    assert.ok(Date.now() - begun < 3000);
  },

  async unknown_model_is_not_found() {
    await assert.rejects(
      client().models.retrieve("unheard-of"),
      (error) => error instanceof Anthropic.NotFoundError && error.error.error.type === "not_found_error",
    );
  },

  async bad_request() {
    await assert.rejects(
      client().post("/v1/messages", { body: { messages: [] } }),
      (error) => error instanceof Anthropic.BadRequestError,
    );
  },

  async body_too_large() {
    await assert.rejects(
      client({ baseURL: small }).messages.create(ask("x".repeat(200_000))),
      (error) => error.status === 413 && error.error.error.type === "request_too_large",
    );
  },

  async base_url_with_v1_is_explained() {
    await assert.rejects(
      client({ baseURL: `${base}/v1` }).messages.create(ask()),
      (error) => error.status === 404 && error.message.includes(base),
    );
  },

  async base_url_with_a_slash() {
    assert.equal((await client({ baseURL: `${base}/` }).messages.create(ask())).type, "message");
  },

  async bearer_token() {
    const bearer = client({ apiKey: null, authToken: key });
    assert.equal((await bearer.messages.create(ask())).type, "message");
  },

  async raw_response() {
    const { data, response } = await client().messages.create(ask()).withResponse();
    assert.ok(response.headers.get("request-id").startsWith("req_"));
    assert.equal(data.type, "message");
  },

  async warm_up() {
    const { data, response } = await client().messages.create(ask("Warmup")).withResponse();
    assert.equal(response.headers.get("x-warmup-intercepted"), "true");
    assert.equal(data.model, model);
  },

  async large_body() {
    assert.equal((await client().messages.create(ask("word ".repeat(400_000)))).type, "message");
  },

  async abort() {
    const stream = client().messages.stream(ask("word ".repeat(5_000)));
    stream.on("streamEvent", () => stream.abort());
    await assert.rejects(stream.finalMessage(), (error) => error instanceof Anthropic.APIUserAbortError);
    assert.equal((await client().messages.create(ask())).type, "message");
  },
};

for (const [name, run] of Object.entries(cases)) {
  try {
    await run();
    console.log(`ok typescript ${name}`);
  } catch (error) {
    console.log(`FAIL typescript ${name}: ${JSON.stringify(String(error?.stack ?? error)).slice(0, 600)}`);
  }
}
