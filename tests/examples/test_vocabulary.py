"""The vocabulary of the machine: every event type of the catalogue, with its fields, and nothing is told beyond it."""

import random
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pytest

import asyncbus
from examples.emulator.events import (
    ExecutionEvent,
    LifecycleEvent,
    OptimizationEvent,
    PageTableEvent,
    TlbEvent,
    TranslationEvent,
    VmEvent,
)
from examples.emulator.machine import Machine, type_of

CATALOGUE = {
    "translation.strategy_selected": "source_arch str, target_arch str, strategy str",
    "translation.compatibility_validated": "source_arch str, target_arch str, compatibility_level str",
    "translation.translation_planned": "source_arch str, target_arch str, block_count int",
    "translation.instruction_encoding_validated": "instruction str, is_valid bool",
    "translation.register_mapping_completed": "function_name str, mappings_count int",
    "translation.pipeline_orchestration_completed": "pipeline_stages int",
    "optimization.pipeline_config_created": "source_arch str, target_arch str, "
    "optimization_level int, stages_count int",
    "optimization.stage_completed": "stage_name str, execution_time_ms int, memory_usage_mb float, success bool",
    "optimization.pipeline_completed": "success bool, total_time_ms int, "
    "stages_completed int, peak_memory_usage_mb float",
    "optimization.hotspots_detected": "count int, threshold int",
    "optimization.strategy_selected": "strategy str, hotspot_count int, resource_utilization ResourceUtilization",
    "optimization.resource_constraint_violation": "violated_resources list[str]",
    "optimization.resource_allocated": "resource_type str, requested_amount int, allocated_amount int, success bool",
    "optimization.resource_released": "resource_type str, released_amount int, allocation_id str",
    "optimization.performance_threshold_updated": "resource_type str, new_min_performance float, new_max_latency float",
    "optimization.cache_hit": "tier str, key int, size int",
    "optimization.cache_miss": "key int",
    "optimization.cache_put": "tier str, key int, size int",
    "optimization.cache_eviction": "tier str, key int, size int",
    "optimization.cache_promotion": "from_tier str, to_tier str, key int",
    "optimization.cache_resized": "tier str, old_capacity int, new_capacity int",
    "optimization.cache_prefetch": "base_key int, prefetched_keys list[int], pattern str, confidence float",
    "optimization.target_optimization_completed": "target_arch str, optimization_level str, "
    "performance_improvement float, size_change float, optimizations_applied int",
    "optimization.effectiveness_monitored": "target_arch str, overall_effectiveness float, roi float",
    "optimization.bottleneck_analysis_completed": "target_arch str, bottlenecks_found int, overall_impact_score float",
    "optimization.recommendations_generated": "target_arch str, "
    "recommendations_count int, total_estimated_improvement float",
    "optimization.plan_created": "target_arch str, phases_count int, expected_improvement float",
    "optimization.execution_completed": "target_arch str, success bool, actual_improvement float",
    "optimization.register_allocation_completed": "function_name str, registers_used int, spill_count int",
    "tlb.entry_inserted": "level str, va int, asid int",
    "tlb.entry_evicted": "level str, va int, asid int",
    "tlb.entry_flushed": "level str, va int, asid int",
    "tlb.flush_all": "level str",
    "tlb.flush_asid": "asid int",
    "tlb.flush_range": "start_va int, end_va int",
    "tlb.invalidate_pa": "pa int",
    "page_table.page_fault": "va int, access_type AccessType",
    "page_table.access_violation": "va int, access_type AccessType",
    "page_table.invalid_entry": "va int",
    "page_table.cache_invalidated": "va int",
    "page_table.cache_flushed": "count int",
    "execution.context_created": "id int, pc int, priority str",
    "execution.context_deleted": "id int, final_state str, execution_time float, instructions_executed int",
    "execution.context_scheduled": "id int, priority str",
    "execution.context_started": "id int",
    "execution.context_paused": "id int",
    "execution.context_resumed": "id int",
    "execution.context_completed": "id int, execution_time float, instructions_executed int",
    "execution.context_failed": "id int, error str",
    "vm_lifecycle.created": "vm_id str, config Config",
    "vm_lifecycle.started": "vm_id str",
    "vm_lifecycle.paused": "vm_id str",
    "vm_lifecycle.resumed": "vm_id str",
    "vm_lifecycle.destroyed": "vm_id str",
    "vm_lifecycle.stopped": "vm_id str, reason str",
    "vm_lifecycle.state_transition": "vm_id str, from_state str, to_state str",
    "vm_lifecycle.state_changed": "vm_id str, to str",
}
"""The project's event catalogue, by hand: event type → its fields."""

