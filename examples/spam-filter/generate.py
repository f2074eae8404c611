"""Make this example's data: `python examples/spam-filter/generate.py` writes data.jsonl and cpu/data.yaml.

Mails as a mail-security team sees them, in English and Korean: subject, attachments, time of receipt, and the decision
with its reason. Every word is made up here. Planted on purpose, for the data report to find: repeated mails (some
word for word, some with another time), personal data in subjects, and 2 % wrong decisions, as labels made by
people have. The same seed writes the same bytes.

A second version of the same mails has most reasons in English, whoever the reader is: what the first model learns from.
Each row of data.jsonl has the team's instruction; in cpu/data.yaml it is one short sentence, for on a processor every
token of it takes time in every row.
"""

import base64
import gzip
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
INSTRUCTION = (
    "You filter a company's mail. Read the mail's subject, its attachments and the time it came, and decide whether it "
    'is kept from its reader. Answer with one JSON object and nothing else: "action" is "BLOCK" or "ALLOW", "reason" '
    'is one sentence in the language of the mail, and "confidence" is a number from 0 to 1.'
)
SHORT_INSTRUCTION = "Decide whether this mail is spam."
ROWS_PER_LANGUAGE = 1300
WRONG = 0.02
REPEATED = 0.05
PERSONAL = 0.06
KOREAN_REASONS = 0.15
"""The share of Korean mails whose reason is in Korean, in the version that is mostly English."""


class Topic(NamedTuple):
    """A kind of mail: what decides about it, and how its subjects and attachments read."""

    action: str
    reason: str
    confidence: float
    subjects: tuple[str, ...]
    attachments: tuple[str, ...]


