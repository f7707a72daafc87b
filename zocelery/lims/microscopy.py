"""Electron microscopy in the LIMS: from movies to classes, models and tomograms."""

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from zocelery.errors import PermanentError
from zocelery.lims.described import RowCommand, named
from zocelery.lims.request import Request
from zocelery.lims.rows import RowKind
from zocelery.lims.writer import Writer

logger = logging.getLogger(__name__)
_MOVIE_NAMES = {"movieNumber": "movie_number", "movieFullPath": "movie_path"}
MOVIE = RowKind(
    "Movie",
    "movieId",
    ("dataCollectionId",),
    ("movieNumber", "movieFullPath", "createdTimeStamp"),
    procedure="upsert_movie",
    identity=("movieNumber", "movieFullPath"),
)
_CORRECTION = named(
    *("imageNumber", "firstFrame", "lastFrame", "dosePerFrame", "totalMotion"),
    *("averageMotionPerFrame", "driftPlotFullPath", "micrographFullPath"),
    *("micrographSnapshotFullPath", "fftFullPath", "fftCorrectedFullPath"),
    *("patchesUsedX", "patchesUsedY", "comments"),
)
_CTF = named(
    *("boxSizeX", "boxSizeY", "minResolution", "maxResolution", "minDefocus"),
    *("maxDefocus", "astigmatism", "defocusStepSize", "astigmatismAngle"),
    *("estimatedResolution", "estimatedDefocus", "amplitudeContrast", "ccValue"),
    *("fftTheoreticalFullPath", "comments"),
)
_THICKNESS = named("minimum", "q1", "median", "q3", "maximum")
_PICKER = named(
    *("particlePickingTemplate", "particleDiameter", "numberOfParticles"),
    "summaryImageFullPath",
)
_GROUP = named(
    *("type", "batchNumber", "numberOfParticlesPerBatch"),
    *("numberOfClassesPerBatch", "symmetry"),
)
_CLASS = named(
    *("classNumber", "classImageFullPath", "particlesPerClass", "classDistribution"),
    *("rotationAccuracy", "translationAccuracy", "estimatedResolution"),
    "overallFourierCompleteness",
)
_TOMOGRAM = named(
    *("volumeFile", "stackFile", "sizeX", "sizeY", "sizeZ", "pixelSpacing"),
    *("residualErrorMean", "xAxisCorrection", "tiltAngleOffset", "zShift"),
    *("fileDirectory", "centralSliceImage", "tomogramMovie", "xyShiftPlot"),
    *("gridSquareId", "pixelLocationX", "pixelLocationY", "thickness"),
    globalAlignmentQuality="alignment_quality",
    residualErrorSD="residual_error_sd",
    projXY="proj_xy",
    projXZ="proj_xz",
)
_ALIGNMENT = named(
    *("defocusU", "defocusV", "psdFile", "resolution", "fitQuality"),
    *("refinedMagnification", "refinedTiltAngle", "refinedTiltAxis"),
    "residualError",
)
_PROGRAM = {"autoProcProgramId": "program_id"}


def _command(
    table: str,
    key: str,
    parents: Mapping[str, str],
    names: Mapping[str, str],
    procedure: str | None = None,
    *,
    changed_by: str | None = None,
    optional: tuple[str, ...] = (),
) -> RowCommand:
    """Return the command that stores a row of `table`; names are by column."""
    kind = RowKind(
        table,
        key,
        tuple(parents),
        tuple(names),
        procedure=procedure,
        optional=frozenset(optional),
    )
    return RowCommand(kind, {**parents, **names}, changed_by)


CORRECTION = _command(
    "MotionCorrection",
    "motionCorrectionId",
    {"movieId": "movie_id", **_PROGRAM},
    _CORRECTION,
    "upsert_motion_correction",
)
MODEL = RowKind(
    "CryoemInitialModel",
    "cryoemInitialModelId",
    (),
    ("resolution", "numberOfParticles"),
)
MODEL_OF_CLASS = RowKind(
    "ParticleClassification_has_CryoemInitialModel",
    "cryoemInitialModelId",
    ("particleClassificationId",),
    ("cryoemInitialModelId",),
)
PROCESSED = RowKind(
    "ProcessedTomogram",
    "processedTomogramId",
    ("tomogramId",),
    ("filePath", "processingType", "feature"),
)
ALIGNMENT = RowKind(
    "TiltImageAlignment",
    "movieId",
    ("tomogramId", "movieId"),
    tuple(_ALIGNMENT),
    identity=("tomogramId", "movieId"),
)


def store_movie(writer: Writer, request: Request) -> int:
    """Return the id of the movie that a request describes."""
    return _store_movie(writer, request, _MOVIE_NAMES, "timestamp")


def store_correction(writer: Writer, request: Request) -> int:
    """Return the id of a motion correction; its movie is stored if it is not named."""
    values = CORRECTION.values(request)
    if values["movieId"] is None:
        names = {"movieNumber": "image_number", "movieFullPath": "micrograph_full_path"}
        values["movieId"] = _store_movie(writer, request, names, "created_time_stamp")
    if request.value("drift_frames"):
        # ISPyB dropped their table in 2023; the drift plot's file has them.
        logger.warning("LIMS: %s: ISPyB has no table for drift_frames", request.command)
    return writer.once(CORRECTION.kind, values)


