"""Masking leaves JSON what it was: only the values of strings change."""

import json
from typing import Any

import pytest

from training_runtime.prepare.masking import mask
from training_runtime.prepare.pii import Finder

FINDER = Finder.of([])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"amount": 1234567890123}', None),
        ('{"입금액": 1234567890123, "계좌": "110-123-456789"}', '{"입금액": 1234567890123, "계좌": "[계좌번호]"}'),
        ('{"성명": "홍길동", "n": 1}', '{"성명": "[이름]", "n": 1}'),
        ('{"names": ["Jane Doe", "x"]}', '{"names": ["[이름]", "x"]}'),
        ('{ "a" :\n "010-1234-5678" }', '{ "a" :\n "[전화번호]" }'),
        ('{"010-1234-5678": "a@b.kr"}', '{"010-1234-5678": "[이메일]"}'),
        ('{"a": "\\"010-1234-5678\\"\\n"}', '{"a": "\\"[전화번호]\\"\\n"}'),
        ('{"a": "\\uc790\\ub3d9 a@b.kr"}', '{"a": "자동 [이메일]"}'),
        ('["a@b.kr", 12]', '["[이메일]", 12]'),
        ('판단하라. 010-1234-5678\n{"계좌": 1101234567}\n끝 a@b.kr', None),
        ('```json\n{"연락처": "01012345678"}\n```', '```json\n{"연락처": "[전화번호]"}\n```'),
        ('{"inner": "{\\"phone\\": \\"010-1234-5678\\"}"}', '{"inner": "{\\"phone\\": \\"[전화번호]\\"}"}'),
        (r'{"text": "답\n{\"계좌\": 1101234567}"}', None),
        ('{"order": "A-1", "phone": "02-123-4567", "n": "12"}', '{"order": "A-1", "phone": "[전화번호]", "n": "12"}'),
        ("[Voice-of-Customer]: 010-1234-5678", "[Voice-of-Customer]: [전화번호]"),
        ("{not JSON: 010-1234-5678", "{not JSON: [전화번호]"),
        ("", None),
    ],
)
def test_in_json_the_values_of_strings_alone_are_masked(text: str, masked: str | None) -> None:
    expected = text if masked is None else masked
    if text.startswith("판단하라"):
        expected = '판단하라. [전화번호]\n{"계좌": 1101234567}\n끝 [이메일]'
    assert mask(FINDER, text).text == expected


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"phone": 1012345678}, "phone"),
        ({"a": {"주민등록번호": 9001011234567}}, "주민등록번호"),
        ({"account_no": 110123456789}, "account_no"),
        ({"created": 1712012345678, "order": 9001011234567, "amount": 110123456789}, ""),
        ({"phone": 1012}, ""),
    ],
)
def test_a_number_that_its_key_makes_personal_data_is_told_by_its_field(content: Any, field: str) -> None:
    masked = mask(FINDER, json.dumps(content, ensure_ascii=False))
    assert masked.number == field
    assert json.loads(masked.text) == content
    assert masked.found.total() == bool(field)


def test_only_the_kinds_that_are_looked_for_count_as_numbers() -> None:
    assert mask(Finder.of(["Email"]), '{"phone": 1012345678}').number == ""
