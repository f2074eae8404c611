"""Personal data that has a form is masked by its kind; what only looks like it stays."""

import pytest

from training_runtime.prepare.pii import find_and_mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("문의 010-1234-5678 바랍니다", "문의 [전화번호] 바랍니다"),
        ("call 02 123 4567 or +82-10-1234-5678", "call [전화번호] or [전화번호]"),
        ("주민번호 900101-1234567.", "주민번호 [주민등록번호]."),
        ("reply to first.last+x@mail.example.co.kr!", "reply to [이메일]!"),
        ("card 4242-4242-4242-4242 and 4242424242424242", "card [카드번호] and [카드번호]"),
        # Hard negatives: an order number, a wrong checksum, a wrong date, a version, a time.
        ("order 4242-4242-4242-4243", "order 4242-4242-4242-4243"),
        ("part 901301-1234567", "part 901301-1234567"),
        ("build 10.20.30-4567", "build 10.20.30-4567"),
        ("2026-03-20T13:15", "2026-03-20T13:15"),
    ],
)
def test_a_find_is_replaced_by_its_kind(text: str, masked: str) -> None:
    assert find_and_mask(text)[0] == masked


def test_finds_are_counted_by_kind() -> None:
    _, found = find_and_mask("010-1234-5678, 010-9876-5432, a@b.kr")
    assert found == {"전화번호": 2, "이메일": 1}