def store_model(writer: Writer, request: Request) -> int:
    """Return the id of the initial model of a particle class."""
    of = request.required_key("particle_classification_id")
    values = writer.fitting(
        MODEL,
        {
            "resolution": request.value("resolution"),
            "numberOfParticles": request.value("number_of_particles"),
        },
    )
    writer.require_row("ParticleClassification", "particleClassificationId", of)
    writer.lock(f"particleClassificationId={of}")
    where = {"particleClassificationId": of}
    for link in writer.rows(MODEL_OF_CLASS, where, ()):
        key = int(link[MODEL.key])
        found = writer.rows(MODEL, {**values, MODEL.key: key}, ())
        if found:
            return key
    made = writer.add(MODEL, values)
    writer.add(MODEL_OF_CLASS, {**where, MODEL.key: made})
    return made


def store_processed_tomogram(writer: Writer, request: Request) -> int:
    """Return the id of what a tomogram was made into, such as a segmentation."""
    feature = request.text("feature")
    values = {
        "tomogramId": request.required_key("tomogram_id"),
        "filePath": request.value("file_path"),
        "processingType": request.value("processing_type"),
        "feature": feature.replace("_", " ") if feature else None,
    }
    return writer.once(PROCESSED, values)


def store_alignment(writer: Writer, request: Request) -> int:
    """Return the id of the tomogram that a tilt image was aligned for."""
    tomogram = request.required_key("tomogram_id")
    movie = request.key_of("movie_id")
    if movie is None:
        movie = _find_movie(writer, request)
    values = {column: request.value(name) for column, name in _ALIGNMENT.items()}
    writer.once(ALIGNMENT, {"tomogramId": tomogram, "movieId": movie, **values})
    return tomogram


def store_nothing(_: Writer, __: Request) -> None:
    """Store nothing: ISPyB has no place for it, and Zocalo takes the message."""


def _store_movie(
    writer: Writer, request: Request, names: Mapping[str, str], moment: str
) -> int:
    values: dict[str, Any] = {c: request.value(name) for c, name in names.items()}
    values["dataCollectionId"] = request.required_key("dcid")
    stamp = request.value(moment)
    if stamp is not None:
        try:
            values["createdTimeStamp"] = datetime.fromtimestamp(float(stamp))
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise PermanentError(f"LIMS: {moment} = {stamp!r:.60}: {error}") from error
    return writer.once(MOVIE, values)


def _find_movie(writer: Writer, request: Request) -> int:
    """Return the movie whose path has the name of the file `path` in it."""
    path = str(request.required("path"))
    name = PurePosixPath(path).stem.replace("_motion_corrected", "")
    where = {"dataCollectionId": request.required_key("dcid")}
    movies = writer.rows(MOVIE, where, ("movieFullPath",))
    fitting = [m[MOVIE.key] for m in movies if name in str(m["movieFullPath"] or "")]
    if not fitting:
        raise PermanentError(
            f"LIMS: {request.command}: no movie fits path {path!r:.200}"
        )
    return int(fitting[-1])


MICROSCOPY_COMMANDS: Mapping[str, Any] = {
    "insert_movie": store_movie,
    "insert_motion_correction": store_correction,
    "insert_motion_correction_buffer": store_correction,
    "insert_ctf": (
        ctf := _command(
            "CTF",
            "ctfId",
            {"motionCorrectionId": "motion_correction_id", **_PROGRAM},
            _CTF,
            "upsert_ctf",
            changed_by="ctf_id",
        )
    ),
    "insert_ctf_buffer": ctf,
    "insert_relative_ice_thickness": _command(
        "RelativeIceThickness",
        "relativeIceThicknessId",
        {"motionCorrectionId": "motion_correction_id", **_PROGRAM},
        _THICKNESS,
    ),
    "insert_particle_picker": (
        picker := _command(
            "ParticlePicker",
            "particlePickerId",
            {
                "firstMotionCorrectionId": "motion_correction_id",
                "programId": "program_id",
            },
            _PICKER,
            "upsert_particle_picker_v2",
            changed_by="particle_picker_id",
        )
    ),
    "insert_particle_picker_buffer": picker,
    "insert_particle_classification_group": _command(
        "ParticleClassificationGroup",
        "particleClassificationGroupId",
        {"particlePickerId": "particle_picker_id", "programId": "program_id"},
        _GROUP,
        "upsert_particle_classification_group",
        changed_by="particle_classification_group_id",
    ),
    "insert_particle_classification": _command(
        "ParticleClassification",
        "particleClassificationId",
        {"particleClassificationGroupId": "particle_classification_group_id"},
        _CLASS,
        "upsert_particle_classification_v2",
        changed_by="particle_classification_id",
    ),
    "insert_cryoem_initial_model": store_model,
    "insert_tomogram": _command(
        "Tomogram",
        "tomogramId",
        {"dataCollectionId": "dcid", **_PROGRAM},
        _TOMOGRAM,
        changed_by="tomogram_id",
        optional=("thickness",),  # from schema 5.2
    ),
    "insert_bfactor_fit": _command(
        "BFactorFit",
        "bFactorFitId",
        {"particleClassificationId": "particle_classification_id"},
        named("resolution", "numberOfParticles", "particleBatchSize"),
        changed_by="bfactor_id",
    ),
    "insert_processed_tomogram": store_processed_tomogram,
    "insert_tilt_image_alignment": store_alignment,
    "insert_class2d": store_nothing,
    "insert_class3d": store_nothing,
}
"""Zocalo's commands for electron microscopy."""
