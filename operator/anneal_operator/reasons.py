"""The types and reasons of conditions: one list, so that a person can look each one up."""

from enum import StrEnum

__all__ = ["ConditionType", "Reason"]


class ConditionType(StrEnum):
    """What a condition speaks of."""

    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUCCEEDED = "Succeeded"
    TRACKED = "Tracked"
    REGISTERED = "Registered"
    READY = "Ready"
    ROUTABLE = "Routable"
    ALIAS_DRIFTED = "AliasDrifted"
    VARIANTS_READY = "VariantsReady"
    ROUTE_PROGRAMMED = "RouteProgrammed"
    ASSIGNMENT_HEALTHY = "AssignmentHealthy"
    SAMPLE_SUFFICIENT = "SampleSufficient"
    DECIDED = "Decided"
    ALIAS_MOVED = "AliasMoved"


class Reason(StrEnum):
    """Why a condition has its status."""

    # every kind
    SPEC_INVALID = "SpecInvalid"
    STATUS_UNREADABLE = "StatusUnreadable"
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
    STAGE_RETRYING = "StageRetrying"
    SUSPENDED = "Suspended"
    GATE_FAILED = "GateFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PUBLISHED = "Published"
    # ModelVersion
    REGISTRY_UNREACHABLE = "RegistryUnreachable"
    REGISTERING = "Registering"
    REGISTERED = "Registered"
    MODEL_OF_ANOTHER_NAMESPACE = "ModelOfAnotherNamespace"
    NOT_SERVED = "NotServed"
    SCALED_DOWN = "ScaledDown"
    STARTING = "Starting"
    ENGINE_FAILED = "EngineFailed"
    SOME_ANSWER = "SomeAnswer"
    ANSWERS = "Answers"
    ROUTED = "Routed"
    NOT_ROUTED = "NotRouted"
    HELD_BY_ANOTHER = "HeldByAnother"
    AS_ROUTED = "AsRouted"
    # ABExperiment
    VERSION_NOT_FOUND = "VersionNotFound"
    VERSION_OF_ANOTHER_MODEL = "VersionOfAnotherModel"
    VERSION_NOT_READY = "VersionNotReady"
    VERSION_REPLACED = "VersionReplaced"
    VARIANT_LOST = "VariantLost"
    CONTROL_NOT_IN_PRODUCTION = "ControlNotInProduction"
    MODEL_BUSY = "ModelBusy"
    VARIANTS_READY = "AllReady"
    ROUTER_BEHIND = "RouterBehind"
    PROGRAMMED = "Programmed"
    SAMPLE_RATIO_MISMATCH = "SampleRatioMismatch"
    AS_WEIGHTED = "AsWeighted"
    COLLECTING = "Collecting"
    RECORDER_SILENT = "RecorderSilent"
    SUFFICIENT = "Sufficient"
    PROMOTED = "Promoted"
    CONTROL_WINS = "ControlWins"
    OBSERVED = "Observed"
    INCONCLUSIVE = "Inconclusive"
    MOVED = "Moved"
    MOVING = "Moving"
