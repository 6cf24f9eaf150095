// The official TypeScript SDK against a gateway whose upstream speaks another protocol: one line
// per case, `ok name` or `FAIL name: why`.
//
// Arguments: the base URL, the gateway's key, and `gemini` or `openai`. The upstream answers by
// what the user's text asks for (strict/script.py).

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const [base, key, dialect] = process.argv.slice(2);
const client = () => new Anthropic({ apiKey: key, baseURL: base, maxRetries: 0 });
const ask = (text, more = {}) => ({
  model: "a-model",
  max_tokens: 4096,
  messages: [{ role: "user", content: text }],
  ...more,
});
const weather = {
  name: "weather",
  description: "the weather in a city",
  input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const thinking = { type: "enabled", budget_tokens: 1024 };
const created = (asked) => client().messages.create(asked);
const streamed = (asked) => client().messages.stream(asked).finalMessage();

async function toolRound(make) {
  const asked = ask("the weather", { tools: [weather], thinking });
  const first = await make(asked);
  assert.equal(first.stop_reason, "tool_use");
  const used = first.content.at(-1);
  assert.equal(used.name, "weather");
  assert.deepEqual(used.input, { city: "Rome" });
  const result = { type: "tool_result", tool_use_id: used.id, content: "sunny" };
  const answered = [
    { role: "assistant", content: first.content },
    { role: "user", content: [result] },
  ];
  const second = await make({ ...asked, messages: [...asked.messages, ...answered] });
  assert.equal(second.content.at(-1).text, "It is sunny in Rome.");
}

const cases = {
  async text_and_usage() {
    for (const make of [created, streamed]) {
      const message = await make(ask("hello", { thinking }));
      assert.deepEqual(message.content.map((block) => block.type), ["thinking", "text"]);
      assert.equal(message.content[0].thinking, "They greet.");
      assert.equal(message.content[1].text, "hello from upstream");
      assert.equal(message.model, "a-model");
      const { input_tokens, cache_read_input_tokens, output_tokens } = message.usage;
      assert.deepEqual([input_tokens, cache_read_input_tokens, output_tokens], [600, 400, 50]);
    }
  },

  async a_tool_round() {
    await toolRound(created);
  },

  async a_tool_round_streamed() {
    await toolRound(streamed);
  },

  async a_limit_says_when() {
    // A model of its own, because the account is on cooldown for it afterwards.
    await assert.rejects(
      created({ ...ask("the limit"), model: "limited" }),
      (error) =>
        error instanceof Anthropic.RateLimitError &&
        ["6", "7"].includes(error.headers.get("retry-after")) &&
        error.error.error.message.includes("slow down, please"),
    );
  },

  async an_error_has_its_text() {
    await assert.rejects(
      created(ask("wrong")),
      (error) => error instanceof Anthropic.BadRequestError && error.message.includes("that was wrong"),
    );
  },

  async a_cut_stream_is_no_answer() {
    await assert.rejects(streamed(ask("cut")), Anthropic.AnthropicError);
    await assert.rejects(created(ask("cut")), Anthropic.AnthropicError);
  },

  async endings() {
    for (const make of [created, streamed]) {
      assert.equal((await make(ask("refuse"))).stop_reason, "refusal");
      assert.equal((await make(ask("long"))).stop_reason, "max_tokens");
    }
  },

  async count_tokens() {
    const count = await client().messages.countTokens({ model: "a-model", messages: [{ role: "user", content: "hi" }] });
    if (dialect === "gemini") assert.equal(count.input_tokens, 321);
    assert.ok(count.input_tokens > 0);
  },

  async models_list() {
    const ids = [];
    for await (const model of client().models.list()) ids.push(model.id);
    assert.deepEqual(ids.sort(), ["another-model", "one-model"]);
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
