"""The tasks of diffraction-image analysis, as recipes name them.

Each is a doorway: it unpacks a step, calls a pure function and packs what it answers.
The functions are imported when first called, so that a process that never analyses an
image never loads what that needs.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zocelery.allowed_files import allowed_path
from zocelery.catalogue import TaskKind
from zocelery.errors import ImageError, InputFileError, ParameterError, PermanentError
from zocelery.messages import Burst, Step
from zocelery.settings import current_settings
from zocelery.task import recipe_task
from zocelery_tasks.file_watcher_parameters import FileWatcherParameters, ImageSource
from zocelery_tasks.per_image_parameters import PerImageAnalysisParameters
from zocelery_tasks.watch_channels import ONCE_CHANNELS, STREAM_CHANNELS
from zocelery_tasks.xray_centering_parameters import XrayCenteringParameters

if TYPE_CHECKING:
    from zocelery_tasks.per_image_analysis import ImageAnalysis


def _check_images(parameters: Mapping[str, Any]) -> None:
    """Refuse images that tasks may not read, or of which not even the folder is there.

    With `live` true they may still be written, folder and all; without it the first
    one has to be there.
    """
    parsed = FileWatcherParameters.parse(parameters)
    parsed.check_files()
    if parsed.images is None or parsed.live:
        return
    source = ImageSource.parse(parsed.images)
    first = source.first_path
    if not first.exists():
        raise InputFileError(
            f"{first}: no such file; for images that are still to be written give "
            "-p live=true"
        )


def _import_watcher() -> None:
    import_module("zocelery_tasks.file_watcher")


@recipe_task(
    "file_watcher",
    queue="watch",
    kind=TaskKind.WATCH,
    once=ONCE_CHANNELS,
    stream=STREAM_CHANNELS,
    parameters=FileWatcherParameters,
    aliases=("filewatcher", "DLS Filewatcher"),
    check=_check_images,
    warm_up=_import_watcher,
)
def file_watcher(step: Step, state: Mapping[str, Any]) -> Iterator[Burst]:
    """Tell of each image as soon as it is written."""
    from zocelery_tasks.file_watcher import watch_files

    return watch_files(step, state)


def _warm_up_images() -> None:
    """Compile the kernels, or load them from Numba's cache, and analyse one image."""
    from zocelery_tasks.worker_init import warm_up_images

    warm_up_images()


@recipe_task(
    "per_image_analysis",
    queue="images",
    bundle=16,
    warm_up=_warm_up_images,
    once=("reflections",),
    parameters=PerImageAnalysisParameters,
    aliases=("Per-Image-Analysis",),
)
def per_image_analysis(step: Step) -> dict[str, Any]:
    """Find the spots of one image and say how many there are and how far they reach."""
    from zocelery_tasks.per_image_analysis import analyse_image, pixel_buffers

    told = step.payload if isinstance(step.payload, Mapping) else {}
    file = told.get("file")
    if not isinstance(file, str) or not file:
        raise PermanentError(f"the message names no file: {step.payload!r:.200}")
    own = told.get("parameters")
    given = {**step.parameters, **(own if isinstance(own, Mapping) else {})}
    parameters = PerImageAnalysisParameters.parse(given)
    image = parameters.backend.open_image(
        _allowed_image(file), parameters.image_number or 1, pixel_buffers()
    )
    analysis = analyse_image(image, parameters)
    passed_on = {key: told[key] for key in told if key.startswith("file")}
    if "reflections" in step.channels:
        step.send("reflections", {**passed_on, "spots": analysis.spot_list()})
    answer = {**passed_on, **analysis.counts(), "image_size": list(image.pixels.shape)}
    if parameters.keep_strong_pixels:
        answer["strong_pixels"] = _keep_strong_pixels(step, parameters, analysis)
    return answer


def _keep_strong_pixels(
    step: Step, parameters: PerImageAnalysisParameters, analysis: "ImageAnalysis"
) -> str:
    """Write them to a file of the run; return its path."""
    from zocelery_tasks.strong_pixels import strong_pixels_file, write_strong_pixels

    number = step.item or str(analysis.image_number)
    file = strong_pixels_file(
        parameters.working_directory,
        current_settings().wrappers,
        *(step.run_id or "run", step.node or "images", number),
    )
    write_strong_pixels(file, analysis.strong)
    return str(file)


def _allowed_image(file: str) -> Path:
    """Return the image that a message names.

    Raises:
        ImageError: it is outside of the allowed folders, or no path.
    """
    try:
        return allowed_path(file, "file")
    except ParameterError as error:
        raise ImageError(str(error)) from error


def _draw_centre(answer: Any) -> str:
    from zocelery_tasks.centring_answer import draw_answer

    return draw_answer(answer)


def _check_results(parameters: Mapping[str, Any]) -> None:
    """Refuse grids that cannot be, and files that cannot be written."""
    from zocelery_tasks.centring_answer import check_parameters

    check_parameters(parameters)


def _import_centring() -> None:
    """Load what centring needs: the first grid scan would wait for it."""
    import_module("zocelery_tasks.centring_answer")


@recipe_task(
    "xray_centering",
    kind=TaskKind.GATHER,
    once=("success", "abort"),
    default_channel="success",
    parameters=XrayCenteringParameters,
    aliases=("reduce.xray_centering", "DLS X-Ray Centering"),
    check=_check_results,
    picture=_draw_centre,
    warm_up=_import_centring,
)
def xray_centering(step: Step) -> dict[str, Any]:
    """Find the centre of the crystal in one grid scan, or in two at right angles."""
    from zocelery_tasks.centring_answer import centre_members

    return centre_members(step)
