"""Make this example's data: `python examples/claims-extraction/data/generate.py` writes voices.jsonl.

What customers of a pest-control company write, with the claim that a clerk read out of it. Every word is made up here.
Planted on purpose: repeated voices, names and phone numbers, and punctuation that the cleaning rule removes.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
BUGS = {
    "바퀴": ("주방 싱크대 밑", "식당 홀", "하수구 옆", "창고 안쪽"),
    "쥐": ("천장 위", "물류 창고", "기계실", "배전반 뒤"),
    "개미": ("화단 쪽 벽", "탕비실", "창틀", "어린이집 교실"),
    "기타": ("옥상 정원", "로비 화분", "지하 주차장", "외벽 조명"),
}
CLAIMS = (
    (
        "{place}에서 {bug}가 {count}마리나 나왔어요!! 지난달에 방역했는데 왜 또 나오죠?",
        "시공 불만",
        "재발",
        "방역 뒤 재발",
    ),
    ("{bug} 때문에 {place}을 쓸 수가 없습니다... {day}까지 꼭 다시 와 주세요", "시공 불만", "재방문", "재방문 요청"),
    ("기사님이 {day}에 온다더니 안 왔어요 ㅠㅠ {place} {bug} 그대로예요", "일정 불만", "미방문", "약속 미이행"),
    ("{place}에 약을 뿌린 뒤로 냄새가 심해요. {bug}는 {count}마리 더 봤고요.", "약제 불만", "냄새", "약제 냄새"),
)
PLAIN = (
    ("{place} {bug} 점검 예약하려고 합니다. {day} 가능한가요?", "예약", "점검", "점검 예약"),
    ("{day} 방문 뒤로 {place}에 {bug}가 안 보이네요. 감사합니다 ^^", "칭찬", "효과", "방역 효과"),
    ("{place} {bug} 방역 비용이 얼마인지 궁금해요 ({count}평)", "문의", "비용", "비용 문의"),
)
DAYS = ("월요일", "화요일", "수요일", "목요일", "금요일", "이번 주말", "다음 주")
NAMES = ("김하늘", "이바다", "박소리", "최나무", "정구름")
ROWS, REPEATED, PERSONAL = 420, 0.06, 0.12


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
    claim = rng.random() < 0.6
    bug = rng.choice(list(BUGS))
    text, large, middle, small = rng.choice(CLAIMS if claim else PLAIN)
    place, day = rng.choice(BUGS[bug]), rng.choice(DAYS)
    named = "벌레" if bug == "기타" else bug
    voice = text.format(place=place, bug=named, count=rng.randrange(2, 40), day=day)
    if rng.random() < PERSONAL:
        voice += f" {rng.choice(NAMES)} 고객, 010-{rng.randrange(2000, 9999)}-{rng.randrange(1000, 9999)}"
    answer = {
        "is_claim": "claim" if claim else "non-claim",
        "summary": f"{place} {named} {small}",
        "bug_type": bug,
        "keywords": [named, place.split()[0], middle],
        "categories": [{"대분류": large, "중분류": middle, "소분류": small, "근거": place}],
    }
    row = {"input_text": voice, "response": json.dumps(answer, ensure_ascii=False)}
    if rng.random() < 0.3:
        row["category_dict"] = json.dumps({large: [middle]}, ensure_ascii=False)
    return row


if __name__ == "__main__":
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    (HERE / "voices.jsonl").write_text("".join(lines), encoding="utf-8")
