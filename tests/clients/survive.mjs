// One request with the official TypeScript SDK, which itself tries nothing again: one line of JSON says what became of it.
//
// Arguments: the base URL, the gateway's key, and `create` or `stream`.

import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey, how] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
const ask = { model: "claude-opus-5-5", max_tokens: 256, messages: [{ role: "user", content: "hello" }] };
try {
  const message =
    how === "create" ? await client.messages.create(ask) : await client.messages.stream(ask).finalMessage();
  console.log(JSON.stringify({ message }));
} catch (error) {
  if (!(error instanceof Anthropic.AnthropicError)) throw error;
  console.log(JSON.stringify({ error: error.constructor.name, says: error.message }));
}
