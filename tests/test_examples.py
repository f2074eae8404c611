"""The example's committed files are what its generator makes, and hold what the example promises."""

import base64
import gzip
import json
import runpy
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from anneal_operator.api.ab_experiment import ABExperimentSpec
from anneal_operator.api.fine_tune_job import FineTuneJobSpec
from demo.users import example_generator
from tests.support.overlays import job_of
from training_runtime.prepare.pii import Finder

EXAMPLES = Path(__file__).parents[1] / "examples"
EXAMPLE = EXAMPLES / "spam-filter"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """The committed rows."""
    return [json.loads(line) for line in (EXAMPLE / "data.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_committed_data_is_what_the_generator_makes() -> None:
    generator = example_generator()
    data = generator.rows()
    assert (EXAMPLE / "data.jsonl").read_text(encoding="utf-8") == generator.lines(generator.instructed(data["all"]))
    packed = yaml.safe_load((EXAMPLE / "cpu/data.yaml").read_text())["binaryData"]
    for name, part in data.items():
        content = gzip.decompress(base64.b64decode(packed[f"{name}.jsonl.gz"])).decode()
        assert content == generator.lines(part)


def test_the_config_map_can_be_applied_from_the_client_side() -> None:
    # kubectl keeps what was applied last in an annotation, and all annotations together hold 256 KiB.
    assert (EXAMPLE / "cpu/data.yaml").stat().st_size < 250_000


def test_the_mails_come_with_the_team_s_instruction_and_on_the_processor_with_a_short_one(rows: list[Any]) -> None:
    [instruction] = {row["instruction"] for row in rows}
    assert all(f'"{word}"' in instruction for word in ("action", "BLOCK", "ALLOW", "reason", "confidence"))
    [short] = {row["instruction"] for part in example_generator().rows().values() for row in part}
    assert len(short) < 40


def test_both_versions_have_the_same_mails_in_the_same_order_so_that_no_test_row_was_trained_on() -> None:
    data = example_generator().rows()
    mails = {name: [(row["input"], row["output"]["action"]) for row in part] for name, part in data.items()}
    assert mails["mostly-english"] == mails["all"]


def test_the_first_version_explains_most_korean_mails_in_english() -> None:
    data = example_generator().rows()

    def korean(name: str) -> int:
        return sum("가" <= row["output"]["reason"][0] <= "힣" for row in data[name])

    assert 0.1 < korean("mostly-english") / korean("all") < 0.2


def test_there_are_two_thousand_rows_in_two_languages_with_repetitions_and_personal_data(rows: list[Any]) -> None:
    assert len({json.dumps(row) for row in rows}) >= 2000
    assert len(rows) - len({json.dumps(row) for row in rows}) > 50
    assert Counter(row["output"]["action"] for row in rows).keys() == {"BLOCK", "ALLOW"}
    korean = sum(any("가" <= letter <= "힣" for letter in row["input"]["subject"]) for row in rows)
    assert 0.4 < korean / len(rows) < 0.6
    found = sum((Finder.of([]).mask(row["input"]["subject"])[1] for row in rows), Counter[str]())
    assert set(found) >= {"이메일", "전화번호", "주민등록번호", "카드번호"}
    assert min(found[kind] for kind in ("이메일", "전화번호", "주민등록번호", "카드번호")) > 10


DATA = {
    "claims-extraction": ("voices.jsonl", "utf-8", {"이름", "전화번호"}),
    "expressway-assistant": ("chats.jsonl", "utf-8", {"이름", "전화번호", "주민등록번호"}),
    "civil-law-qa": ("questions.csv", "cp949", {"이름", "계좌번호"}),
    "support-chatbot": ("chats.jsonl", "utf-8", {"이메일", "카드번호"}),
}


@pytest.mark.parametrize("name", DATA)
def test_an_example_s_data_is_its_generator_s_with_repetitions_and_personal_data(name: str, tmp_path: Path) -> None:
    file, encoding, kinds = DATA[name]
    folder = EXAMPLES / name / "data"
    shutil.copy(folder / "generate.py", tmp_path)
    runpy.run_path(str(tmp_path / "generate.py"), run_name="__main__")
    made = sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".py")
    assert [(tmp_path / each).read_bytes() == (folder / each).read_bytes() for each in made] == [True] * len(made)
    lines = (folder / file).read_text(encoding=encoding).splitlines()
    assert len(set(lines)) >= 200
    assert len(lines) - len(set(lines)) > 10
    found = sum((Finder.of([]).mask(line)[1] for line in lines), Counter[str]())
    assert all(found[kind] > 10 for kind in kinds)
    text = (folder / file).read_text(encoding=encoding)
    assert (
        len(json.dumps(text, ensure_ascii=False).encode()) < 250_000
    )  # kubectl keeps what was applied in an annotation


@pytest.mark.parametrize("name", DATA)
def test_on_a_processor_an_example_ends_as_on_gpus(name: str) -> None:
    """Bounds and sizes alone are others; what needs more than a processor is left out of the evaluation."""
    small, large = (FineTuneJobSpec.parse(job_of(EXAMPLES / name / kind)["spec"]) for kind in ("cpu", "h100"))
    assert small.output.formats == large.output.formats
    assert small.output.experiment == large.output.experiment
    assert (small.tuning.method == "Full") == (large.tuning.method == "Full") or name == "support-chatbot"
    assert [(gate.metric, gate.vs_alias) for gate in small.evaluation.gates] == [
        (gate.metric, gate.vs_alias) for gate in large.evaluation.gates
    ]
    assert small.evaluation.suites == [
        suite for suite in large.evaluation.suites if suite.type != "Judge" and not suite.constrained
    ]
    assert (small.output.serving is None) == (large.output.serving is None)
    assert small.output.serving is None or small.output.serving.replicas == 0


def test_no_answer_of_the_claims_has_a_category_outside_its_dictionary() -> None:
    folder = EXAMPLES / "claims-extraction/data"
    default = runpy.run_path(str(folder / "generate.py"))["DICTIONARY"]
    spec = yaml.safe_load((EXAMPLES / "claims-extraction/h100/job.yaml").read_text(encoding="utf-8"))["spec"]
    assert json.loads(spec["prompt"]["defaults"]["category_dict"]) == default
    rule = {"field": "categories", "levels": ["대분류", "중분류", "소분류"], "context": "category_dict"}
    assert spec["dataset"]["responseDictionary"] == rule, "as this test looks at it"
    lines = (folder / "voices.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    answers = [json.loads(row["response"]) for row in rows]
    for row, answer in zip(rows, answers, strict=True):
        dictionary = json.loads(row["category_dict"]) if "category_dict" in row else default
        assert answer["categories"]
        for category in answer["categories"]:
            assert category["소분류"] in dictionary[category["대분류"]][category["중분류"]]
            assert category["근거"] in row["input_text"]
    assert 0.3 < sum("category_dict" in row for row in rows) / len(rows) < 0.4
    assert (
        min(Counter(answer["bug_type"] for answer in answers)[bug] for bug in ("바퀴", "쥐", "개미", "기타", None)) > 30
    )
    assert Counter(len(answer["categories"]) for answer in answers)[2] > 60


def test_two_hundred_own_cases_ask_nothing_that_is_trained_on_when_personal_data_is_masked() -> None:
    folder = EXAMPLES / "expressway-assistant/data"
    chats, cases = (
        [
            json.loads(line)["messages"][1]["content"].rstrip(".").partition(". ")[0]
            for line in (folder / name).read_text(encoding="utf-8").splitlines()
        ]
        for name in ("chats.jsonl", "cases.jsonl")
    )
    assert len(set(cases)) == len(cases) == 200
    assert not set(cases) & set(chats)


def test_the_a_a_test_compares_what_has_production_with_itself() -> None:
    spec = ABExperimentSpec.parse(yaml.safe_load((EXAMPLE / "aa-test.yaml").read_text())["spec"])
    compared = ABExperimentSpec.parse(yaml.safe_load((EXAMPLE / "experiment.yaml").read_text())["spec"])
    assert spec.type == "AA"
    assert {variant.model_version_ref.name for variant in spec.variants} == {compared.version_of(compared.control)}
