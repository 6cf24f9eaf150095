// Requests with the official TypeScript SDK, with its own retries disabled: a line of JSON for each
// with its result.
//
// Arguments: the gateway's key, and then pairs of a base URL and `create` or `stream`.

import Anthropic from "@anthropic-ai/sdk";

const [apiKey, ...pairs] = process.argv.slice(2);
const ask = { model: "claude-opus-5-5", max_tokens: 256, messages: [{ role: "user", content: "hello" }] };

async function become(baseURL, how) {
  const client = new Anthropic({ baseURL, apiKey, maxRetries: 0 });
  try {
    const message =
      how === "create" ? await client.messages.create(ask) : await client.messages.stream(ask).finalMessage();
    return { message };
  } catch (error) {
    if (!(error instanceof Anthropic.AnthropicError)) throw error;
    return { error: error.constructor.name, says: error.message };
  }
}

for (let at = 0; at < pairs.length; at += 2) {
  console.log(JSON.stringify(await become(pairs[at], pairs[at + 1])));
}
