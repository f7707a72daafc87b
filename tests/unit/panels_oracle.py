"""What DIALS finds on image files: run by Debian's Python, not by ours.

Usage: /usr/bin/python3 panels_oracle.py < FILES

Each line of standard input names a file; each line of standard output that begins with
`answer ` is a list for one file and algorithm, in the order of ALGORITHMS: panel, x, y,
intensity and d of each spot.
"""

import json
import sys

from dials.array_family import flex
from dials.command_line.find_spots import phil_scope
from dxtbx.model.experiment_list import ExperimentListFactory
from libtbx.phil import parse

ALGORITHMS = ("dispersion", "dispersion_extended")


def spots_of(file, algorithm):
    options = f"spotfinder.threshold.algorithm={algorithm}\nspotfinder.mp.nproc=1"
    parameters = phil_scope.fetch(source=parse(options)).extract()
    experiments = ExperimentListFactory.from_filenames([file])
    found = flex.reflection_table.from_observations(experiments, parameters)
    found["imageset_id"] = found["id"]
    found.centroid_px_to_mm(experiments)
    found.map_centroids_to_reciprocal_space(experiments)
    x, y, _ = found["xyzobs.px.value"].parts()
    d = 1 / found["rlp"].norms()
    columns = (found["panel"], x, y, found["intensity.sum.value"], d)
    return list(zip(*map(list, columns), strict=True))


def main():
    for line in sys.stdin:
        for algorithm in ALGORITHMS:
            said = json.dumps(spots_of(line.strip(), algorithm))
            sys.stdout.write(f"answer {said}\n")


if __name__ == "__main__":
    main()