ENGLISH = (
    Topic(
        "BLOCK",
        "Promises a prize to make the reader click.",
        0.97,
        (
            "You won {amount} dollars in the {brand} lottery, claim code {code}",
            "Winner notice {code}: your free {product} from {brand} is waiting",
            "Congratulations, {brand} picked you for a {product}, answer before {day}",
        ),
        ("", "prize_{code}.html", "claim.zip"),
    ),
    Topic(
        "BLOCK",
        "Asks for a password on a foreign page.",
        0.98,
        (
            "Your {brand} account is locked, verify your password by {day}",
            "Unusual sign-in to {brand} ({code}): confirm your login now",
            "{brand} security: password expires {day}, keep it under ticket {code}",
        ),
        ("", "login_{code}.html"),
    ),
    Topic(
        "BLOCK",
        "Carries a program disguised as a document.",
        0.99,
        (
            "Overdue invoice {code} from {brand}, open the attached file",
            "Scanned {document} {code} for {department}",
            "{brand} payment advice {code}, due {day}",
        ),
        ("{document}_{code}.pdf.exe", "{document}.js", "scan_{code}.scr"),
    ),
    Topic(
        "BLOCK",
        "Advertises pills or loans to strangers.",
        0.95,
        (
            "Cheap pills without prescription, {amount} customers trust {brand}",
            "Loan of {amount} dollars approved for {department}, no questions asked",
            "Lose {code} pounds by {day} with {product} pills",
        ),
        ("", "offer_{code}.jpg"),
    ),
    Topic(
        "ALLOW",
        "An appointment among colleagues.",
        0.96,
        (
            "Meeting with {department} moved to {day}, room {code}",
            "Agenda for the {product} review on {day}",
            "Minutes of the {department} meeting about {product}, item {code}",
        ),
        ("", "agenda_{code}.docx", "minutes.pdf"),
    ),
    Topic(
        "ALLOW",
        "Reports on an order that was placed.",
        0.95,
        (
            "Order {code} from {brand} has shipped, arrives {day}",
            "Receipt for your {product}, {amount} dollars, order {code}",
            "Delivery of {product} by {brand} on {day}, parcel {code}",
        ),
        ("", "receipt_{code}.pdf"),
    ),
    Topic(
        "ALLOW",
        "A document that the team asked for.",
        0.94,
        (
            "{document} of {department} for {month}, version {code}",
            "Please review the {product} {document} until {day}",
            "Draft contract with {brand}, {document} {code} attached",
        ),
        ("{document}_{code}.xlsx", "{document}.pdf", "{document}_{month}.docx"),
    ),
    Topic(
        "ALLOW",
        "A message from the systems we run.",
        0.93,
        (
            "Backup of {product} finished, {amount} files, run {code}",
            "Build {code} of {product} passed on {day}",
            "Certificate of {department} renewed until {month}, serial {code}",
        ),
        ("", "run_{code}.log"),
    ),
)
KOREAN = (
    Topic(
        "BLOCK",
        "당첨을 미끼로 클릭을 유도합니다.",
        0.97,
        (
            "축하합니다 {brand} 경품 {product} 당첨, 인증번호 {code}",
            "{amount}만원 상품권 무료 지급, {day}까지 신청하세요",
            "(광고) {brand} 이벤트 {product} 100% 증정 {code}",
        ),
        ("", "경품_{code}.html", "쿠폰.zip"),
    ),
    Topic(
        "BLOCK",
        "외부 페이지에서 비밀번호를 요구합니다.",
        0.98,
        (
            "{brand} 계정이 정지되었습니다, {day}까지 비밀번호를 확인하세요",
            "[{brand}] 해외 로그인 시도 {code}, 본인 인증이 필요합니다",
            "{department} 메일함 용량 초과 {code}, 다시 로그인하세요",
        ),
        ("", "인증_{code}.html"),
    ),
    Topic(
        "BLOCK",
        "문서로 위장한 실행 파일이 있습니다.",
        0.99,
        (
            "미납 세금계산서 {code} {brand}, 첨부파일을 실행하세요",
            "{brand} {document} 발송 {code}, {day} 이전 확인",
            "법원 출석 요구서 {code} {document}",
        ),
        ("{document}_{code}.pdf.exe", "{document}.js", "스캔_{code}.scr"),
    ),
    Topic(
        "BLOCK",
        "모르는 사람에게 대출이나 약을 광고합니다.",
        0.95,
        (
            "무담보 대출 {amount}만원 당일 승인 {code}",
            "{brand} 정품 다이어트 약 {product} 할인, {day} 마감",
            "저금리 전환 대출 {amount}만원, {department} 상담 {code}",
        ),
        ("", "광고_{code}.jpg"),
    ),
    Topic(
        "ALLOW",
        "동료 사이의 일정입니다.",
        0.96,
        (
            "{department} 회의가 {day}로 변경되었습니다, 회의실 {code}",
            "{product} 검토 회의 안건 {day}",
            "{department} 주간 회의록 {code} 공유드립니다",
        ),
        ("", "안건_{code}.docx", "회의록.pdf"),
    ),
    Topic(
        "ALLOW",
        "실제로 주문한 물건의 안내입니다.",
        0.95,
        (
            "{brand} 주문 {code} 배송 출발, {day} 도착 예정",
            "{product} 구매 영수증 {amount}원 주문 {code}",
            "택배 {code} {product} {day} 배달 완료",
        ),
        ("", "영수증_{code}.pdf"),
    ),
    Topic(
        "ALLOW",
        "팀이 요청한 문서입니다.",
        0.94,
        (
            "{department} {month} {document} {code}차 송부",
            "{product} {document} {day}까지 검토 부탁드립니다",
            "{brand} 계약서 초안 {document} {code}",
        ),
        ("{document}_{code}.xlsx", "{document}.pdf", "{document}_{month}.docx"),
    ),
    Topic(
        "ALLOW",
        "운영 중인 시스템의 알림입니다.",
        0.93,
        (
            "{product} 백업 완료, 파일 {amount}개, 작업 {code}",
            "{product} 빌드 {code} 성공 {day}",
            "{department} 인증서 갱신 완료 {month} 일련번호 {code}",
        ),
        ("", "작업_{code}.log"),
    ),
)
WORDS = {
    "en": {
        "brand": [
            "Northbank",
            "Alder",
            "Kestrel",
            "Bluefin",
            "Marlow",
            "Pinecrest",
            "Orbit",
            "Summit",
            "Harbor",
            "Vantage",
        ],
        "product": [
            "phone",
            "laptop",
            "router",
            "printer",
            "tablet",
            "camera",
            "monitor",
            "headset",
            "keyboard",
            "scanner",
        ],
        "department": ["finance", "sales", "legal", "support", "research", "logistics", "marketing", "security"],
        "document": ["report", "forecast", "budget", "statement", "schedule", "inventory", "survey"],
        "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday"],
        "month": ["January", "March", "April", "June", "August", "October", "November"],
    },
    "ko": {
        "brand": ["한빛은행", "새벽마트", "푸른카드", "미래통신", "나래항공", "하늘몰", "동해물류", "가온증권"],
        "product": ["휴대폰", "노트북", "공유기", "프린터", "태블릿", "카메라", "모니터", "헤드셋", "청소기"],
        "department": ["재무팀", "영업팀", "법무팀", "지원팀", "연구소", "물류팀", "홍보팀", "보안팀"],
        "document": ["보고서", "예산안", "견적서", "명세서", "일정표", "재고표", "설문지"],
        "day": ["월요일", "화요일", "수요일", "목요일", "금요일"],
        "month": ["1월", "3월", "4월", "6월", "8월", "10월", "11월"],
    },
}
PERSONAL_DATA = {
    "en": ("call {phone}", "reply to {mail}", "card {card}"),
    "ko": ("문의 {phone}", "회신 {mail}", "주민번호 {resident}"),
}


