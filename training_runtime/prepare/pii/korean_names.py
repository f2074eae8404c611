"""Korean names: a surname and one or two syllables, where something beside them says that they are a person.

How much must be said depends on how much the syllables look like a name. Beside a title (홍길동 씨) or in a field
(성명: 홍길동) any syllables do; after a role (운전자 홍길동), before a number or among other names they must be ones
that names are made of; with a particle alone (홍길동이) they must be a name that many bear. Nothing here learns: a
rare name that stands alone is not found, nor a foreign one written in Hangul.
"""

import re
from collections.abc import Iterator

from .kinds import Find, Kind
from .lexicon import KOREAN_GIVEN_NAMES, KOREAN_NO_NAMES, KOREAN_ROLES

__all__ = ["find_korean_names"]

_SURNAMES = (
    "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성차주우구나민진지엄채원천방공현"
    "함변염여추도소석선설마길연위표명기반라왕금옥육인맹제모탁국어은편용예봉경사부감피"
)
_COMMON_SURNAMES = "김이박최정강조윤장임한오서신권황안송류전홍고문양손배백허유남심노하곽성"
_LONG_SURNAMES = "(?:남궁|황보|제갈|선우|사공|독고|서문|동방)"
_FIRST = (
    "가강건경계관광교국권규균근금기길나남노다단달대덕도동두라란래려로루리린마만명모무문미민방배백범별병보복"
    "본봉부비빈사삼상새서석선설성세소솔송수숙순슬승시신아안양언여연열영예오옥완용우운웅원월유윤율으은을의이익"
    "인일자장재점정제조종주준중지진찬창채천철청초춘충치태택하학한해향혁현형혜호홍화환효후훈휘흥희갑을"
)
_OTHER_LAST = "금권관다단대도동량례부비상실애원인자제치학한해회"
"""Names end in them too, and many more words do: only those that are given count."""
_LAST = (
    "강건걸겸경곤광교구국규균근기길나남녀늘담덕돈라란람래련렬령록룡루름리린림만명모목무문미민배백범별병보복봉빈빛"
    "산샘서석선섭성세솔송수숙순슬승식신심아안애양언엽연열영예오옥온완용우욱운웅월유윤율은의익일임재정조종주준지진찬"
    "창채천철출춘충태택팔표필하향혁현협형혜호홍화환효후훈휘흥희"
)
_END = r"(?![가-힣])"
_PARTICLE = (
    "(?:이에게|에게서|에게|한테|께서|께|에|이랑|랑|이가|이는|이를|이의|은|는|이|가|을|를|과|와|의|도|만|로|으로|"
    "입니다|임|이고요|이고|이며|이라고|라고|인데요|인데|이에요|예요|이었|였|이라는|라는|이라|님)?"
)
_TITLE = (
    "(?:님|씨|군|양|고객|회원|환자|과장|대리|팀장|부장|차장|사원|주임|실장|본부장|이사|대표|사장|소장|선생|"
    "교수|박사|기사|변호사|원장|간호사|상담사|상담원|매니저|조장|반장|계장|주무관|센터장|지점장|점장|국장|처장|"
    "경위|경사|경장|순경|경감|판사|검사|의사|약사|세무사|회계사|행정사|법무사|노무사|설계사|컨설턴트|감독|작가|"
    "기자|목사|신부|할머니|할아버지|어머니|아버지|어르신|아주머니|아저씨|여사|선수|의원|장관|위원|회장|전무|상무|"
    "연구원|책임|선임|수석|파트장|강사|학생|이장|사무관|담당자|직원|인턴|엔지니어|코치)"
)
_OWNED = (
    "(?:주민|외국인|전화|연락처|휴대|핸드폰|번호|이메일|메일|주소|계좌|여권|면허|카드|생년월일|집|자택|명의|"
    "개인정보|가족|아내|남편|사망|상속)"
)
_ANY = rf"(?:{_LONG_SURNAMES}[가-힣]{{1,2}}|[{_SURNAMES}][가-힣]{{2}}|[{_COMMON_SURNAMES}][{_LAST}])"
# A pattern that begins with a set of characters is searched fast: so what must not stand before is asked after it.
_WORD_START = r"(?<![가-힣\d].)"
_AFTER_LONG = "(?<=남궁{0}|황보{0}|제갈{0}|선우{0}|사공{0}|독고{0}|서문{0}|동방{0})"
_RANK = "(?:과장|대리|부장|차장|팀장|주임|실장|상무|전무|소장|반장|계장|매니저|이사님|사장님|선생님|기사님|대표님)"
_NAME = re.compile(
    rf"[{_SURNAMES}독동]{_WORD_START}(?:"
    rf"(?P<titled>(?:[가-힣]{{3}}{_AFTER_LONG.format('..')}|[가-힣]{{2}}|[{_LAST}])"
    rf"(?=\s?{_TITLE}님?(?:{_END}|께|에게|이|은|의|을|과|으로|입니다|라고|한테|도|가|는|를|와|인데|이에요|예요|이고)"
    rf"|의\s?{_OWNED}|\s?(?:드림|올림|배상|귀하|\(인\)|\(서명\))))"
    rf"|(?P<likely>(?:[{_FIRST}][{_LAST}{_OTHER_LAST}]|[가-힣][{_FIRST}][{_LAST}]{_AFTER_LONG.format('..')}"
    rf"|[가-힣][{_LAST}]{_AFTER_LONG.format('.')})(?={_PARTICLE}{_END}))"
    rf"|(?P<ranked>(?<=[김박최강윤임오서권황송류홍손배백허심노곽엄채안정장조양남])"
    rf"(?=\s?{_RANK}(?:님|{_END}|께|에게|이|은|는|의|을|과|가|와|도|한테))))"
)
"""One scan for all: beside a title, like a name, and a surname alone before a rank."""
_FIELD_HINT = re.compile(
    "이름|성명|성함|예금주|담당자|고객명|수취인|수령인|받는|보내는|보낸|신청인|작성자|신고자|민원인|대표자|"
    "피보험|계약자|환자명|입금자|예약자|저는 |나는 |제가 |저 "
)
_FIELD = re.compile(
    rf"(?:이름|성명|성함|예금주|담당자|고객명|수취인|수령인|받는\s?사람|받는\s?분|보내는\s?사람|보내는\s?분|보낸\s?사람|"
    rf"신청인|작성자|신고자|민원인|대표자|피보험자|계약자|환자명|입금자명?|예약자명?|저는|나는|제가|(?<![가-힣])저)"
    rf"(?:\s?[:\uff1a]\s?|[은는이가]?\s+|\s?\()({_ANY})"
    rf"(?=입니다|이고|이라고|이며|이에요|예요|라고|인데|[\s,.()/<]|$)"
)
_GIVEN_ALONE = re.compile(
    rf"[{_FIRST}]{_WORD_START}[{_LAST}](?=\s씨(?:{_END}|가|는|를|의|와|께|에게|도|랑)|이가\s|아\s)"
)
_ROLES = tuple(KOREAN_ROLES)
_BEFORE_DATA = re.compile(
    r"\s?[(/,|<]\s?(?:\+\d|0\d|\d{6}|[A-Za-z0-9._%+-]+@|여권|주민|연락처|생년|전화|휴대|[남여]\b)"
    r"|\s\d{6}|\s?0\d\d?[-.) ]"
)
_TO_PERSONS = re.compile(r"(?:이?에게|한테|께서?)(?![가-힣])")
_ABOUT_ONESELF = re.compile(r"(?:입니다|인데요?|이에요|예요|이고요?|이라고|라고)(?![가-힣])")
_JOINT = re.compile(r"\s?(?:[,/·、&]|및|와|과|랑|하고)?\s?$")


