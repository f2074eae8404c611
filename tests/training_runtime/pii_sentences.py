"""A labelled synthetic set: sentences with one personal datum each, and sentences that only look as if they had one."""

import random
from collections.abc import Callable

__all__ = ["names", "negatives", "positives"]

Make = Callable[[random.Random], str]
_FAMILY = "김이박최정강조윤장임한오서신권황안송류홍"
_GIVEN = [
    "민준",
    "서연",
    "도윤",
    "지우",
    "하준",
    "서윤",
    "은우",
    "수아",
    "시우",
    "지안",
    "길동",
    "영희",
    "철수",
    "현우",
    "유진",
]
_DONG = ["역삼동", "서초동", "합정동", "구래동", "상현1동", "우동", "중앙동", "봉명동"]
_ROADS = ["테헤란로", "강남대로", "세종대로", "월드컵북로", "광교중앙로", "해운대해변로", "한밭대로", "첨단과기로"]
_CITIES = [
    "서울특별시 강남구",
    "서울 마포구",
    "부산광역시 해운대구",
    "경기도 수원시 영통구",
    "대전 유성구",
    "세종특별자치시 한솔동",
]
_STREETS = ["Maple Street", "Oak Avenue", "Sunset Blvd", "Elm St", "King Road", "Ocean Drive"]
_BANKS = ["국민은행", "신한은행", "농협", "우리은행", "카카오뱅크", "기업은행", "하나은행"]


def _digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice("0123456789") for _ in range(count))


def _birth(rng: random.Random) -> str:
    return f"{rng.randrange(100):02d}{rng.randrange(1, 13):02d}{rng.randrange(1, 29):02d}"


def _card(rng: random.Random) -> str:
    number = rng.choice(["4", "51", "52", "36", "94", "62"])
    number += _digits(rng, 15 - len(number))
    doubled = [sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(number)]
    number += str(-sum(doubled) % 10)
    joint = rng.choice(["-", " ", ""])
    return joint.join(number[i : i + 4] for i in range(0, 16, 4))


def _business(rng: random.Random) -> str:
    digits = [int(d) for d in str(rng.randrange(101, 999)) + _digits(rng, 6)]
    total = sum(d * w for d, w in zip(digits, (1, 3, 7, 1, 3, 7, 1, 3, 5), strict=True)) + digits[8] * 5 // 10
    digits.append(-total % 10)
    text = "".join(map(str, digits))
    return f"{text[:3]}-{text[3:5]}-{text[5:]}"


def _mobile(rng: random.Random) -> str:
    joint = rng.choice(["-", "-", " ", ".", ""])
    return joint.join([rng.choice(["010", "010", "010", "011", "016"]), _digits(rng, 4), _digits(rng, 4)])


def _landline(rng: random.Random) -> str:
    area = rng.choice(["02", "031", "051", "042", "064", "070"])
    return f"{area}-{rng.randrange(200, 9999)}-{_digits(rng, 4)}"


def _account(rng: random.Random) -> str:
    form = rng.choice([(6, 2, 6), (3, 3, 6), (3, 6, 5), (4, 3, 6), (3, 2, 6), (3, 4, 4, 2)])
    return "-".join(_digits(rng, count) for count in form)


def _address(rng: random.Random) -> str:
    city = rng.choice(_CITIES)
    if rng.random() < 0.7:
        tail = rng.choice(
            ["", f", {rng.randrange(1, 20)}층", f" {rng.randrange(101, 120)}동 {rng.randrange(101, 2500)}호"]
        )
        return f"{city} {rng.choice(_ROADS)} {rng.randrange(1, 900)}{tail}"
    return f"{city} {rng.choice(_DONG)} {rng.randrange(1, 900)}-{rng.randrange(1, 60)}"


