"""The answers of the strict upstream.

`Session` is a conversation of ten turns for Claude Code. It also checks what the client sends back
of earlier turns. `Sdk` answers by what the last user text asks for, `Always` gives the same answer,
and `AtRandom` random ones (turns.py).
"""

import base64
import json
import pathlib

import turns
from said import Answer, Turn


def bash(command):
    return ("Bash", {"command": command, "description": "as the test wants it"})


class Session:
    """Ten turns of Claude Code, which gets a picture to look at."""

    def __init__(self, speaks, picture):
        self.speaks = speaks
        self.before = None
        self.picture = base64.b64encode(pathlib.Path(picture).read_bytes()).decode()
        self.turns = [
            Turn("Three at once.", "I look.", [bash("echo one"), bash("echo two"), bash("echo three")]),
            Turn("A picture.", "", [("Read", {"file_path": picture})]),
            Turn("This will fail.", "It may fail.", [bash("echo not-so-good >&2; exit 3")]),
            *(Turn(f"Thought {n}.", f"Step {n}.", [bash(f"echo step-{n}")]) for n in range(3, 9)),
            Turn("That is all.", "All ten turns are done."),
        ]

    def to(self, path, body, flaws):
        sent = json.loads(body)
        past = self.speaks.turns(sent)
        number = len(past)
        flaws += self.went_on(body) + self.came_back(sent, past, number)
        if not self.speaks.thinks(sent):
            flaws.append("thinking is off")
        return self.speaks.stream(number, self.turns[min(number, len(self.turns) - 1)])

    def went_on(self, body):
        """A conversation only grows: everything sent before is sent again, byte for byte."""
        before, self.before = self.before, members(body)
        if before is None:
            return []
        now = self.before
        flaws = [f"{name} changed" for name in self.speaks.head() if now.get(name) != before.get(name)]
        history = self.speaks.history()
        if not now[history].startswith(before[history][:-1] + ","):
            at = next((at for at, pair in enumerate(zip(now[history], before[history])) if pair[0] != pair[1]), 0)
            was, is_now = before[history][at - 40 : at + 60], now[history][at - 40 : at + 60]
            flaws.append(f"{history} changed at {at}: {was!r} became {is_now!r}")
        return flaws

    def came_back(self, sent, past, number):
        flaws = []
        for place, said in enumerate(past):
            flaws += self.speaks.signed_wrong(place, said)
            if self.speaks.calls(said) != self.turns[place].calls:
                flaws.append(f"turn {place}: the calls {self.speaks.calls(said)}")
        if number:
            wanted = len(self.turns[number - 1].calls)
            results = self.speaks.results(sent)
            if len(results) != wanted:
                flaws.append(f"turn {number}: {len(results)} results, wanted {wanted}")
            flaws += self.of_the_turn(number, json.dumps(results), sent)
        return flaws

    def of_the_turn(self, number, results, sent):
        words = {1: ["one", "two", "three"], 3: ["not-so-good", "Exit code 3"], 4: ["step-3"], 9: ["step-8"]}
        flaws = [f"turn {number}: no {word!r}" for word in words.get(number, []) if word not in results]
        if number == 1 and not results.index("one") < results.index("two") < results.index("three"):
            flaws.append("the results are in another order")
        if number == 2 and not self.speaks.has_image(sent, self.picture):
            flaws.append("the picture did not come")
        return flaws


def members(text):
    """The members of an object in their original spelling."""
    decoder, at, found = json.JSONDecoder(), 1, {}
    while text[at - 1] != "}":
        name, at = decoder.raw_decode(text, at)
        begin = at + 1
        _, at = decoder.raw_decode(text, begin)
        found[name] = text[begin:at]
        at += 1
    return found


class Sdk:
    """Answers by what the last user text asks for."""

    def __init__(self, speaks):
        self.speaks = speaks

    def to(self, path, body, flaws):
        if self.speaks.is_list(path):
            return self.speaks.models(["one-model", "another-model"])
        if self.speaks.is_count(path):
            return self.speaks.count()
        sent = json.loads(body)
        asked = self.speaks.last_text(sent)
        if "limit" in asked:
            return self.speaks.error(429, "slow down, please", wait=7)
        if "wrong" in asked:
            return self.speaks.error(400, "that was wrong")
        if "cut" in asked:
            return self.speaks.stream(0, Turn("Hm.", "This will not be finished", cut=True))
        if "refuse" in asked:
            return self.speaks.stream(0, Turn("", "", end="refused"))
        if "long" in asked:
            return self.speaks.stream(0, Turn("", "and so on", end="long"))
        if "weather" in asked and not self.speaks.has_result(sent):
            return self.speaks.stream(0, Turn("Which city?", "I look.", [("weather", {"city": "Rome"})]))
        if self.speaks.has_result(sent):
            return self.speaks.stream(1, Turn("", "It is sunny in Rome."))
        return self.speaks.stream(0, Turn("They greet.", "hello from upstream"))


class Always:
    """Gives the same answer to every request."""

    def __init__(self, speaks):
        self.speaks = speaks

    def to(self, path, body, flaws):
        return self.speaks.stream(0, Turn("Hm.", "hello from upstream"))


class AtRandom:
    """Gives the answer of turns.py for the number in the user's text, in pieces of any size."""

    def __init__(self, speaks):
        self.speaks = speaks

    def to(self, path, body, flaws):
        seed = int(self.speaks.last_text(json.loads(body)).split()[-1])
        steps, end, cut, source = turns.answer(seed, self.speaks.mixes)
        events = self.speaks.at_random(steps, end, source)
        if cut:
            # The cut must lose something that matters, so not only the usage after the end, or
            # `[DONE]`.
            last = max(at for at, event in enumerate(events) if self.speaks.ends_in(event))
            events = events[: source.randint(0, last)]
        return Answer(events=events, cut=cut)
