"""Make this example's data: `python examples/support-chatbot/data/generate.py` writes chats.jsonl.

Chats of a web shop's customers with its support, some of several turns. Every word is made up here. Planted on purpose:
repeated chats, e-mail addresses, card numbers, and order numbers that are no personal data.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
TURNS = (
    (
        "Where is my order {order}? I ordered a {thing} {days} days ago.",
        "I am sorry for the wait. Orders of a {thing} take up to ten days; you can follow {order} in your account.",
    ),
    (
        "I want to send the {thing} from order {order} back after {days} days.",
        "You can return a {thing} within 30 days. Print the label in your account under {order}.",
    ),
    (
        "The {thing} in order {order} came broken {days} days ago.",
        "That should not happen. We send you a new {thing}; please keep the broken one for the courier of {order}.",
    ),
    (
        "How do I change the address of order {order}? The {thing} ships in {days} days.",
        "Open {order} in your account and choose another address before the {thing} leaves our house.",
    ),
)
FOLLOW_UPS = (
    ("Thank you. How long does the refund take?", "A refund reaches your bank within five days."),
    ("Can I talk to a person?", "Of course: our team answers on weekdays from nine to six."),
    ("Is there a fee?", "No, this is free of charge."),
)
THINGS = ("lamp", "kettle", "backpack", "headset", "desk", "jacket")
ROWS, REPEATED, PERSONAL, LONGER = 420, 0.06, 0.12, 0.35


def rows() -> list[dict[str, object]]:
    """The same seed gives the same rows."""
    rng = random.Random(3)  # noqa: S311 - reproducible on purpose
    made: list[dict[str, object]] = []
    while len(made) < ROWS:
        if made and rng.random() < REPEATED:
            made.append(rng.choice(made))
        else:
            made.append(_row(rng, len(made)))
    return made


def _row(rng: random.Random, number: int) -> dict[str, object]:
    facts = {"order": f"A-{rng.randrange(10**6):06}", "thing": rng.choice(THINGS), "days": rng.randrange(2, 30)}
    question, answer = (text.format(**facts) for text in rng.choice(TURNS))
    if rng.random() < PERSONAL:
        question += f" Write to customer{number}@example.com."
    elif rng.random() < PERSONAL:
        question += " I paid with card 4539 1488 0343 6467."
    chat = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if rng.random() < LONGER:
        more, reply = rng.choice(FOLLOW_UPS)
        chat += [{"role": "user", "content": more}, {"role": "assistant", "content": reply}]
    return {"conversation_id": f"c-{number // 2}", "messages": chat}


if __name__ == "__main__":
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    (HERE / "chats.jsonl").write_text("".join(lines), encoding="utf-8")
