"""Checks every case of a dialect against its provider's own types: a line for each file, `ok what`
or `FAIL what: flaws`.

Arguments: the folder of a dialect's cases, and `gemini` or `openai`. The upstream's response in a
case may have another server's format if a file `foreign.txt` names that server. What the gateway
sends may not.
"""

import json
import pathlib
import sys

import speaks_gemini
import speaks_openai

FOLDER, DIALECT = pathlib.Path(sys.argv[1]), sys.argv[2]


def events(text):
    """The data of each event of a stream."""
    for event in text.replace("\r\n", "\n").replace("\r", "\n").split("\n\n"):
        data = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        if data:
            yield "\n".join(data)


def sent_flaws(case):
    path, body = (case / "sent.txt").read_text().strip(), (case / "sent.json").read_text()
    if DIALECT == "openai":
        return speaks_openai.request_flaws(path, body)
    settings = case / "settings.json"
    vertex = settings.exists() and "up" in json.loads(settings.read_text()).get("vertex", [])
    return speaks_gemini.request_flaws(path, body, vertex)


def answer_flaws(texts):
    check = speaks_gemini.answer_flaws if DIALECT == "gemini" else speaks_openai.answer_flaws
    return [flaw for text in texts for flaw in checked(check, text)]


def checked(check, text):
    try:
        return check(text)
    # Not valid JSON, or not an object.
    except (ValueError, TypeError, AttributeError) as error:
        return [repr(error)]


def answers(case):
    """The upstream's response: each event, or the whole body."""
    if (case / "upstream.sse").exists():
        # Read as bytes, because text mode would unify the line ends.
        return list(events((case / "upstream.sse").read_bytes().decode()))
    if (case / "upstream.json").exists() and not (case / "kind.txt").exists():
        return [(case / "upstream.json").read_text()]
    if (case / "upstream.http").exists():
        head, body = (case / "upstream.http").read_text().split("\n\n", 1)
        return list(events(body)) if "text/event-stream" in head.lower() else [body]
    return []


def say(name, flaws):
    print(f"FAIL {name}: {json.dumps(flaws)}" if flaws else f"ok {name}", flush=True)


for case in sorted(path for path in FOLDER.iterdir() if path.is_dir()):
    if (case / "sent.json").exists():
        say(f"{case.name} sent", sent_flaws(case))
    flaws = answer_flaws(answers(case))
    if (case / "foreign.txt").exists():
        whose = (case / "foreign.txt").read_text().strip()
        say(f"{case.name} foreign", [] if whose else ["whose shape is it?"])
    elif answers(case):
        say(f"{case.name} upstream", flaws)
