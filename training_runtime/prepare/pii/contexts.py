"""The words that tell what a number is, or that it is nobody's: in the key before it, or beside it in a sentence."""

import re

from .kinds import Kind

__all__ = [
    "ABOUT_ACCOUNTS",
    "ABOUT_ALIENS",
    "ABOUT_BUSINESS",
    "ABOUT_CARDS",
    "ABOUT_HOSTS",
    "ABOUT_LICENCES",
    "ABOUT_ORDERS",
    "ABOUT_PASSPORTS",
    "ABOUT_PERSONS",
    "ABOUT_PHONES",
    "ABOUT_SOCIAL_SECURITY",
    "ABOUT_VEHICLES",
    "ABOUT_VERSIONS",
    "KEYS",
    "near",
]

_BEFORE, _AFTER = 28, 14

# What a key in JSON says of its number, beside the wider words that may stand near one in a sentence.
_RESIDENTS, _ALIENS, _PHONES, _BUSINESS, _LICENCES = (
    "주민|resident",
    "외국인|alien",
    "전화|휴대|핸드폰|phone|mobile",
    "사업자",
    "면허",
)
KEYS = {
    kind: (re.compile(words, re.IGNORECASE), lengths)
    for kind, words, lengths in (
        (Kind.RESIDENT_NUMBER, rf"{_RESIDENTS}|rrn", (13,)),
        (Kind.ALIEN_NUMBER, _ALIENS, (13,)),
        (Kind.PHONE, rf"{_PHONES}|연락처", (9, 10, 11, 12)),
        (Kind.CARD, r"카드\s?번호|card.?(?:no|num)", (15, 16)),
        (Kind.BANK_ACCOUNT, r"계좌|account.?(?:no|num)", (10, 11, 12, 13, 14)),
        (Kind.BUSINESS_NUMBER, _BUSINESS, (10,)),
        (Kind.SOCIAL_SECURITY_NUMBER, r"ssn|social.?security", (9,)),
        (Kind.DRIVER_LICENSE, _LICENCES, (12,)),
    )
}
"""What a number is by its key, where it has so many digits; the first that fits."""
ABOUT_ORDERS = re.compile(
    r"(?:주문|송장|운송장|접수|문서|계약|관리|일련|제품|모델|품번|예약|거래|승인|티켓|사건|고지|법인등록|바코드|시리얼|증권|특허)"
    r"\s?(?:번호)?|청구\s?(?:번호|서)|(?:order|invoice|tracking|serial|ticket|ref|case|barcode|sku|isbn|upc|part|"
    r"policy|parcel|meeting id)\b",
    re.IGNORECASE,
)
ABOUT_PERSONS = re.compile(
    rf"{_RESIDENTS}|등록번호|민번|피보험|registration n|\brrn|r\.r\.n|(?:id|identity) (?:number|no\b|card)",
    re.IGNORECASE,
)
ABOUT_ALIENS = re.compile(rf"{_ALIENS}|체류|foreign|arc\b", re.IGNORECASE)
ABOUT_PASSPORTS = re.compile(r"여권|passport", re.IGNORECASE)
ABOUT_LICENCES = re.compile(rf"{_LICENCES}|licen[cs]e|driver", re.IGNORECASE)
ABOUT_BUSINESS = re.compile(rf"{_BUSINESS}|business|brn\b|vat\b", re.IGNORECASE)
ABOUT_CARDS = re.compile(r"카드|card|visa|master|amex", re.IGNORECASE)
ABOUT_PHONES = re.compile(
    rf"{_PHONES}|연락|폰|번호|문자|통화|tel|call|cell|text|whatsapp|reach|fax|팩스", re.IGNORECASE
)
ABOUT_ACCOUNTS = re.compile(
    r"계좌|입금|송금|이체|예금|환불|은행|농협|국민|신한|우리은|하나은|기업은|카카오뱅크|토스뱅크|케이뱅크|새마을금고|우체국|"
    r"수협|account|bank|iban",
    re.IGNORECASE,
)
ABOUT_SOCIAL_SECURITY = re.compile(r"\bssns?\b|\bsocials?\b|tax id|사회보장", re.IGNORECASE)
ABOUT_VEHICLES = re.compile(
    r"차량|차주|번호판|운전|주차|렌터|견인|승용|화물|자동차|plate|vehicle|\bcar\b|toll", re.IGNORECASE
)
ABOUT_VERSIONS = re.compile(
    r"버전|펌웨어|릴리스|패치|조항|\bv(?:er)?\.?\s?$|version|firmware|release|build|driver|kernel|sdk|section|chapter",
    re.IGNORECASE,
)
ABOUT_HOSTS = re.compile(
    r"\bip|아이피|서버|주소|접속|호스트|로그인|\bhost|address|server|login|log in|sign-?in|ping|client|dns|proxy|"
    r"gateway|from|dhcp|vpn|ssh|port",
    re.IGNORECASE,
)


def near(text: str, start: int, end: int) -> str:
    """Return what stands beside a place: what comes before tells more than what comes after."""
    return text[max(0, start - _BEFORE) : start] + " " + text[end : end + _AFTER]
