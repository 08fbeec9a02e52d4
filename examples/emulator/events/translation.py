"""Events of the translation from one architecture to another."""

from asyncbus import event
from examples.emulator.events.base import VmEvent


class TranslationEvent(VmEvent):
    """One of this family."""


@event("translation.strategy_selected")
class StrategySelected(TranslationEvent):
    source_arch: str
    target_arch: str
    strategy: str


@event("translation.compatibility_validated")
class CompatibilityValidated(TranslationEvent):
    source_arch: str
    target_arch: str
    compatibility_level: str


@event("translation.translation_planned")
class TranslationPlanned(TranslationEvent):
    source_arch: str
    target_arch: str
    block_count: int


@event("translation.instruction_encoding_validated")
class InstructionEncodingValidated(TranslationEvent):
    instruction: str
    is_valid: bool


@event("translation.register_mapping_completed")
class RegisterMappingCompleted(TranslationEvent):
    function_name: str
    mappings_count: int


@event("translation.pipeline_orchestration_completed")
class PipelineOrchestrationCompleted(TranslationEvent):
    pipeline_stages: int


@event("translation.block_translated")
class BlockTranslated(TranslationEvent):
    """Beyond the catalogue: a basic block, when the engine makes host code of it."""

    pc: int
    size: int
    instructions: int
