"""Make this example's data: `python examples/civil-law-qa/data/generate.py` writes questions.csv in CP949.

Questions about civil law with short answers, as a spreadsheet saves them. They show the format: they are made up here,
and no legal advice. Planted on purpose: repeated questions, names and bank accounts.
"""

import csv
import io
import random
from pathlib import Path

HERE = Path(__file__).parent
TOPICS = (
    (
        "전세 보증금 {amount}만 원을 집주인이 {months}개월째 돌려주지 않습니다. 어떻게 하나요?",
        "내용증명으로 반환을 요구하고, 임차권등기명령을 신청한 뒤 보증금 반환 소송을 할 수 있습니다.",
        "임대차",
    ),
    (
        "친구에게 빌려준 {amount}만 원을 {months}개월이 지나도 받지 못했습니다. 방법이 있나요?",
        "차용증이나 이체 내역을 갖추어 지급명령을 신청할 수 있습니다. 시효가 지나지 않았는지 확인하십시오.",
        "대여금",
    ),
    (
        "중고 거래로 {amount}만 원을 보냈는데 {months}개월째 물건이 오지 않습니다. 환불받을 수 있나요?",
        "계약을 해제하고 대금의 반환을 청구할 수 있습니다. 속일 뜻이 있었다면 고소도 할 수 있습니다.",
        "매매",
    ),
    (
        "윗집 누수로 {amount}만 원의 손해가 났고 {months}개월째 고치지 않습니다. 누가 물어내나요?",
        "누수의 원인이 있는 집의 점유자나 소유자에게 손해배상과 수리를 청구할 수 있습니다.",
        "손해배상",
    ),
    (
        "아버지가 남긴 빚이 {amount}만 원인 것을 {months}개월 뒤에 알았습니다. 갚아야 하나요?",
        "빚이 재산보다 많다는 것을 안 날부터 3개월 안에 한정승인이나 상속포기를 신고할 수 있습니다.",
        "상속",
    ),
)
ENDINGS = ("", " 급합니다.", " 자세히 알려 주세요.", " 비용도 궁금합니다.")
NAMES = ("김하늘", "이바다", "박소리", "최나무", "정구름")
ROWS, REPEATED, PERSONAL = 360, 0.05, 0.1


def rows() -> list[tuple[str, str, str]]:
    """The same seed gives the same rows."""
    rng = random.Random(5)  # noqa: S311 - reproducible on purpose
    made: list[tuple[str, str, str]] = []
    while len(made) < ROWS:
        if made and rng.random() < REPEATED:
            made.append(rng.choice(made))
            continue
        question, answer, field = rng.choice(TOPICS)
        text = question.format(amount=rng.randrange(30, 30000, 10), months=rng.randrange(2, 48)) + rng.choice(ENDINGS)
        if rng.random() < PERSONAL:
            account = f"{rng.randrange(100, 999)}-{rng.randrange(10, 99)}-{rng.randrange(100000, 999999)}"
            text += f" 상대방은 {rng.choice(NAMES)} 씨이고 계좌는 국민은행 {account}입니다."
        made.append((text, answer, field))
    return made


if __name__ == "__main__":
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerows([("질문", "답변", "분야"), *rows()])
    (HERE / "questions.csv").write_bytes(page.getvalue().encode("cp949"))