_KINDS: dict[str, tuple[list[Make], list[str]]] = {
    "주민등록번호": (
        [
            lambda r: f"{_birth(r)}-{r.choice('1234')}{_digits(r, 6)}",
            lambda r: f"{_digits(r, 6)}-{r.choice('1234')}{_digits(r, 6)}",
        ],
        [
            "홍길동의 주민등록번호는 {}입니다.",
            "주민번호 {} 확인 부탁드립니다",
            "본인 확인: 주민등록번호 {}",
            "My resident number is {}.",
        ],
    ),
    "외국인등록번호": (
        [lambda r: f"{_birth(r)}-{r.choice('5678')}{_digits(r, 6)}"],
        ["외국인등록번호는 {}입니다.", "외국인 등록번호 {} 로 신청합니다", "Alien registration number: {}"],
    ),
    "전화번호": (
        [
            _mobile,
            _landline,
            lambda r: f"+82-10-{_digits(r, 4)}-{_digits(r, 4)}",
            lambda r: f"(02) {r.randrange(300, 999)}-{_digits(r, 4)}",
        ],
        [
            "연락처는 {} 입니다",
            "{}로 전화 주세요",
            "Please call {} tomorrow.",
            "기사님 번호 {} 맞나요?",
            "담당 부서({})로 문의",
            "문의: {}",
        ],
    ),
    "이메일": (
        [lambda r: f"{r.choice(['kim', 'j.lee', 'help+a'])}{r.randrange(99)}@{r.choice(['mail.co.kr', 'a-b.org'])}"],
        ["메일은 {}입니다.", "Send it to {} please", "({})", "{} 로 회신 바랍니다"],
    ),
    "카드번호": (
        [_card],
        ["카드번호 {} 로 결제했어요", "My card is {}.", "결제 카드: {}", "{} 카드가 승인되지 않습니다"],
    ),
    "여권번호": (
        [lambda r: f"{r.choice('MS')}{_digits(r, 8)}", lambda r: f"M{_digits(r, 3)}{r.choice('ABCD')}{_digits(r, 4)}"],
        ["여권번호는 {}입니다", "passport no. {} expires soon", "여권 {} 재발급 신청"],
    ),
    "운전면허번호": (
        [lambda r: f"{r.choice([11, 12, 13, 17, 21, 26, 28])}-{_digits(r, 2)}-{_digits(r, 6)}-{_digits(r, 2)}"],
        ["운전면허번호 {}", "면허 {} 갱신하려고요", "Driver license {} was scanned", "제 면허증은 {} 이에요"],
    ),
    "사업자등록번호": ([_business], ["사업자등록번호 {} 입니다", "세금계산서는 {}로 발행해 주세요", "Business no. {}"]),
    "계좌번호": (
        [_account],
        [f"{bank} {{}}로 입금해 주세요" for bank in _BANKS]
        + ["환불 계좌는 {}입니다", "계좌번호 {} 예금주 확인", "bank account {}"],
    ),
    "차량번호": (
        [
            lambda r: (
                f"{r.randrange(10, 999)}{r.choice('가나다라마거너더허하호바사')}{r.choice(['', ' '])}{_digits(r, 4)}"
            ),
            lambda r: (
                f"{r.choice(['서울', '경기', '부산'])} {r.randrange(10, 99)}{r.choice('바사아자')} {_digits(r, 4)}"
            ),
        ],
        ["차량번호 {} 입니다", "{} 차량이 주차되어 있습니다", "plate {} was recorded", "미납 차량: {}"],
    ),
    "사회보장번호": (
        [lambda r: f"{r.randrange(101, 665)}-{r.randrange(10, 99)}-{r.randrange(1000, 9999)}"],
        ["My SSN is {}.", "SSN: {}", "social security number {} on file"],
    ),
    "IP주소": (
        [
            lambda r: f"10.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(1, 255)}",
            lambda r: f"203.0.113.{r.randrange(1, 255)}",
            lambda r: f"2001:db8:{r.randrange(1, 9999):x}::{r.randrange(1, 9999):x}",
        ],
        ["접속 IP {} 차단", "login from {}", "서버 주소는 {}입니다", "Host {} does not answer"],
    ),
    "주소": (
        [_address, lambda r: f"{r.randrange(10, 999)} {r.choice(_STREETS)}"],
        ["주소는 {}입니다", "{}로 보내 주세요", "Ship to {} by Friday", "현장: {}", "배송지 {}"],
    ),
}

