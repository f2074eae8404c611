"""Make this example's data: `python examples/claims-extraction/data/generate.py` writes voices.jsonl.

What customers of a pest-control company write, with the claim that a clerk read out of it. Every word is made up here.
A third of the rows brings a category dictionary of its own, the others are read by `DICTIONARY`, which the manifest
names as the default; no answer has a category outside its dictionary. Planted on purpose: repeated voices, names and
phone numbers, and punctuation that the cleaning rule removes.
"""

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PLACES = {
    "바퀴": ("주방 싱크대 밑", "식당 홀", "하수구 옆", "창고 안쪽"),
    "쥐": ("천장 위", "물류 창고", "기계실", "배전반 뒤"),
    "개미": ("화단 쪽 벽", "탕비실", "창틀", "어린이집 교실"),
    "기타": ("옥상 정원", "로비 화분", "지하 주차장", "외벽 조명"),
}


class Said(NamedTuple):
    """One thing that a customer says, what in it proves the category, and the category from large to small."""

    text: str
    proof: str
    category: tuple[str, str, str]
    claim: bool


SAID = (
    Said(
        "{place}에서 {bug}가 {count}마리나 나왔어요!! 지난달에 방역했는데 왜 또 나오죠?",
        "지난달에 방역했는데 왜 또 나오죠",
        ("시공 불만", "재발", "방역 뒤 재발"),
        claim=True,
    ),
    Said(
        "{bug} 때문에 {place} 쪽을 쓸 수가 없습니다... {day}까지 꼭 다시 와 주세요",
        "{day}까지 꼭 다시 와 주세요",
        ("시공 불만", "재방문", "재방문 요청"),
        claim=True,
    ),
    Said("기사님이 {day}에 온다더니 안 왔어요 ㅠㅠ", "안 왔어요", ("일정 불만", "미방문", "약속 미이행"), claim=True),
    Said("{day}로 옮겨 달라고 했는데 답이 없네요.", "답이 없네요", ("일정 불만", "변경", "일정 변경 누락"), claim=True),
    Said(
        "{place}에 약을 뿌린 뒤로 냄새가 심해요.",
        "약을 뿌린 뒤로 냄새가 심해요",
        ("약제 불만", "냄새", "약제 냄새"),
        claim=True,
    ),
    Said(
        "{place} {bug} 점검 예약하려고 합니다. {day} 가능한가요?",
        "점검 예약하려고 합니다",
        ("예약", "점검", "점검 예약"),
        claim=False,
    ),
    Said(
        "{day} 방문 뒤로 {place}에 {bug}가 안 보이네요. 감사합니다 ^^",
        "{bug}가 안 보이네요",
        ("칭찬", "효과", "방역 효과"),
        claim=False,
    ),
    Said("방역 비용이 얼마인지 궁금해요 ({count}평)", "비용이 얼마인지", ("문의", "비용", "비용 문의"), claim=False),
)
DAYS = ("월요일", "화요일", "수요일", "목요일", "금요일", "이번 주말", "다음 주")
NAMES = ("김하늘", "이바다", "박소리", "최나무", "정구름")
ROWS, REPEATED, PERSONAL, OWN_DICTIONARY, SEVERAL = 340, 0.06, 0.12, 0.35, 0.3
Dictionary = dict[str, dict[str, list[str]]]


def _dictionary(categories: list[tuple[str, str, str]]) -> Dictionary:
    found: Dictionary = {}
    for large, middle, small in categories:
        found.setdefault(large, {}).setdefault(middle, []).append(small)
    return found


DICTIONARY = _dictionary([said.category for said in SAID])


def rows() -> list[dict[str, str]]:
    """The same seed gives the same rows."""
    rng = random.Random(7)  # noqa: S311 - reproducible on purpose
    made: list[dict[str, str]] = []
    while len(made) < ROWS:
        if made and rng.random() < REPEATED:
            made.append(rng.choice(made))
        else:
            made.append(_row(rng))
    return made


def _row(rng: random.Random) -> dict[str, str]:
    kind = rng.choice(list(PLACES))
    bug = "벌레" if kind == "기타" else kind
    words = {"place": rng.choice(PLACES[kind]), "bug": bug, "day": rng.choice(DAYS)}
    said = rng.sample(SAID, 2 if rng.random() < SEVERAL else 1)
    voice = " ".join(one.text.format(count=rng.randrange(2, 40), **words) for one in said)
    if rng.random() < PERSONAL:
        voice += f" {rng.choice(NAMES)} 고객, 010-{rng.randrange(2000, 9999)}-{rng.randrange(1000, 9999)}"
    row = {"input_text": voice, "response": json.dumps(_answer(said, kind, words), ensure_ascii=False)}
    if rng.random() < OWN_DICTIONARY:
        own = {one.category for one in said} | {one.category for one in rng.sample(SAID, 2)}
        row["category_dict"] = json.dumps(_dictionary(sorted(own)), ensure_ascii=False)
    return row


def _answer(said: list[Said], kind: str, words: dict[str, str]) -> dict[str, Any]:
    """The clerk's answer: no bug where none is named, and a category for each thing that is said."""
    named = any("{bug}" in one.text for one in said)
    placed = any("{place}" in one.text for one in said)
    smallest = " ".join(one.category[2] for one in said)
    return {
        "is_claim": "claim" if any(one.claim for one in said) else "non-claim",
        "summary": " ".join([words["place"]] * placed + [words["bug"]] * named + [smallest]),
        "bug_type": kind if named else None,
        "keywords": [words["bug"]] * named + [one.category[1] for one in said],
        "categories": [
            {
                **dict(zip(("대분류", "중분류", "소분류"), one.category, strict=True)),
                "근거": one.proof.format(**words),
            }
            for one in said
        ],
    }


if __name__ == "__main__":
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    (HERE / "voices.jsonl").write_text("".join(lines), encoding="utf-8")
