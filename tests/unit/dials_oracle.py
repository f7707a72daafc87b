"""What DIALS itself finds: run by Debian's Python, not by ours.

Usage: /usr/bin/python3 dials_oracle.py CASES.npz RESULTS.npz

CASES holds for each case k `image_k` (int64) and `mask_k` (bool), `gain_k` (empty for
none), `numbers_k` (sigma_background, sigma_strong, global_threshold) and `counts_k`
(kernel slow, kernel fast, min_count, extended, min_spot_size, max_spot_size).
RESULTS holds `strong_k`, flat indices, and `spots_k`, one row for each spot:
x0, x1, y0, y1, n_pixels, intensity, its variance, x, y, variance of x, of y, peak.
"""

import sys

import numpy as np
from dials.algorithms.image.threshold import (
    DispersionExtendedThreshold,
    DispersionThreshold,
)
from dials.algorithms.spot_finding.factory import PeakCentroidDistanceFilter
from dials.array_family import flex
from dials.model.data import PixelList, PixelListLabeller


def find_strong(image, mask, gain, numbers, counts):
    sigma_b, sigma_s, global_threshold = (float(v) for v in numbers)
    slow, fast, min_count, extended = (int(v) for v in counts[:4])
    kind = DispersionExtendedThreshold if extended else DispersionThreshold
    algorithm = kind(
        image.shape, (slow, fast), sigma_b, sigma_s, global_threshold, min_count
    )
    result = flex.bool(flex.grid(image.shape))
    arguments = [flex.double(image.astype(np.float64)), flex.bool(mask)]
    if gain.size:
        arguments.append(flex.double(np.broadcast_to(gain, image.shape).copy()))
    algorithm(*arguments, result)
    return result


def find_spots(image, strong, counts):
    labeller = PixelListLabeller()
    labeller.add(PixelList(0, flex.double(image.astype(np.float64)), strong))
    if not labeller.num_pixels():
        return np.zeros((0, 12))
    smallest, largest = (int(v) for v in counts[4:6])
    shoeboxes = flex.PixelListShoeboxCreator(
        labeller, 0, 0, True, smallest, largest, False
    ).result()
    shoeboxes = shoeboxes.select(shoeboxes.is_allocated())
    observed = flex.observation(
        shoeboxes.panels(), shoeboxes.centroid_valid(), shoeboxes.summed_intensity()
    )
    near = PeakCentroidDistanceFilter(2).run(
        flex.bool(len(shoeboxes), True), observations=observed, shoeboxes=shoeboxes
    )
    table = flex.reflection_table(observed.select(near), shoeboxes.select(near))
    return describe(table)


def describe(table):
    rows = np.zeros((len(table), 12))
    for k in range(len(table)):
        data = table["shoebox"][k].data.as_numpy_array()
        rows[k, :4] = table["bbox"][k][:4]
        rows[k, 4] = np.count_nonzero(table["shoebox"][k].mask.as_numpy_array())
        rows[k, 5] = table["intensity.sum.value"][k]
        rows[k, 6] = table["intensity.sum.variance"][k]
        rows[k, 7:9] = table["xyzobs.px.value"][k][:2]
        rows[k, 9:11] = table["xyzobs.px.variance"][k][:2]
        rows[k, 11] = data.max()
    return rows


def main():
    cases = np.load(sys.argv[1])
    results = {}
    for k in range(sum(name.startswith("image_") for name in cases.files)):
        image, counts = cases[f"image_{k}"], cases[f"counts_{k}"]
        strong = find_strong(
            image, cases[f"mask_{k}"], cases[f"gain_{k}"], cases[f"numbers_{k}"], counts
        )
        results[f"strong_{k}"] = np.flatnonzero(strong.as_numpy_array())
        results[f"spots_{k}"] = find_spots(image, strong, counts)
    np.savez(sys.argv[2], **results)


if __name__ == "__main__":
    main()
