"""The kinds of personal data, each with the word that replaces it."""

from enum import Enum
from typing import NamedTuple

__all__ = ["Find", "Kind"]


class Kind(Enum):
    """What a find is; the value is what a reader sees instead."""

    RESIDENT_NUMBER = "주민등록번호"
    ALIEN_NUMBER = "외국인등록번호"
    PHONE = "전화번호"
    EMAIL = "이메일"
    CARD = "카드번호"
    PASSPORT = "여권번호"
    DRIVER_LICENSE = "운전면허번호"
    BUSINESS_NUMBER = "사업자등록번호"
    BANK_ACCOUNT = "계좌번호"
    ADDRESS = "주소"
    NAME = "이름"
    PLATE = "차량번호"
    SOCIAL_SECURITY_NUMBER = "사회보장번호"
    IP_ADDRESS = "IP주소"


class Find(NamedTuple):
    """Where a kind was found."""

    start: int
    end: int
    kind: Kind