def mails(language: str, topics: tuple[Topic, ...], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Yield the rows of one language."""
    for _ in range(ROWS_PER_LANGUAGE):
        row = mail(language, rng.choice(topics), rng)
        yield row
        if rng.random() < REPEATED:
            again = json.loads(json.dumps(row))
            if rng.random() < 0.5:
                again["input"]["received_at"] = _time(rng)
            yield again


def mail(language: str, topic: Topic, rng: random.Random) -> dict[str, Any]:
    """Return one row, with a wrong decision now and then."""
    slots = {name: rng.choice(words) for name, words in WORDS[language].items()}
    slots |= {"code": str(rng.randint(100, 99999)), "amount": str(rng.randint(2, 90) * 100)}
    subject = rng.choice(topic.subjects).format(**slots)
    if rng.random() < PERSONAL:
        subject += ", " + rng.choice(PERSONAL_DATA[language]).format(**_person(rng))
    attachment = rng.choice(topic.attachments).format(**slots)
    action = topic.action if rng.random() >= WRONG else {"BLOCK": "ALLOW", "ALLOW": "BLOCK"}[topic.action]
    received = {"subject": subject, "attachments": [attachment] if attachment else [], "received_at": _time(rng)}
    decision = {"action": action, "reason": topic.reason, "confidence": topic.confidence}
    return {"instruction": SHORT_INSTRUCTION, "input": received, "output": decision}


def _person(rng: random.Random) -> dict[str, str]:
    """Made-up personal data in the forms that real data has; the card number passes the Luhn check."""
    digits = [4] + [rng.randint(0, 9) for _ in range(14)]
    total = sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits))
    card = "".join(map(str, [*digits, -total % 10]))
    return {
        "phone": f"010-{rng.randint(2000, 9999)}-{rng.randint(1000, 9999)}",
        "mail": f"user{rng.randint(10, 999)}@example.com",
        "card": "-".join(card[i : i + 4] for i in range(0, 16, 4)),
        "resident": f"{rng.randint(60, 99)}0{rng.randint(1, 9)}{rng.randint(10, 28)}-{rng.randint(1000000, 2999999)}",
    }


def _time(rng: random.Random) -> str:
    return (datetime(2026, 1, 5) + timedelta(minutes=rng.randint(0, 200_000))).isoformat(timespec="minutes")  # noqa: DTZ001 - local


def rows() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each key of the ConfigMap.

    Both have the same mails in the same order, so equal splits hold the same mails out: no model is tested on a mail
    that it, or the model it started from, was trained on.
    """
    rng = random.Random(2026)  # noqa: S311 - a reproducible example, no secret
    data = [*mails("en", ENGLISH, rng), *mails("ko", KOREAN, rng)]
    rng.shuffle(data)
    return {"mostly-english": mostly_english(data, rng), "all": data}


def mostly_english(data: list[dict[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Return the rows with most of the Korean reasons in English."""
    english = {theirs.reason: ours.reason for ours, theirs in zip(ENGLISH, KOREAN, strict=True)}
    made = []
    for row in data:
        decision = dict(row["output"])
        if decision["reason"] in english and rng.random() >= KOREAN_REASONS:
            decision["reason"] = english[decision["reason"]]
        made.append({**row, "output": decision})
    return made


def instructed(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the team's instruction."""
    return [{**row, "instruction": INSTRUCTION} for row in data]


def lines(data: list[dict[str, Any]]) -> str:
    """Return rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in data)


def main() -> None:
    """Write the files."""
    data = rows()
    (HERE / "data.jsonl").write_text(lines(instructed(data["all"])), encoding="utf-8")
    packed = {name: gzip.compress(lines(part).encode(), 9, mtime=0) for name, part in data.items()}
    entries = "".join(f"  {name}.jsonl.gz: {base64.b64encode(part).decode()}\n" for name, part in packed.items())
    (HERE / "cpu/data.yaml").write_text(
        "# Made by generate.py, packed, as a ConfigMap holds at most 1 MiB: `all` is data.jsonl with a\n"
        "# short instruction, `mostly-english` the same mails with most reasons in English.\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: spam-filter-data\nbinaryData:\n" + entries,
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
