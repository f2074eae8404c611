"""Make this example's data: `python examples/expressway-assistant/data/generate.py` writes chats.jsonl and cases.jsonl.

Chats of an expressway operator's staff with their assistant, and the department that each question belongs to. Every
word is made up here. Planted on purpose: repeated chats, names, resident numbers and phone numbers.
"""

import json
import random
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SYSTEM = "너는 고속도로 회사의 업무 도우미다. 질문을 맡을 부서의 이름만 답하라."
TOPICS = {
    "통행료": (
        "{gate} 영업소에서 {card} 단말기 요금이 두 번 결제됐다는 민원이 들어왔습니다",
        "{gate} 하이패스 차로 미납 {count}건은 어디서 처리하나요",
        "{gate} 영업소 할인 차량 {count}대의 정산이 틀립니다",
    ),
    "도로관리": (
        "{route} {km}km 지점 포장에 구멍이 생겼다는 신고가 있습니다",
        "{route} {km}km 방음벽 {count}칸이 부서졌습니다",
        "{route} {km}km 배수로가 막혀 물이 고입니다",
    ),
    "교통상황": (
        "{route} {km}km 사고로 {count}개 차로가 막혔습니다",
        "{route} 정체가 {km}km까지 이어진다는데 우회 안내는 누가 하나요",
        "{route} {km}km 안개로 제한속도를 낮춰야 합니다",
    ),
    "휴게소": (
        "{gate} 휴게소 화장실 {count}칸이 고장 났습니다",
        "{gate} 휴게소 전기차 충전기 {count}기가 멈췄습니다",
        "{gate} 휴게소 식당 위생 민원이 {count}건 들어왔습니다",
    ),
}
ROUTES = ("가람선", "누리선", "다솔선", "마루선", "보라선")
GATES = ("푸른들", "새벽골", "은하", "한빛", "솔내")
NAMES = ("김하늘", "이바다", "박소리", "최나무", "정구름")
ROWS, CASES, REPEATED, PERSONAL = 480, 200, 0.06, 0.12
Row = dict[str, Any]


def chats() -> list[Row]:
    """The same rows each time."""
    rng = random.Random(11)  # noqa: S311 - reproducible on purpose
    made: list[Row] = []
    while len(made) < ROWS:
        if made and rng.random() < REPEATED:
            made.append(rng.choice(made))
        else:
            made.append(_row(rng))
    return made


def cases(trained: list[Row]) -> list[Row]:
    """Other questions than those trained on, each once."""
    rng = random.Random(12)  # noqa: S311 - reproducible on purpose
    known = {_question(row) for row in trained}
    made: list[Row] = []
    while len(made) < CASES:
        row = _row(rng)
        if (question := _question(row)) not in known:
            known.add(question)
            made.append(row)
    return made


def _question(row: Row) -> str:
    """What is asked, without who asks: names and numbers are masked before anything is learnt."""
    asked: str = row["messages"][1]["content"]
    return asked.rstrip(".").partition(". ")[0]


def _row(rng: random.Random) -> Row:
    topic = rng.choice(list(TOPICS))
    text = rng.choice(TOPICS[topic]).format(
        gate=rng.choice(GATES),
        route=rng.choice(ROUTES),
        km=f"{rng.randrange(1, 400)}.{rng.randrange(10)}",
        count=rng.randrange(2, 30),
        card=rng.choice(("하이패스", "신용카드")),
    )
    if rng.random() < PERSONAL:
        resident = (
            f"{rng.randrange(60, 99)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}-1{rng.randrange(10**6):06}"
        )
        text += f". 신고자 {rng.choice(NAMES)}의 주민등록번호는 {resident}입니다"
    elif rng.random() < PERSONAL:
        text += f". 연락처는 010-{rng.randrange(2000, 9999)}-{rng.randrange(1000, 9999)}입니다"
    chat = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": text + "."},
        {"role": "assistant", "content": topic},
    ]
    quality = round(rng.uniform(0.7, 1.0), 2)
    return {"messages": chat, "metadata": {"source": "사내 문의", "category": topic, "quality_score": quality}}


if __name__ == "__main__":
    asked = chats()
    for name, made in (("chats", asked), ("cases", cases(asked))):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in made)
        (HERE / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
