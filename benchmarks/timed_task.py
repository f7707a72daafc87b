"""Per-image analysis that says what it costs itself, in the worker."""

import time
from typing import Any

from zocelery import Step, recipe_task
from zocelery_tasks.doorways import per_image_analysis
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters

TIMED_ANALYSIS = "benchmark.analysis"
CPU_SECONDS = "cpu-seconds"


@recipe_task(
    TIMED_ANALYSIS,
    queue="images",
    bundle=16,
    parameters=PerImageAnalysisParameters,
)
def timed_analysis(step: Step) -> dict[str, Any]:
    """Analyse one image, and say how much CPU time that took."""
    start = time.thread_time()
    answer: dict[str, Any] = per_image_analysis(step)
    return {**answer, CPU_SECONDS: time.thread_time() - start}
