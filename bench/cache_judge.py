"""How good a model is as the judge of the cache: held against Banking77's labels.

    python -m bench.cache_judge --url http://127.0.0.1:9000/v1 --model NAME --pairs 300

A pair is a question, drawn with a seed, and the question most like it among the others; it is the
same where both have one intent. The judge sees the two questions (`questions`), or also what the
model itself answers to each, as in the product (`answers`): there the label is of the intent, and a
weak model's two answers to one intent may rightly be called different.
"""

from __future__ import annotations

import argparse
import http.client
import json
from pathlib import Path
from random import Random
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np

from bench.cache_questions import banking77, vectors
from bench.figures import Figures, circumstances, write_figures
from selvedge.adapters import UrlJudge, find_data
from selvedge.cache import judging

SEED = 16
ANSWER_TOKENS_MAX = 48
TARGETS = (0.01, 0.03)
PART = 0.5
"""So much of the pairs is the same: a judge that says one word to all is no better than chance."""
Pair = tuple[str, str, bool]


def pairs_of(data: Path, count: int) -> list[Pair]:
    """New question, kept question, and whether they have one intent: as many of either."""
    questions = banking77(data)
    known = vectors(questions.texts)
    order = list(range(len(questions.texts)))
    Random(SEED).shuffle(order)
    wanted = {True: round(count * PART), False: count - round(count * PART)}
    found: list[Pair] = []
    for at in order:
        near = known @ known[at]
        near[at] = -1.0
        other = int(np.argmax(near))
        same = questions.labels[at] == questions.labels[other]
        if wanted[same] and questions.texts[at] != questions.texts[other]:
            wanted[same] -= 1
            found.append((questions.texts[at], questions.texts[other], same))
        if not any(wanted.values()):
            break
    return found


def answer_of(url: str, model: str, question: str) -> str:
    """What the model answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": ANSWER_TOKENS_MAX,
    }
    try:
        path = f"{parts.path.rstrip('/')}/chat/completions"
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        said = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return str(said["choices"][0]["message"]["content"])


def tried(url: str, model: str, pairs: list[Pair], *, answers: bool) -> Figures:
    """The confusion matrix, as printed and as figures."""
    judge = UrlJudge(url, model)
    found, began = [], perf_counter()
    first = {True: 0, False: 0}
    for new, kept, same in pairs:
        said = (answer_of(url, model, kept), answer_of(url, model, new)) if answers else ("", "")
        before = judge.counts["questions"]
        verdict = judge.says_same(judging.Exchange(kept, said[0]), judging.Exchange(new, said[1]))
        first[same] += judge.counts["questions"] - before > 1
        found.append(judging.Tried(same, verdict))
    trial = judging.trial(found)
    name = "answers" if answers else "questions"
    print(f"{model}, {name}: {len(pairs)} pairs, {perf_counter() - began:.0f} s")
    print(dict(judge.counts))
    print(f"yes to the first question: {first[True]} of the same, {first[False]} of the different")
    print(judging.trial_text(trial, TARGETS))
    agreed = trial.same_same + trial.different_different
    low, high = trial.wrong_of_same
    return {
        f"judge_{name}_pairs": trial.pairs,
        f"judge_{name}_agreed": round(agreed / trial.pairs, 4),
        f"judge_{name}_same_same": trial.same_same,
        f"judge_{name}_same_different": trial.same_different,
        f"judge_{name}_different_same": trial.different_same,
        f"judge_{name}_different_different": trial.different_different,
        f"judge_{name}_wrong_of_same_low": round(low, 4),
        f"judge_{name}_wrong_of_same_high": round(high, 4),
        f"judge_{name}_first_yes_of_same": first[True],
        f"judge_{name}_first_yes_of_different": first[False],
        f"judge_{name}_contradicted": judge.counts["contradicted"],
        f"judge_{name}_unclear": judge.counts["unclear"],
    }


def main() -> None:
    """Asks, prints, and writes `bench/out/cache-judge.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="the engine's base, ending in /v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--answers", type=int, default=60, help="pairs with the model's answers")
    parser.add_argument("--data", type=Path, help="the folder of public data")
    given = parser.parse_args()
    pairs = pairs_of(find_data(given.data), given.pairs)
    figures = tried(given.url, given.model, pairs, answers=False)
    if given.answers:
        figures |= tried(given.url, given.model, pairs[: given.answers], answers=True)
    write_figures("cache-judge", {**circumstances(), "judge_model": given.model, **figures})


if __name__ == "__main__":
    main()
