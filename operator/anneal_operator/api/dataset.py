"""FineTuneJob's data: where it lies, how its rows read, and the rules of its preparation."""

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from training_runtime.plan import DataFormat, Entity, Language, PiiAction, Template

from .schema import CHARACTER, WORD, DottedPath, FreeObject, LocalReference, Rule, Schema, SetOf

__all__ = ["Dataset", "Source"]

_DataUri = Annotated[
    str,
    StringConstraints(
        max_length=400,
        pattern=r"^(configmap://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-A-Za-z0-9._]{1,253}"
        rf"|pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/{CHARACTER}+|s3://{WORD}+/{CHARACTER}+|https://{WORD}+/{CHARACTER}*"
        rf"|hf://datasets/{WORD}+/{WORD}+(@{WORD}+)?(/{CHARACTER}+)?)$",
    ),
]
_ContextPath = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^([^.\x00-\x20\x7f]+\.)*[A-Za-z_][A-Za-z0-9_]*$"),
]
_FieldName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Columns(Schema):
    """Where a row holds what, by name or dotted path; what is left out has the template's own name."""

    input: DottedPath | None = None
    """The question, or the text that the instruction speaks of."""
    output: DottedPath | None = None
    """The answer, a text or an object; for template `Messages` the list of messages."""
    instruction: DottedPath | None = None
    """The instruction."""
    label: DottedPath | None = None
    """What rows are counted by in the report, and stratified by where `split.stratifyBy` is left out."""
    group: DottedPath | None = None
    """Rows with the same value stay in the same part of the split."""
    context: SetOf[_ContextPath] = Field(default=[], max_length=16)
    """Further columns that `prompt.text` has fields for, called by the last part of their paths: `meta.category_dict`
    fills `{category_dict}`.
    """


class Clean(Schema):
    """What is done to a question's text before anything else."""

    remove_pattern: str | None = Field(default=None, min_length=1, max_length=500)
    """A Python regular expression whose matches are removed."""
    collapse_whitespace: bool = False
    """Whether runs of white space become one space, and the ends are trimmed."""
    min_characters: int = Field(default=1, ge=0, le=1000000)
    """A row whose question is shorter is left out."""
    max_characters: int | None = Field(default=None, ge=1, le=10000000)
    """A row whose question is longer is left out."""

    rules: ClassVar = (
        Rule(
            "!has(self.maxCharacters) || self.minCharacters <= self.maxCharacters",
            "`minCharacters` must not be above `maxCharacters`",
            lambda clean: clean.max_characters is None or clean.min_characters <= clean.max_characters,
        ),
    )


class Pii(Schema):
    """What happens to personal data found in the texts."""

    action: PiiAction = "Mask"
    """`Mask` replaces each find by its kind, for example `[전화번호]`; in JSON the values of strings alone, and a row
    whose answer then breaks `responseSchema` is left out; `Drop` leaves the row out; `Report` only counts;
    `None` does not look.
    """
    entities: SetOf[Entity] = Field(default=[], max_length=14)
    """The kinds that are looked for; all where the list is empty."""


class Deduplicate(Schema):
    """When two rows count as the same."""

    threshold: float = Field(default=0.85, ge=0.5, le=1.0)
    """The similarity (Jaccard, estimated by MinHash) from which the later row is dropped."""


class Quality(Schema):
    """Which rows are too poor to learn from."""

    min_score: float = Field(default=0.0, ge=0.0, le=1.0)
    """Rows that score less (length, variety, repetition) are left out."""
    blocked_words: list[_Word] = Field(default=[], max_length=1000)
    """A row that holds one of them, in any case, is left out."""
    languages: SetOf[Language] = Field(default=[], max_length=2)
    """A row written in none of them is left out; an empty list lets every language in."""


class Split(Schema):
    """How rows are held out."""

    validation: float = Field(default=0.1, ge=0.0, le=0.5)
    """The share of rows whose loss is watched while training."""
    test: float = Field(default=0.1, ge=0.01, le=0.5)
    """The share of rows that evaluation asks; training never sees them."""
    stratify_by: DottedPath | None = None
    """A column, or a dotted path into one, whose values keep their shares in every part, for example
    `output.action`.
    """
    seed: int = Field(default=42, ge=0, le=2147483647)
    """The same seed gives the same split."""

    rules: ClassVar = (
        Rule(
            "self.validation + self.test <= 0.8",
            "validation and test together must leave at least 20 % of the rows for training",
            lambda split: split.validation + split.test <= 0.8,
        ),
    )