def find_korean_names(text: str) -> Iterator[Find]:
    """Yield every find; finds may overlap."""
    if _FIELD_HINT.search(text):
        for match in _FIELD.finditer(text):
            if match[1] not in KOREAN_NO_NAMES:
                yield Find(*match.span(1), Kind.NAME)
    if " 씨" in text or "이가 " in text or "아 " in text:
        for match in _GIVEN_ALONE.finditer(text):
            if match[0] in KOREAN_GIVEN_NAMES:
                yield Find(*match.span(), Kind.NAME)
    yield from _names(text)


def _names(text: str) -> Iterator[Find]:
    """Names among their like support each other: a list needs one reason alone."""
    last: Find | None = None
    doubtful = False
    for match in _NAME.finditer(text):
        if match[0] in KOREAN_NO_NAMES:
            continue
        find = Find(*match.span(), Kind.NAME)
        if match.lastgroup == "likely":
            if match[0][-1] in _OTHER_LAST and match[0][-2:] not in KOREAN_GIVEN_NAMES:
                continue
            between = text[last.end : find.start] if last else "."
            beside = bool(_JOINT.fullmatch(between)) and (not doubtful or bool(between.strip()) or _is_given(match[0]))
            if not (beside or _is_told(text, *match.span())):
                last, doubtful = find, True
                continue
            if beside and doubtful and last:
                yield last
        yield find
        last, doubtful = find, False


def _is_given(name: str) -> bool:
    return name[-2:] in KOREAN_GIVEN_NAMES


def _is_told(text: str, start: int, end: int) -> bool:
    return bool(
        (text[start + 1 : end] in KOREAN_GIVEN_NAMES and text[start + 1 : end] not in KOREAN_NO_NAMES)
        or _follows_role(text[max(0, start - 12) : start])
        or _BEFORE_DATA.match(text, end)
        or _TO_PERSONS.match(text, end)
        or _ABOUT_ONESELF.match(text, end)
    )


def _follows_role(before: str) -> bool:
    plain = before.rstrip(" :\uff1a,(\"'\u201c\u2018")
    return plain.endswith(_ROLES) or (plain[-1:] in "은는이가도" and plain[:-1].endswith(_ROLES))
