"""Events of the optimizer: its pipeline, its resources, its caches and what comes of it."""

import msgspec

from asyncbus import event
from examples.emulator.events.base import VmEvent


class OptimizationEvent(VmEvent):
    """One of this family."""


class ResourceUtilization(msgspec.Struct, gc=False):
    cpu: float
    memory: float


@event("optimization.pipeline_config_created")
class PipelineConfigCreated(OptimizationEvent):
    source_arch: str
    target_arch: str
    optimization_level: int
    stages_count: int


@event("optimization.stage_completed")
class StageCompleted(OptimizationEvent):
    stage_name: str
    execution_time_ms: int
    memory_usage_mb: float
    success: bool


@event("optimization.pipeline_completed")
class PipelineCompleted(OptimizationEvent):
    success: bool
    total_time_ms: int
    stages_completed: int
    peak_memory_usage_mb: float


@event("optimization.hotspots_detected")
class HotspotsDetected(OptimizationEvent):
    count: int
    threshold: int


@event("optimization.strategy_selected")
class StrategySelected(OptimizationEvent):
    strategy: str
    hotspot_count: int
    resource_utilization: ResourceUtilization


@event("optimization.resource_constraint_violation")
class ResourceConstraintViolation(OptimizationEvent):
    violated_resources: list[str]


@event("optimization.resource_allocated")
class ResourceAllocated(OptimizationEvent):
    resource_type: str
    requested_amount: int
    allocated_amount: int
    success: bool


@event("optimization.resource_released")
class ResourceReleased(OptimizationEvent):
    resource_type: str
    released_amount: int
    allocation_id: str


@event("optimization.performance_threshold_updated")
class PerformanceThresholdUpdated(OptimizationEvent):
    resource_type: str
    new_min_performance: float
    new_max_latency: float


@event("optimization.cache_hit")
class CacheHit(OptimizationEvent):
    tier: str
    key: int
    size: int


@event("optimization.cache_miss")
class CacheMiss(OptimizationEvent):
    key: int


@event("optimization.cache_put")
class CachePut(OptimizationEvent):
    tier: str
    key: int
    size: int


@event("optimization.cache_eviction")
class CacheEviction(OptimizationEvent):
    tier: str
    key: int
    size: int


@event("optimization.cache_promotion")
class CachePromotion(OptimizationEvent):
    from_tier: str
    to_tier: str
    key: int


@event("optimization.cache_resized")
class CacheResized(OptimizationEvent):
    tier: str
    old_capacity: int
    new_capacity: int


@event("optimization.cache_prefetch")
class CachePrefetch(OptimizationEvent):
    base_key: int
    prefetched_keys: list[int]
    pattern: str
    confidence: float


@event("optimization.target_optimization_completed")
class TargetOptimizationCompleted(OptimizationEvent):
    target_arch: str
    optimization_level: str
    performance_improvement: float
    size_change: float
    optimizations_applied: int


@event("optimization.effectiveness_monitored")
class EffectivenessMonitored(OptimizationEvent):
    target_arch: str
    overall_effectiveness: float
    roi: float


@event("optimization.bottleneck_analysis_completed")
class BottleneckAnalysisCompleted(OptimizationEvent):
    target_arch: str
    bottlenecks_found: int
    overall_impact_score: float


@event("optimization.recommendations_generated")
class RecommendationsGenerated(OptimizationEvent):
    target_arch: str
    recommendations_count: int
    total_estimated_improvement: float


@event("optimization.plan_created")
class PlanCreated(OptimizationEvent):
    target_arch: str
    phases_count: int
    expected_improvement: float


@event("optimization.execution_completed")
class ExecutionCompleted(OptimizationEvent):
    target_arch: str
    success: bool
    actual_improvement: float


@event("optimization.register_allocation_completed")
class RegisterAllocationCompleted(OptimizationEvent):
    function_name: str
    registers_used: int
    spill_count: int
