"""The user's DeepSpeed settings are merged into ours, and never contradict the plan."""

from typing import Any

import pytest

from training_runtime.deepspeed_settings import deepspeed_settings
from training_runtime.errors import PlanError
from training_runtime.prepare.stage import prepare

from .conftest import MakePlan


def test_a_setting_beside_ours_leaves_ours_as_they_are(make_plan: MakePlan) -> None:
    own = {"zero_optimization": {"overlap_comm": False, "zero_hpz_partition_size": 8}, "wall_clock_breakdown": True}
    plan = make_plan(distributed__strategy="ZeRO3", distributed__deepspeed_config=own)
    made = deepspeed_settings(plan, 3)
    assert made["zero_optimization"] == {
        "stage": 3,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "stage3_gather_16bit_weights_on_model_save": True,
        "stage3_param_persistence_threshold": "auto",
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "zero_hpz_partition_size": 8,
    }
    assert made["wall_clock_breakdown"] is True
    assert made["bf16"] == {"enabled": "auto"}


def test_a_part_of_an_object_is_merged_at_every_depth(make_plan: MakePlan) -> None:
    own = {"zero_optimization": {"offload_optimizer": {"pin_memory": False}}}
    plan = make_plan(distributed__strategy="ZeRO2", distributed__offload="Optimizer", distributed__deepspeed_config=own)
    assert deepspeed_settings(plan, 2)["zero_optimization"]["offload_optimizer"] == {
        "device": "cpu",
        "pin_memory": False,
    }


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"zero_optimization": {"stage": 1}}, r"zero_optimization\.stage to 1, which distributed\.strategy decides"),
        (
            {"zero_optimization": {"offload_param": {"device": "nvme"}}},
            r"offload_param\.device to nvme, which distributed\.offload decides",
        ),
        ({"train_batch_size": 64}, r"train_batch_size to 64, which training\.perDeviceBatchSize decides"),
        ({"fp16": {"enabled": True}}, r"fp16\.enabled to True, which training\.precision decides"),
        ({"optimizer": {"type": "Adam"}}, r"which training\.optimizer decides: leave it out"),
        (
            {"zero_optimization": {"stage3_gather_16bit_weights_on_model_save": False}},
            r"to False: without it no model is saved; leave it out",
        ),
        ({"zero_optimization": 3}, r"zero_optimization is 3, and must be an object"),
    ],
)
def test_a_contradiction_names_the_key_and_the_field_before_training(
    make_plan: MakePlan, own: dict[str, Any], message: str
) -> None:
    plan = make_plan(distributed__strategy="ZeRO3", distributed__deepspeed_config=own)
    with pytest.raises(PlanError, match=message):
        prepare(plan)


def test_what_only_repeats_the_plan_is_no_contradiction(make_plan: MakePlan) -> None:
    own = {"zero_optimization": {"stage": 2}, "train_batch_size": "auto"}
    plan = make_plan(distributed__strategy="ZeRO2", distributed__deepspeed_config=own)
    assert deepspeed_settings(plan, 2)["zero_optimization"]["stage"] == 2
