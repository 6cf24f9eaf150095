// A conversation with tools by the official TypeScript SDK, with its own retries disabled: a line
// of JSON for each turn with its result. It ends at the first error.
//
// Arguments: the gateway's key, its base URL, `create` or `stream`, the number of turns, and the
// turn before which the client clears its first tool result, or 0.

import Anthropic from "@anthropic-ai/sdk";

const [apiKey, baseURL, how, turns, clears] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const schema = { type: "object", properties: { path: { type: "string" } } };
const ask = {
  model: "claude-opus-5-5",
  max_tokens: 4096,
  system: "Read what you need.",
  thinking: { type: "adaptive" },
  tools: ["read", "search"].map((name) => ({ name, description: "Reads.", input_schema: schema })),
};
const messages = [];

function followUp(turn) {
  const calls = (messages.at(-1)?.content ?? []).filter((block) => block.type === "tool_use");
  const results = calls.map((call) => ({ type: "tool_result", tool_use_id: call.id, content: `result ${turn}` }));
  return { role: "user", content: results.length > 0 ? results : `question ${turn}` };
}

for (let turn = 1; turn <= Number(turns); turn++) {
  if (turn === Number(clears)) messages[2].content[0].content = "[cleared]";
  messages.push(followUp(turn));
  let message;
  try {
    const body = { messages, ...ask };
    message =
      how === "create" ? await client.messages.create(body) : await client.messages.stream(body).finalMessage();
  } catch (error) {
    if (!(error instanceof Anthropic.AnthropicError)) throw error;
    console.log(JSON.stringify({ error: error.constructor.name, says: error.message }));
    break;
  }
  messages.push({ role: "assistant", content: message.content });
  console.log(JSON.stringify({ stop_reason: message.stop_reason }));
}