BEYOND = {
    "execution.block_executed": "pc int, size int",
    "translation.block_translated": "pc int, size int, instructions int",
}
"""What the machine tells as well."""

FAMILIES = {
    "translation": TranslationEvent,
    "optimization": OptimizationEvent,
    "tlb": TlbEvent,
    "page_table": PageTableEvent,
    "execution": ExecutionEvent,
    "vm_lifecycle": LifecycleEvent,
}

NESTED = {
    "Config": "guest_arch str, memory_size int, vcpu_count int, exec_mode str, kernel_path str | None",
    "ResourceUtilization": "cpu float, memory float",
    "AccessType": 'Literal["read", "write", "execute", "atomic"]',
}


def fields(cls: Any) -> str:
    return ", ".join(f"{name} {_name(hint)}" for name, hint in get_type_hints(cls).items())


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "AccessType"
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)


def example(hint: Any, seeded: random.Random) -> Any:
    """Some value of a field's type."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint(**{name: example(kind, seeded) for name, kind in get_type_hints(hint).items()})
    if get_origin(hint) is Literal:
        return seeded.choice(get_args(hint))
    if get_origin(hint) is list:
        return [example(get_args(hint)[0], seeded) for _ in range(seeded.randrange(3))]
    values: dict[Any, Callable[[], Any]] = {
        int: lambda: seeded.randrange(2**48),
        float: seeded.random,
        bool: lambda: seeded.random() < 0.5,
        str: lambda: "x86_64",
    }
    return values.get(hint, lambda: None)()


def declared() -> dict[str, Any]:
    return {shape.type: shape.cls for shape in asyncbus.catalog() if issubclass(shape.cls, VmEvent)}


def test_every_event_type_of_the_catalogue_has_a_class_with_its_fields() -> None:
    assert len(CATALOGUE) == 57
    assert {type: fields(cls) for type, cls in declared().items()} == CATALOGUE | BEYOND


def test_what_fields_hold_is_as_the_catalogue_has_it() -> None:
    classes = declared()
    assert fields(get_type_hints(classes["vm_lifecycle.created"])["config"]) == NESTED["Config"]
    utilization = get_type_hints(classes["optimization.strategy_selected"])["resource_utilization"]
    assert fields(utilization) == NESTED["ResourceUtilization"]
    for type in ("page_table.page_fault", "page_table.access_violation"):
        assert get_args(get_type_hints(classes[type])["access_type"]) == ("read", "write", "execute", "atomic")


@pytest.mark.asyncio
async def test_each_comes_back_as_an_equal_instance_to_who_wants_its_family() -> None:
    seeded = random.Random(7)
    published = [example(cls, seeded) for _, cls in sorted(declared().items())]
    async with asyncbus.connect() as bus:
        await bus.publish_many(published)
        for family, base in FAMILIES.items():
            found = await bus.query(base)
            assert [event.data for event in found] == [
                each for each in published if type_of(type(each)).startswith(f"{family}.")
            ]
        assert [event.data for event in await bus.query(VmEvent)] == published


def test_the_machine_tells_of_nothing_else() -> None:
    told: list[VmEvent] = []
    Machine(told.append, limit=500).run()

    assert {type_of(type(event)) for event in told} <= declared().keys()
    assert {type_of(type(event)).partition(".")[0] for event in told} == set(FAMILIES)