_NEGATIVE: list[Make] = [
    lambda r: f"주문번호 {_digits(r, 6)}-{_digits(r, 7)} 배송 조회",
    lambda r: f"주문번호 2026{_digits(r, 12)} 취소 요청",
    lambda r: f"운송장 {_digits(r, 4)}-{_digits(r, 4)}-{_digits(r, 4)} 어디쯤인가요",
    lambda r: f"민법 제{r.randrange(1, 1000)}조 제{r.randrange(1, 9)}항에 따라",
    lambda r: f"대법원 20{r.randrange(10, 26)}다{_digits(r, 6)} 판결",
    lambda r: f"20{r.randrange(10, 27)}-{r.randrange(1, 13):02d}-{r.randrange(1, 29):02d} {r.randrange(24)}:30에 접수",
    lambda r: f"20{r.randrange(10, 27)}.{r.randrange(1, 13):02d}.{r.randrange(1, 29):02d} ~ 2027.01.01 공사",
    lambda r: f"요금은 {r.randrange(1, 999)},{_digits(r, 3)}원, 할인 {r.randrange(1, 50)}%",
    lambda r: f"경부고속도로 {r.randrange(1, 400)}.{r.randrange(10)}km 지점 정체",
    lambda r: f"서울 강남대로 {r.randrange(1, 9)}km 구간 통제",
    lambda r: f"강남역 {r.randrange(1, 12)}번 출구에서 만나요",
    lambda r: f"모델번호 AB-{_digits(r, 4)}-{_digits(r, 4)} 부품 문의",
    lambda r: f"문서번호 도로-{_digits(r, 4)}-{_digits(r, 6)} 회신",
    lambda r: f"version {r.randrange(20)}.{r.randrange(20)}.{r.randrange(99)}-{_digits(r, 4)} released",
    lambda r: f"위도 37.{_digits(r, 6)}, 경도 127.{_digits(r, 6)}",
    lambda r: f"invoice INV-20{_digits(r, 6)} total ${r.randrange(10, 9999)}.{_digits(r, 2)}",
    lambda r: f"ISBN 978-89-{_digits(r, 4)}-{_digits(r, 3)}-{r.randrange(10)} 도서",
    lambda r: f"listen on 127.{r.randrange(255)}.{r.randrange(255)}.{r.randrange(255)} port {r.randrange(1024, 65000)}",
    lambda r: f"firmware {r.randrange(20)}.{r.randrange(20)}.{r.randrange(99)}.{r.randrange(255)} is installed",
    lambda r: f"{r.randrange(101, 999)}호 {r.randrange(2010, 2027)}년 계약",
    lambda r: f"고객님께서 {r.randrange(2, 30)}일 {r.randrange(1, 13)}시에 문의하셨습니다",
    lambda r: f"계약번호 {_digits(r, 3)}-{_digits(r, 2)}-{_digits(r, 5)} 갱신",
    lambda r: f"사건번호 {_digits(r, 10)} 조회",
    lambda r: f"하이패스 {r.randrange(1, 9)}차로 속도 {r.randrange(30, 110)}km/h",
    lambda r: f"error code 0x{_digits(r, 8)} at line {r.randrange(9999)}",
    lambda r: f"송장번호 {_digits(r, 12)} 확인",
]


def positives(count: int, seed: int = 7) -> list[tuple[str, str, str]]:
    """Return `count` sentences of each kind: the kind, the sentence, and the datum in it."""
    rng = random.Random(seed)
    made = []
    for kind, (makers, sentences) in _KINDS.items():
        for _ in range(count):
            datum = rng.choice(makers)(rng)
            made.append((kind, rng.choice(sentences).format(datum), datum))
    return made


def negatives(count: int, seed: int = 8) -> list[str]:
    """Return sentences without personal data."""
    rng = random.Random(seed)
    return [rng.choice(_NEGATIVE)(rng) for _ in range(count)]


def names(count: int, seed: int = 9) -> list[tuple[str, str]]:
    """Return sentences with a name, and the name."""
    rng = random.Random(seed)
    forms = [
        "{} 고객님이 문의했습니다",
        "담당자: {}",
        "{}의 전화번호 요청",
        "성명 {}, 계약 확인",
        "{} 씨가 방문했다",
        "저는 {}입니다",
        "{} 과장님께 전달",
    ]
    made = []
    for _ in range(count):
        name = rng.choice(_FAMILY) + rng.choice(_GIVEN)
        made.append((rng.choice(forms).format(name), name))
    return made
