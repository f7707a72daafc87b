"""The rows that zocelery writes: their tables, what makes two the same, procedures."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RowKind:
    """Rows of one table, and how an account without its rights may write them."""

    table: str
    key: str
    """Its primary key, which the database counts up."""
    parents: tuple[str, ...]
    """Columns with the id of what a row belongs to. The first that is given is the
    one whose rows are looked through, and locked meanwhile."""
    columns: tuple[str, ...]
    """What is written beside the parents."""
    procedure: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    """What the procedure calls a column, where that is not `p_COLUMN`."""
    identity: tuple[str, ...] | None = None
    """The columns that make two rows of one parent the same; None: all."""
    optional: frozenset[str] = frozenset()
    """Columns that may be left out where the account or the schema has no place."""

    @property
    def written(self) -> tuple[str, ...]:
        """All the columns that may be written."""
        return (*self.parents, *self.columns)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns that make two rows the same."""
        return self.written if self.identity is None else self.identity


_CELL = ("a", "b", "c", "alpha", "beta", "gamma")

PROGRAM = RowKind(
    "AutoProcProgram",
    "autoProcProgramId",
    ("processingJobId",),
    (
        "processingPrograms",
        "processingCommandLine",
        "processingEnvironment",
        "processingPipelineId",
        "parentAutoProcProgramId",
        "processingStatus",
        "processingMessage",
        "processingStartTime",
        "processingEndTime",
        "recordTimeStamp",
    ),
    procedure="upsert_processing_program_v2",
    arguments={
        "processingPrograms": "p_programs",
        "processingCommandLine": "p_commandLine",
        "processingEnvironment": "p_environment",
        "processingStatus": "p_status",
        "processingMessage": "p_updateMessage",
        "processingStartTime": "p_startTimestamp",
        "processingEndTime": "p_updateTimestamp",
    },
    optional=frozenset({"parentAutoProcProgramId"}),
)
PROGRAM_MESSAGE = RowKind(
    "AutoProcProgramMessage",
    "autoProcProgramMessageId",
    ("autoProcProgramId",),
    ("severity", "message", "description"),
    procedure="upsert_processing_program_message",
    arguments={"autoProcProgramId": "p_programId"},
    identity=("severity", "message"),
)
PROGRAM_ATTACHMENT = RowKind(
    "AutoProcProgramAttachment",
    "autoProcProgramAttachmentId",
    ("autoProcProgramId",),
    ("fileType", "fileName", "filePath", "importanceRank"),
    procedure="upsert_processing_program_attachment_v2",
    arguments={
        "autoProcProgramId": "p_parentid",
        "fileType": "p_type",
        "fileName": "p_name",
        "filePath": "p_path",
    },
    identity=("fileName", "filePath"),
)
COLLECTION_ATTACHMENT = RowKind(
    "DataCollectionFileAttachment",
    "dataCollectionFileAttachmentId",
    ("dataCollectionId",),
    ("fileFullPath", "fileType"),
    procedure="upsert_dc_file_attachment",
    identity=("fileFullPath",),
)
JOB = RowKind(
    "ProcessingJob",
    "processingJobId",
    ("dataCollectionId",),
    ("displayName", "comments", "recipe", "automatic"),
    procedure="upsert_processing_job",
)
JOB_PARAMETER = RowKind(
    "ProcessingJobParameter",
    "processingJobParameterId",
    ("processingJobId",),
    ("parameterKey", "parameterValue"),
    procedure="upsert_processing_job_parameter",
)
JOB_SWEEP = RowKind(
    "ProcessingJobImageSweep",
    "processingJobImageSweepId",
    ("processingJobId",),
    ("dataCollectionId", "startImage", "endImage"),
    procedure="upsert_processing_job_image_sweep",
)
AUTO_PROC = RowKind(
    "AutoProc",
    "autoProcId",
    ("autoProcProgramId",),
    ("spaceGroup", *(f"refinedCell_{name}" for name in _CELL)),
    procedure="upsert_processing",
    arguments={"autoProcProgramId": "p_parentId"},
)
SCALING = RowKind(
    "AutoProcScaling",
    "autoProcScalingId",
    ("autoProcId",),
    ("recordTimeStamp",),
    procedure="insert_processing_scaling_v2",
    arguments={"autoProcId": "p_parentId"},
)
SCALING_STATISTICS = RowKind(
    "AutoProcScalingStatistics",
    "autoProcScalingStatisticsId",
    ("autoProcScalingId",),
    (
        "scalingStatisticsType",
        "comments",
        "resolutionLimitLow",
        "resolutionLimitHigh",
        "rMerge",
        "rMeasWithinIPlusIMinus",
        "rMeasAllIPlusIMinus",
        "rPimWithinIPlusIMinus",
        "rPimAllIPlusIMinus",
        "fractionalPartialBias",
        "nTotalObservations",
        "nTotalUniqueObservations",
        "meanIOverSigI",
        "resIOverSigI2",
        "completeness",
        "multiplicity",
        "anomalous",
        "anomalousCompleteness",
        "anomalousMultiplicity",
        "ccHalf",
        "ccAnomalous",
    ),
    arguments={"scalingStatisticsType": "p_Type"},
)
"""Written together with its scaling; its procedure takes three at once."""
INTEGRATION = RowKind(
    "AutoProcIntegration",
    "autoProcIntegrationId",
    ("autoProcProgramId", "dataCollectionId"),
    (
        "startImageNumber",
        "endImageNumber",
        "refinedDetectorDistance",
        "refinedXBeam",
        "refinedYBeam",
        *(f"rotationAxis{axis}" for axis in "XYZ"),
        *(f"beamVector{axis}" for axis in "XYZ"),
        *(f"cell_{name}" for name in _CELL),
        "anomalous",
    ),
    procedure="upsert_processing_integration",
    arguments={
        "autoProcProgramId": "p_programRunId",
        "autoProcScalingId": "p_parentId",
    },
)
SCALING_LINK = RowKind(
    "AutoProcScaling_has_Int",
    "autoProcScaling_has_IntId",
    ("autoProcScalingId",),
    ("autoProcIntegrationId",),
)
SCREENING = RowKind(
    "Screening",
    "screeningId",
    ("dataCollectionId", "dataCollectionGroupId"),
    ("programVersion", "shortComments", "comments", "autoProcProgramId"),
    procedure="insert_screening_v2",
    arguments={"dataCollectionId": "p_dcId", "dataCollectionGroupId": "p_dcgId"},
)
SCREENING_INPUT = RowKind(
    "ScreeningInput",
    "screeningInputId",
    ("screeningId",),
    (
        "beamX",
        "beamY",
        "rmsErrorLimits",
        "minimumFractionIndexed",
        "maximumFractionRejected",
        "minimumSignalToNoise",
    ),
    procedure="insert_screening_input",
    arguments={
        "minimumFractionIndexed": "p_minFractionIndexed",
        "maximumFractionRejected": "p_maxFractionRejected",
        "minimumSignalToNoise": "p_minSignalToNoise",
    },
)
SCREENING_OUTPUT = RowKind(
    "ScreeningOutput",
    "screeningOutputId",
    ("screeningId",),
    (
        "statusDescription",
        "rejectedReflections",
        "resolutionObtained",
        "spotDeviationR",
        "spotDeviationTheta",
        "beamShiftX",
        "beamShiftY",
        "numSpotsFound",
        "numSpotsUsed",
        "numSpotsRejected",
        "mosaicity",
        "iOverSigma",
        "diffractionRings",
        "mosaicityEstimated",
        "rankingResolution",
        "program",
        "doseTotal",
        "totalExposureTime",
        "totalRotationRange",
        "totalNumberOfImages",
        "rFriedel",
        "indexingSuccess",
        "strategySuccess",
        "alignmentSuccess",
    ),
    procedure="insert_screening_output_v2",
)
SCREENING_LATTICE = RowKind(
    "ScreeningOutputLattice",
    "screeningOutputLatticeId",
    ("screeningOutputId",),
    (
        "spaceGroup",
        "pointGroup",
        "bravaisLattice",
        *(f"rawOrientationMatrix_{r}_{c}" for r in "abc" for c in "xyz"),
        *(f"unitCell_{name}" for name in _CELL),
        "labelitIndexing",
    ),
    procedure="insert_screening_output_lattice",
)
SCREENING_STRATEGY = RowKind(
    "ScreeningStrategy",
    "screeningStrategyId",
    ("screeningOutputId",),
    (
        "phiStart",
        "phiEnd",
        "rotation",
        "exposureTime",
        "resolution",
        "completeness",
        "multiplicity",
        "anomalous",
        "program",
        "rankingResolution",
        "transmission",
    ),
    procedure="insert_screening_strategy",
)
SCREENING_WEDGE = RowKind(
    "ScreeningStrategyWedge",
    "screeningStrategyWedgeId",
    ("screeningStrategyId",),
    (
        "wedgeNumber",
        "resolution",
        "completeness",
        "multiplicity",
        "doseTotal",
        "numberOfImages",
        "phi",
        "kappa",
        "chi",
        "comments",
        "wavelength",
    ),
    procedure="insert_screening_strategy_wedge",
)
SCREENING_SUB_WEDGE = RowKind(
    "ScreeningStrategySubWedge",
    "screeningStrategySubWedgeId",
    ("screeningStrategyWedgeId",),
    (
        "subWedgeNumber",
        "rotationAxis",
        "axisStart",
        "axisEnd",
        "exposureTime",
        "transmission",
        "oscillationRange",
        "completeness",
        "multiplicity",
        "RESOLUTION",
        "doseTotal",
        "numberOfImages",
        "comments",
    ),
    procedure="insert_screening_strategy_sub_wedge",
)
CENTRING = RowKind(
    "XrayCentring",
    "xrayCentringId",
    ("dataCollectionGroupId",),
    ("status", "xrayCentringType"),
)
CENTRING_RESULT = RowKind(
    "XrayCentringResult",
    "xrayCentringResultId",
    ("xrayCentringId",),
    (
        *(f"centreOfMass{axis}" for axis in "XYZ"),
        *(f"maxVoxel{axis}" for axis in "XYZ"),
        "numberOfVoxels",
        "totalCount",
        *(f"boundingBox{end}{axis}" for end in ("Min", "Max") for axis in "XYZ"),
        "blSampleId",
    ),
)
REFINEMENT = RowKind(
    "MXMRRun",
    "mxMRRunId",
    ("autoProcScalingId",),
    (
        "autoProcProgramId",
        "rValueStart",
        "rValueEnd",
        "rFreeValueStart",
        "rFreeValueEnd",
        "LLG",
        "TFZ",
        "spaceGroup",
    ),
)
BLOB = RowKind(
    "MXMRRunBlob",
    "mxMRRunBlobId",
    ("mxMRRunId",),
    (
        *("view1", "view2", "view3", "filePath", "x", "y", "z", "height"),
        "occupancy",
        "nearestAtomName",
        "nearestAtomChainId",
        "nearestAtomResName",
        "nearestAtomResSeq",
        "nearestAtomDistance",
        "mapType",
    ),
)