class Source(Schema):
    """One place where data lies."""

    uri: _DataUri
    """`configmap://NAME/KEY`, `pvc://CLAIM/PATH`, `s3://BUCKET/PATH`, `https://…` or
    `hf://datasets/OWNER/NAME[@REVISION][/PATH]`; a file, also compressed, or a folder of files.
    """
    secret_ref: LocalReference | None = None
    """The Secret with the credentials of `s3://` (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`,
    `AWS_REGION`) or `hf://` (`HF_TOKEN`, `HF_ENDPOINT`); this source alone is read with it.
    """
    format: DataFormat = "Auto"
    """The files' format; `Auto` looks at each file."""

    rules: ClassVar = (
        Rule(
            "!has(self.secretRef) || self.uri.startsWith('hf://') || self.uri.startsWith('s3://')",
            "only hf:// and s3:// sources read credentials from `secretRef`",
            lambda source: source.secret_ref is None or source.uri.startswith(("hf://", "s3://")),
        ),
    )


class ResponseDictionary(Schema):
    """The words that an answer may use, where each row brings them itself: a schema says the same of all rows."""

    field: DottedPath
    """Where the answer names them: the path of an object, or of a list of objects."""
    levels: SetOf[_Word] = Field(min_length=1, max_length=8)
    """The fields of such an object that lead into the dictionary, the outermost first."""
    context: _FieldName
    """The prompt's field that holds the dictionary: JSON, objects within each other by their words, lists innermost.
    Where a row has none, that of `prompt.defaults` counts.
    """


class Dataset(Schema):
    """The data, and how it becomes training examples."""

    sources: list[Source] = Field(min_length=1, max_length=64)
    """Where the data lies; all of it counts as one set of rows."""
    template: Template = "Auto"
    """How a row reads: `Messages` is a list of chat messages; `Alpaca` has `instruction`, `input` and `output`;
    `QuestionAnswer` a question and an answer; `InstructionIO` like Alpaca, input and output being texts or objects;
    `Text` is text alone; `Auto` looks at the first rows.
    """
    columns: Columns = Field(default_factory=Columns)
    """Where a row holds what."""
    response_schema: FreeObject | None = None
    """A JSON Schema that every answer must satisfy: rows whose answer does not are bad rows, and evaluation's suite
    of type `JSON` counts the model's answers that do.
    """
    response_dictionary: ResponseDictionary | None = None
    """A dictionary that every answer must keep to: rows whose answer names what theirs does not have are bad rows, and
    evaluation's suite of type `JSON` counts the model's answers that keep to theirs, as `in_dictionary`.
    """
    clean: Clean = Field(default_factory=Clean)
    """What is done to the questions' texts, in rows and in evaluation's cases. The task API cleans requests
    alike; chats and completions are passed on as they are, so their clients do the same before they ask.
    """
    pii: Pii = Field(default_factory=Pii)
    """Personal data."""
    deduplicate: Deduplicate = Field(default_factory=Deduplicate)
    """Repeated rows."""
    quality: Quality = Field(default_factory=Quality)
    """Poor rows."""
    split: Split = Field(default_factory=Split)
    """Training, validation and test."""
    max_truncated_percent: float = Field(default=100.0, ge=0.0, le=100.0)
    """Preparation fails where more rows than this are longer than `training.maxSequenceLength`."""
    max_rejected_percent: float = Field(default=5.0, ge=0.0, le=100.0)
    """Preparation fails where more rows than this are bad: unreadable, incomplete, against
    `responseSchema` or `responseDictionary`, also once personal data is masked, or such as the chat template cannot
    write.
    """

    rules: ClassVar = (
        Rule(
            "!has(self.responseDictionary) || self.columns.context.exists(path, "
            "path == self.responseDictionary.context || path.endsWith('.' + self.responseDictionary.context))",
            "`responseDictionary.context` is a field that rows fill: name its column in `columns.context`",
            lambda data: (
                data.response_dictionary is None
                or data.response_dictionary.context in {path.rpartition(".")[2] for path in data.columns.context}
            ),
        ),
    )
