"""Personal data written in letters: e-mail addresses, postal addresses and names.

A Korean name is a surname and two more syllables beside something that only a person has: a title (홍길동 씨), a field
(성명: 홍길동) or a possession (홍길동의 전화번호). An English one follows a title or a field.
"""

import re
from collections.abc import Iterator

from .kinds import Find, Kind

__all__ = ["find_words"]

_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")

_ROAD_HINT = re.compile(r"(?:로|길|동|리|가)\s?(?:산\s?)?\d")
_PLACE = r"[가-힣]{1,7}(?:특별자치도|특별자치시|특별시|광역시|도|시|군|구)"
_PROVINCE = r"(?:서울|부산|대구|인천|광주|대전|울산|세종|경기|강원|충북|충남|전북|전남|경북|경남|제주)"
_DETAIL = (
    r"(?:,?\s?\(?[가-힣A-Za-z0-9]{0,12}?\)?\s?\d{1,4}동)?"
    r"(?:,?\s?\d{1,4}호|,?\s?(?:지하\s?)?\d{1,3}층(?:\s?\d{1,4}호)?)?"
)
_KOREAN_ADDRESS = re.compile(
    rf"(?:{_PROVINCE}\s|{_PLACE}\s)(?:{_PLACE}\s){{0,2}}(?:[가-힣]{{1,6}}\d?(?:읍|면|동|리|가)\s)?"
    rf"(?:[가-힣][가-힣0-9·]{{0,11}}(?:대로|로|길)\s?\d{{1,5}}(?:-\d{{1,4}})?"
    rf"(?:번길\s?\d{{1,4}}(?:-\d{{1,4}})?)?"
    rf"|[가-힣]{{1,6}}\d?(?:동|리|가)\s(?:산\s?)?\d{{1,4}}(?:-\d{{1,4}})?(?:번지)?)"
    rf"(?!\s?(?:km|㎞|킬로|분|시간|월|일|년|번\s?출구))"
    rf"{_DETAIL}"
)
_STREET_HINT = re.compile(r"\d[A-Z]?\s[A-Z][a-z.]")
_STREET = re.compile(
    r"(?<![\w-])\d{1,5}[A-Z]?\s(?:[NSEW]\.?\s)?(?:[A-Z][a-z]+\s){1,3}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Way|Place|Pl|Terrace)(?![A-Za-z])\.?"
    r"(?:,?\s(?:Apt|Suite|Unit)\.?\s?\w{1,5})?(?:,\s[A-Z][a-z]+(?:\s[A-Z][a-z]+)?)?(?:,\s[A-Z]{2}(?:\s\d{5})?)?"
)

_SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구나민진지엄채원천방공현"
    "함변염여추도소석선설마길연위표명기반라왕금옥육인맹제모탁국어은편용예봉경사부"
)
# A pattern that begins with a set of characters is searched fast: so what must not stand before is asked last.
_THREE = rf"([{_SURNAMES}][가-힣]{{2}})(?<![가-힣][가-힣]{{3}})"
_TITLE = (
    "(?:님|씨|군|양|고객|회원|환자|과장|대리|팀장|부장|차장|사원|주임|실장|본부장|이사|대표|사장|소장|선생|"
    "교수|박사|기사|변호사|원장|간호사|상담사|매니저|조장|반장|계장|주무관)"
)
_OWNED = (
    "(?:주민|외국인|전화|연락처|휴대|핸드폰|번호|이메일|메일|주소|계좌|여권|면허|카드|생년월일|집|자택|명의|"
    "개인정보|가족|아내|남편)"
)
_FIELD = (
    "(?:이름|성명|성함|예금주|담당자|고객명|수취인|수령인|받는\\s?사람|받는\\s?분|보내는\\s?사람|"
    "보내는\\s?분|신청인|작성자|신고자|민원인|대표자|피보험자|계약자|환자명|제\\s?이름)"
)
_NAME_BEFORE = re.compile(
    rf"{_THREE}(?=\s?{_TITLE}님?(?:(?![가-힣]{{2}})|께|에게|이|은|의|을|과|으로|입니다)|의\s?{_OWNED})"
)
_FIELD_HINT = re.compile(
    "이름|성명|성함|예금주|담당자|고객명|수취인|수령인|받는|보내는|신청인|작성자|신고자|민원인|대표자|"
    "피보험|계약자|환자명|저는 |나는 |제가 "
)
_NAME_AFTER = re.compile(
    rf"(?:{_FIELD}\s?(?:은|는|이|가)?\s?[:\uff1a]?\s?|저는\s|나는\s|제가\s)([{_SURNAMES}][가-힣]{{2}})"
    r"(?=입니다|이고|이라고|이며|이에요|예요|라고|[\s,.()/]|$)"
)
_ENGLISH_HINT = re.compile(r"(?:Mr|Ms|Dr|Prof|name is|I am|I'm|ame:|ustomer:|ontact:|ttn|ear) ?[ .]?[A-Z.:]")
_ENGLISH_NAME = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof)\.?\s"
    r"|\b(?:[Mm]y name is|I am|I'm|[Nn]ame:|[Cc]ustomer:|[Cc]ontact:|[Aa]ttn:?|[Dd]ear)\s)"
    r"([A-Z][a-z]+(?:\s[A-Z]\.)?(?:\s[A-Z][a-z]+){1,2}|(?<=[.rs]\s)[A-Z][a-z]{2,})"
)
_NO_NAMES = frozenset(
    """
    고객님 이용자 사용자 관리자 담당자 안전모 이번달 지난달 우리집 나머지 조합원 전기차
    고등학 공무원 방문자 신청자 여러분 이사님 사장님 부모님 선생님 어르신 아버님 어머님
    가입자 신고자 운전자 보호자 전문가 한국인 외국인 노동자 임차인 임대인 소비자 주문자
    구매자 판매자 수신자 발신자 성명불 명의자 예금주 하청업 지원자 현장소 안내원 상담원
    경비원 이웃집 정규직 기술자
    """.split()  # noqa: SIM905 - as a list it fills pages
)


def find_words(text: str, kinds: frozenset[Kind]) -> Iterator[Find]:
    """Yield every find of the kinds; finds may overlap, where two kinds fit."""
    if Kind.EMAIL in kinds and "@" in text:
        yield from (Find(*match.span(), Kind.EMAIL) for match in _EMAIL.finditer(text))
    if Kind.ADDRESS in kinds:
        yield from _addresses(text)
    if Kind.NAME in kinds:
        yield from _names(text)


def _addresses(text: str) -> Iterator[Find]:
    for hint, pattern in ((_ROAD_HINT, _KOREAN_ADDRESS), (_STREET_HINT, _STREET)):
        if hint.search(text):
            yield from (Find(*match.span(), Kind.ADDRESS) for match in pattern.finditer(text))


def _names(text: str) -> Iterator[Find]:
    for pattern in (_NAME_BEFORE, _NAME_AFTER) if _FIELD_HINT.search(text) else (_NAME_BEFORE,):
        for match in pattern.finditer(text):
            if match[1] not in _NO_NAMES:
                yield Find(*match.span(1), Kind.NAME)
    if _ENGLISH_HINT.search(text):
        yield from (Find(*match.span(1), Kind.NAME) for match in _ENGLISH_NAME.finditer(text))
