// Caps `max_tokens`. The setting `most` is the largest value that is sent.

import { get as settings } from "witgate:plugin/settings@0.2.0";

const MAX_TOKENS = "$.max_tokens";

function mostOf(text) {
  const { most = 8192, ...unknown } = JSON.parse(text);
  const names = Object.keys(unknown);
  if (names.length > 0) throw `settings: unknown key \`${names[0]}\`, expected \`most\``;
  if (!Number.isInteger(most) || most < 1) throw "settings: `most`: expected a number of tokens";
  return most;
}

// A thrown string is the error of `describe`.
export const manifest = {
  describe(text) {
    mostOf(text);
    return JSON.stringify({
      summary: "caps max_tokens",
      version: "1.0.0",
      guards: { attempt: [{ path: MAX_TOKENS }] },
    });
  },
};

export const attemptHook = {
  onAttempt(request, _target) {
    const most = mostOf(settings());
    const [found] = request.read(MAX_TOKENS);
    if (found && JSON.parse(found.value) > most) {
      const capped = { pointer: found.pointer, value: JSON.stringify(most) };
      request.patch([{ tag: "replace", val: capped }]);
      request.note(`max_tokens ${found.value} capped to ${most}`);
    }
    return { tag: "proceed" };
  },
};
