"""What Trainer does otherwise where it goes on from a checkpoint: which rows come next, whose settings hold."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trl import SFTTrainer

__all__ = ["resuming"]


def resuming(kind: "type[SFTTrainer]", first_step: int) -> "type[SFTTrainer]":
    """Return the trainer that counts rows from `first_step` on, and keeps the plan's weight decay and intervals.

    Trainer would pass over as many rows as there are steps, whatever data these learnt, and takes from the checkpoint
    its optimizer's settings, and when to log, validate and save. The learning rate is the checkpoint's still: its
    scheduler goes on.
    """

    class Resuming(kind):  # type: ignore[misc] # untyped base
        """Trainer's own way to resume, corrected where a checkpoint may be another training's."""

        def create_optimizer(self, model: Any = None) -> Any:  # noqa: ANN401 - Trainer's
            made = super().create_optimizer(model)
            self._decays = [group["weight_decay"] for group in made.param_groups]
            return made

        def _prepare_for_training(self, *given: Any) -> Any:  # noqa: ANN401 - Trainer's
            prepared = super()._prepare_for_training(*given)
            # DeepSpeed leaves out groups that are empty: the last one, of weights that never decay.
            for group, decay in zip(self.optimizer.param_groups, self._decays, strict=False):
                group["weight_decay"] = decay
            return prepared

        def _init_training_state(
            self,
            max_steps: int,
            steps_of_epoch: int,
            epochs: int,
            checkpoint: str | None,
            trial: Any,  # noqa: ANN401 - Trainer's
        ) -> tuple[int, int]:
            begun: tuple[int, int] = super()._init_training_state(max_steps, steps_of_epoch, epochs, checkpoint, trial)
            self.state.compute_steps(self.args, max_steps)
            if not (checkpoint and first_step):
                return begun
            seen, rest = divmod(self.state.global_step - first_step, steps_of_epoch)
            return first_step // steps_of_epoch + seen, rest * self.args.gradient_accumulation_steps

    return Resuming
