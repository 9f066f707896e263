"""A coding agent without a model: it does what an installed skill shows, and knows nothing else.

Reads the prompt from stdin, picks the skill whose description shares most words with it, and writes what that skill's
worked example ends with. Without skills it can do nothing. It prints one object as Claude Code does, with the words
that it read in the place of tokens.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scaffold.skillpack.read import front_matter
from skills.markdown import page

ENOUGH = 2.4
"""Below this, no description is about the prompt."""


def main() -> int:
    prompt = sys.stdin.read()
    asked = re.search(r"\AThese skills are available:\n\n(.*?)\n\nA user writes:\n\n(.*?)\n\nWhich", prompt, re.DOTALL)
    if asked:
        listing = dict(re.findall(r"^- ([a-z-]+): (.*)$", asked[1], re.MULTILINE))
        say(choose(asked[2], listing) or "none", words=len(prompt.split()))
        return 0
    found = {path.parent: path.read_text(encoding="utf-8") for path in Path().glob(".agents/skills/*/SKILL.md")}
    descriptions = {str(folder): front_matter(text)["description"] for folder, text in found.items()}
    skill = choose(prompt, descriptions)
    example = Path(skill or "", "references", "worked-example.md")
    if skill is None or not example.is_file():
        say("I do not know how to do this.", words=len(prompt.split()))
        return 0
    text = example.read_text(encoding="utf-8")
    done = follow_example(text)
    say(f"Wrote {', '.join(done)}.", words=len(f"{prompt} {found[Path(skill)]} {text}".split()))
    return 0


def follow_example(text: str) -> list[str]:
    """Write what each file of the example is at its end."""
    last = {
        block.mark.partition("=")[2]: block
        for block in page(Path("worked-example.md"), text).blocks
        if "=" in block.mark
    }
    done = []
    for path, block in last.items():
        place = Path(path)
        if block.mark.startswith("write=") and place.parent.is_dir():
            place.write_text(block.body, encoding="utf-8")
            done.append(path)
        elif block.mark.startswith("replace=") and place.is_file():
            old, new = block.body.rstrip("\n").split("\n---\n")
            place.write_text(place.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
            done.append(path)
    return done


def choose(prompt: str, descriptions: dict[str, str]) -> str | None:
    """The description that shares most with the prompt; rare words count more, what it is not for does not count."""
    wanted = {name: words(text.split(" Not for ")[0]) for name, text in descriptions.items()}
    asked = words(prompt)
    scores = {
        name: sum(
            math.log((1 + len(wanted)) / sum(word in other for other in wanted.values())) for word in asked & has
        )
        for name, has in wanted.items()
    }
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] >= ENOUGH else None


def words(text: str) -> set[str]:
    found = re.findall(r"[a-z0-9_]+", text.lower().replace("-", " "))
    return {word.removesuffix("s") for word in found if len(word) > 2} - {
        "the",
        "and",
        "for",
        "with",
        "use",
        "when",
        "that",
        "not",
    }


def say(answer: str, *, words: int) -> None:
    usage = {"input_tokens": words, "output_tokens": len(answer.split())}
    print(json.dumps({"type": "result", "result": answer, "usage": usage}))


if __name__ == "__main__":
    sys.exit(main())
