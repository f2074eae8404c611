"""The dozen lines at the end: what happened, with the numbers, and where to look."""

from .installation import SYSTEM
from .story import BASE, NAMESPACE, TUNED, Story
from .tracking import run_metrics
from .users import Answer

__all__ = ["summary"]


def summary(story: Story) -> list[str]:
    """Return the lines; every number is read from the cluster or MLflow, or was counted by the users."""
    base, tuned = (story.commands.get("finetunejob", name, "-n", NAMESPACE)["status"] for name in (BASE, TUNED))
    experiment = story.experiment["status"]
    version = story.commands.get("modelversion", story.winner, "-n", NAMESPACE)["status"]["registry"]
    measured = run_metrics(story.commands, tuned["mlflow"]["runId"])
    data, before = tuned["dataset"], story.before[0].version
    return [
        (
            f"data      {data['rows']} rows kept, {data['duplicatesRemoved']} repetitions dropped, "
            f"{data['piiMasked']} pieces of personal data masked"
        ),
        (
            f"base      all weights, reasons mostly in English, {base['progress']['summary']}; "
            f"{_accuracy(measured, 'base/')}"
        ),
        (
            f"tuned     LoRA on it, reasons in the mail's language, {tuned['progress']['summary']}; "
            f"{_accuracy(measured, '')}"
        ),
        *_example(story),
        f"served    two versions behind one name; before the experiment {before} gave all {len(story.before)} answers",
        f"users     {_users(story.during)}; sample ratio p = {experiment['sampleRatio']['pValue']:.2g}",
        f"ratings   {'; '.join(_rating(variant) for variant in experiment['variants'])}",
        f"verdict   {experiment['decision']['reason']}",
        (
            f"promoted  {story.winner} answers everybody, the alias production is on version {version['version']}, "
            f"{story.loser} is scaled down"
        ),
        f"time      {sum(story.seconds.values()):.0f} s: {', '.join(f'{n} {s:.0f}' for n, s in story.seconds.items())}",
        (
            f"look at   kubectl -n {NAMESPACE} get anneal; "
            f"kubectl -n {SYSTEM} port-forward service/anneal-mlflow 5000, then http://localhost:5000"
        ),
    ]


def _accuracy(metrics: dict[str, float], prefix: str) -> str:
    return f"accuracy {metrics[f'{prefix}action/accuracy']:.3f} on the tuned version's test rows"


def _example(story: Story) -> list[str]:
    if story.example is None:
        return []
    answers = [f"          {version}: {answer}" for version, answer in story.example.answers.items()]
    return [f"one mail  {story.example.mail.question.splitlines()[-1]}", *answers]


def _users(answers: list[Answer]) -> str:
    enrolled = [answer for answer in answers if answer.variant]
    variants: dict[str, set[str | None]] = {}
    for answer in enrolled:
        variants.setdefault(answer.user, set()).add(answer.variant)
    moved = sum(len(given) > 1 for given in variants.values())
    shares = ", ".join(_share_right(enrolled, version) for version in (BASE, TUNED))
    return f"{len(variants)} users got {len(enrolled)} answers, {shares}; {moved} changed variant"


def _share_right(answers: list[Answer], version: str) -> str:
    given = [answer.right for answer in answers if answer.version == version]
    return f"{version} {sum(given)} of {len(given)} right"


def _rating(variant: dict[str, list[dict[str, float]]]) -> str:
    metric = variant["metrics"][0]
    return f"{variant['name']} {metric['mean']:.2f} from {metric['users']} users"
