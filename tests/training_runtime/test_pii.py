"""Personal data is found by form and context; what only looks like it stays."""

from collections import Counter
from collections.abc import Callable

import pytest

from training_runtime.prepare.pii import Finder, Kind

from .pii_sentences import names, negatives, positives

FINDER = Finder.of([])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("홍길동의 주민등록번호는 123456-1234567입니다.", "[이름]의 주민등록번호는 [주민등록번호]입니다."),
        ("문의 010-1234-5678 바랍니다", "문의 [전화번호] 바랍니다"),
        ("call 02 123 4567 or +82-10-1234-5678", "call [전화번호] or [전화번호]"),
        ("주민번호 900101-1234567.", "주민번호 [주민등록번호]."),
        ("reply to first.last+x@mail.example.co.kr!", "reply to [이메일]!"),
        ("card 4242-4242-4242-4242 and 4242424242424242", "card [카드번호] and [카드번호]"),
        ("010-1234-5678 900101-1234567", "[전화번호] [주민등록번호]"),
        ("김철수 과장님께 전달", "[이름] 과장님께 전달"),
        ("My name is John Smith.", "My name is [이름]."),
        ("김철 씨, 남궁민수 고객님", "[이름] 씨, [이름] 고객님"),
        ("박 대리에게 전달, 이번 과장 회의", "[이름] 대리에게 전달, 이번 과장 회의"),
        ("Agent Maria Lopez and K. Tanaka wrote this", "Agent [이름] and [이름] wrote this"),
        ("900101 1234567", "[주민등록번호]"),
        ("900101 1234567, 주민번호 901301 1234567", "[주민등록번호], 주민번호 [주민등록번호]"),
        ("900101-1******, 900101-5●●●●●●", "[주민등록번호], [외국인등록번호]"),
        ("".join(chr(ord(char) + 0xFEE0) for char in "900101-1234567"), "[주민등록번호]"),
        ("주민번호 앞자리 900101 뒷자리 1234567", "주민번호 앞자리 [주민등록번호] 뒷자리 [주민등록번호]"),
        ("02)123-4567 or +33 6 12 34 56 78", "[전화번호] or [전화번호]"),
        ("12가3456, 서울 31바 7725", "[차량번호], [차량번호]"),
        ("SSN 123-45-6789 or XXX-XX-6789", "SSN [사회보장번호] or [사회보장번호]"),
        ("from 10.1.2.3 and 2001:db8::1:2", "from [IP주소] and [IP주소]"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [계좌번호]"),
        # Hard negatives: what only has the form.
        ("Dear Customer Service, I am Working From Home", "Dear Customer Service, I am Working From Home"),
        ("최신형 대표 모델, 신청인의 주민등록번호는", "최신형 대표 모델, 신청인의 주민등록번호는"),
        ("101호 2024년, 제12조 3000만 원, 30가 1234원", "101호 2024년, 제12조 3000만 원, 30가 1234원"),
        ("version 10.2.3.44, 127.0.0.1, 255.255.255.0, 10.0.0.0/16", None),
        ("000-12-3456, 900-12-3456", None),
        ("고객센터 1588-0000, 1-800-555-0199", None),
        # Hard negatives: an order number, a wrong checksum, a version, a time, customers without a name.
        ("order 4242-4242-4242-4243", "order 4242-4242-4242-4243"),
        ("주문번호 202405-1234567", "주문번호 202405-1234567"),
        ("주문 240512 1234567, 901301 1234567", "주문 240512 1234567, 901301 1234567"),
        ("build 10.20.30-4567", "build 10.20.30-4567"),
        ("2026-03-20T13:15", "2026-03-20T13:15"),
        ("고객님께 안내드립니다", "고객님께 안내드립니다"),
        ("", ""),
    ],
)
def test_a_find_is_replaced_by_its_kind(text: str, masked: str | None) -> None:
    assert FINDER.mask(text)[0] == (text if masked is None else masked)


def test_finds_are_counted_by_kind() -> None:
    _, found = FINDER.mask("010-1234-5678, 010-9876-5432, a@b.kr")
    assert found == {"전화번호": 2, "이메일": 1}


def test_only_the_named_kinds_are_looked_for() -> None:
    assert Finder.of(["Email"]).mask("010-1234-5678, a@b.kr")[0] == "010-1234-5678, [이메일]"


def test_recall_and_precision_of_every_class_on_the_labelled_set() -> None:
    cases, others = positives(180), negatives(600)
    assert len(cases) + len(others) >= 2000
    hits, wanted, claimed = Counter[str](), Counter[str](), Counter[str]()
    missed, wrong = [], []
    for kind, text, datum in cases:
        wanted[kind] += 1
        start = text.index(datum)
        for find in FINDER.find(text):
            if find.kind is Kind.NAME:
                continue
            claimed[find.kind.value] += 1
            right = find.kind.value == kind and find.start <= start and find.end >= start + len(datum.split(",")[0])
            hits[kind] += right
            if not right:
                wrong.append((find.kind.value, text))
        if not any(find.kind.value == kind for find in FINDER.find(text)):
            missed.append((kind, text))
    for text in others:
        for find in FINDER.find(text):
            if find.kind is not Kind.NAME:
                claimed[find.kind.value] += 1
                wrong.append((find.kind.value, text))
    recall = {kind: hits[kind] / wanted[kind] for kind in wanted}
    precision = {kind: hits[kind] / max(1, claimed[kind]) for kind in wanted}
    assert min(recall.values()) >= 0.98, (recall, missed[:20])
    assert min(precision.values()) >= 0.95, (precision, wrong[:20])


def test_names_are_reported_apart(record_property: Callable[[str, object], None]) -> None:
    cases, others = names(300), negatives(600)
    found = sum(any(text[f.start : f.end] == name for f in FINDER.find(text)) for text, name in cases)
    false = sum(any(f.kind is Kind.NAME for f in FINDER.find(text)) for text in others)
    record_property("names", {"recall": found / len(cases), "false finds": false})
    assert found / len(cases) >= 0.9
    assert false / len(others) <= 0.05
