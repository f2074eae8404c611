"""The types and reasons of conditions: one list, so that a person can look each one up."""

from enum import StrEnum

__all__ = ["ConditionType", "Reason"]


class ConditionType(StrEnum):
    """What a condition speaks of."""

    SUCCEEDED = "Succeeded"
    REGISTERED = "Registered"
    READY = "Ready"
    VARIANTS_READY = "VariantsReady"
    ROUTE_PROGRAMMED = "RouteProgrammed"
    ASSIGNMENT_HEALTHY = "AssignmentHealthy"
    SAMPLE_SUFFICIENT = "SampleSufficient"
    DECIDED = "Decided"
    ALIAS_MOVED = "AliasMoved"


class Reason(StrEnum):
    """Why a condition has its status."""

    # FineTuneJob
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    CLAIM_NOT_FOUND = "ClaimNotFound"
    BASE_NOT_FOUND = "BaseNotFound"
    NAME_TAKEN = "NameTaken"
    REFUSED = "RefusedByApiServer"
    STAGE_RUNNING = "StageRunning"
    STAGE_FAILED = "StageFailed"
    STAGE_QUEUED = "StageQueued"
    STAGE_PREEMPTED = "StagePreempted"
    SUSPENDED = "Suspended"
    GATE_FAILED = "GateFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PUBLISHED = "Published"
    # ModelVersion
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    REGISTERED = "Registered"
    NOT_SERVED = "NotServed"
    SCALED_DOWN = "ScaledDown"
    STARTING = "Starting"
    ENGINE_FAILED = "EngineFailed"
    ANSWERS = "Answers"
    # ABExperiment
    VERSION_NOT_FOUND = "VersionNotFound"
    VERSION_OF_ANOTHER_MODEL = "VersionOfAnotherModel"
    VERSION_NOT_READY = "VersionNotReady"
    MODEL_BUSY = "ModelBusy"
    VARIANTS_READY = "AllReady"
    ROUTER_BEHIND = "RouterBehind"
    PROGRAMMED = "Programmed"
    SAMPLE_RATIO_MISMATCH = "SampleRatioMismatch"
    AS_WEIGHTED = "AsWeighted"
    COLLECTING = "Collecting"
    SUFFICIENT = "Sufficient"
    PROMOTED = "Promoted"
    OBSERVED = "Observed"
    INCONCLUSIVE = "Inconclusive"
    MOVED = "Moved"
    MOVING = "Moving"
