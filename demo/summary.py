"""The ten lines at the end: what happened, with the numbers, and where to look."""

from .story import NAMESPACE, SYSTEM, Story

__all__ = ["summary"]


def summary(story: Story) -> list[str]:
    """Return the lines; every number is read from the cluster or was counted by the users."""
    jobs = {job["metadata"]["name"]: job for job in story.commands.get("finetunejobs", "-n", NAMESPACE)["items"]}
    base, tuned = jobs["spam-filter-base"]["status"], jobs["spam-filter-tuned"]["status"]
    experiment = story.experiment["status"]
    version = story.commands.get("modelversion", story.winner, "-n", NAMESPACE)["status"]["registry"]
    enrolled = [answer for answer in story.during if answer.variant]
    people = {answer.user for answer in enrolled}
    moved = sum(len({answer.variant for answer in enrolled if answer.user == user}) > 1 for user in people)
    data, before = tuned["dataset"], story.before[0].version
    ratio, steps = experiment["sampleRatio"]["pValue"], ", ".join(f"{n} {s:.0f}" for n, s in story.seconds.items())
    return [
        (
            f"data      {data['rows']} rows kept, {data['duplicatesRemoved']} repetitions dropped, "
            f"{data['piiMasked']} pieces of personal data masked"
        ),
        f"base      all weights, {base['progress']['summary']}, loss {base['progress']['loss']}; {_metrics(base)}",
        f"tuned     LoRA, {tuned['progress']['summary']}, loss {tuned['progress']['loss']}; {_metrics(tuned)}",
        f"served    two versions behind one name; before the experiment {before} gave all {len(story.before)} answers",
        (
            f"users     {len(people)} users got {len(enrolled)} answers; {moved} changed variant; "
            f"sample ratio p = {ratio:.2g}"
        ),
        f"ratings   {'; '.join(_rating(variant) for variant in experiment['variants'])}",
        f"verdict   {experiment['decision']['reason']}",
        (
            f"promoted  {story.winner} answers everybody, the alias production is on version {version['version']}, "
            f"{story.loser} is scaled down"
        ),
        f"time      {sum(story.seconds.values()):.0f} s: {steps}",
        (
            f"look at   kubectl -n {NAMESPACE} get anneal; "
            f"kubectl -n {SYSTEM} port-forward service/anneal-mlflow 5000, then http://localhost:5000"
        ),
    ]


def _metrics(status: dict[str, dict[str, dict[str, float]]]) -> str:
    metrics = status["evaluation"]["metrics"]
    accuracy, valid = metrics["action/accuracy"], metrics["answer/json_validity"]
    return f"accuracy {accuracy:.3f}, valid JSON {valid:.1%} on its own test rows"


def _rating(variant: dict[str, list[dict[str, float]]]) -> str:
    metric = variant["metrics"][0]
    return f"{variant['name']} {metric['mean']:.2f} from {metric['users']} users"
