"""The screens let everything pass that is signal or strong, if only just."""

from dataclasses import replace

import numpy as np
import pytest

from zocelery_tasks.kernels.screen import (
    HALF,
    Screen,
    make_screen,
    pass_signal_narrow,
    pass_strong_narrow,
)
from zocelery_tasks.kernels.threshold import DispersionSettings
from zocelery_tasks.kernels.wide_screen import (
    pass_signal_wide,
    pass_strong_wide,
    window_sums,
)

SETTINGS = [
    DispersionSettings(),
    DispersionSettings(sigma_background=0.0, sigma_strong=0.0),
    DispersionSettings(sigma_background=2.5, sigma_strong=4.4, min_count=20),
    DispersionSettings(sigma_background=30.0, sigma_strong=15.0),
]
BRIGHTEST = {"narrow": 32, "wide": 9362}
APART = 2 * HALF + 1
"""Columns from window to window of a narrow screen, whose tests add up columns."""


def least_squares(m, x, sigma):
    """The least sum of squares of a window that is signal."""
    y = np.ceil((x * x + x * (m - 1) + x * sigma * np.sqrt(2 * (m - 1))) / m)
    for _ in range(3):
        a = m * y - x * x - x * (m - 1)
        y = np.where(a > x * sigma * np.sqrt(2 * (m - 1)), y, y + 1)
    return y


def least_value(m, x, sigma):
    """The least count of a pixel that is above its window's mean."""
    value = np.floor((x + sigma * np.sqrt(x * m)) / m)
    return np.where(m * value - x > sigma * np.sqrt(x * m), value, value + 1)


def windows(kind: str, settings: DispersionSettings):
    """Numbers of pixels and sums of counts: all for narrow ones, many for wide."""
    cap = BRIGHTEST[kind]
    counts = np.arange(max(settings.threshold.min_count, 2), 50)
    if kind == "narrow":
        m, x = np.meshgrid(counts, np.arange(1, 49 * cap + 1))
    else:
        rng = np.random.default_rng(1)
        m, share = np.meshgrid(counts, rng.random(4000) ** 3)
        x = np.ceil(share * m * cap)
    m, x = m.ravel(), x.ravel()
    possible = x <= m * cap
    return m[possible].astype(float), x[possible].astype(float)


def fill(kind: str, settings: DispersionSettings, m, x, y, values) -> Screen:
    """Make a screen whose windows have these sums, and its row these counts."""
    if kind == "narrow":
        screen = make_screen(settings.threshold, APART * x.size)
        centres = slice(HALF, HALF + APART * x.size, APART)
        screen.narrow_sums[0, centres] = x
        screen.narrow_sums[1, centres] = y
        screen.narrow[0, centres] = values
    else:
        screen = make_screen(settings.threshold, x.size)
        screen.wide_sums[2, : x.size] = x + m * 2**19
        screen.wide_sums[3, : x.size] = y
        screen.wide[0, HALF : HALF + x.size] = values + 2**19
    return screen


def passed(kind: str, screen: Screen, n: int):
    """Return which of the n windows passed."""
    apart = APART if kind == "narrow" else 1
    return screen.passed[8 : 8 + apart * n : apart]


def width_of(screen: Screen) -> int:
    """Return how many columns a screen is for."""
    return screen.narrow.shape[1] - 2 * HALF


def pass_signal(kind: str, screen: Screen) -> None:
    """Test all windows."""
    if kind == "narrow":
        pass_signal_narrow(screen, 0, width_of(screen))
    else:
        pass_signal_wide(screen)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", BRIGHTEST)
def test_windows_that_are_just_signal_pass(kind, settings):
    m, x = windows(kind, settings)
    y = least_squares(m, x, settings.sigma_background)
    possible = y <= m * BRIGHTEST[kind] ** 2
    m, x, y = m[possible], x[possible], y[possible]
    screen = fill(kind, settings, m, x, y, np.zeros(x.size))
    pass_signal(kind, screen)
    assert passed(kind, screen, x.size).all()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", BRIGHTEST)
def test_pixels_that_are_just_strong_pass(kind, settings):
    m, x = windows(kind, settings)
    y = least_squares(m, x, settings.sigma_background)
    value = least_value(m, x, settings.sigma_strong)
    cap = BRIGHTEST[kind]
    possible = (y <= m * cap**2) & (value <= cap) & (value >= 1)
    m, x, y, value = m[possible], x[possible], y[possible], value[possible]
    screen = fill(kind, settings, m, x, y, value)
    if kind == "narrow":
        pass_strong_narrow(screen, screen.narrow[0], 0, width_of(screen))
    else:
        pass_strong_wide(screen, screen.wide[0])
    assert passed(kind, screen, x.size).all()


@pytest.mark.parametrize("kind", BRIGHTEST)
def test_full_windows_of_even_background_do_not_pass(kind):
    settings = replace(SETTINGS[0])
    mean = np.arange(1.0, BRIGHTEST[kind] / 2)
    m, x, y = np.full(mean.size, 49.0), 49 * mean, 49 * (mean * mean + mean)
    screen = fill(kind, settings, m, x, y, np.floor(mean + 2.5 * np.sqrt(mean)))
    pass_signal(kind, screen)
    assert not passed(kind, screen, m.size).any()
    # signal everywhere, but no pixel above its mean
    screen = fill(kind, settings, m, x, 3 * y, np.floor(mean + 2.5 * np.sqrt(mean)))
    if kind == "narrow":
        pass_strong_narrow(screen, screen.narrow[0], 0, width_of(screen))
    else:
        pass_strong_wide(screen, screen.wide[0])
    assert passed(kind, screen, m.size).mean() < 0.2


def test_wide_sums_are_exact_but_where_a_flag_is_up():
    m, x = np.array([49.0, 2.0]), np.array([49 * 9362.0, 7])
    y = np.array([49 * 9362.0**2, 29])
    screen = fill("wide", SETTINGS[0], m, x, y, np.zeros(2))
    assert [window_sums(screen, i) for i in range(2)] == [
        (49, 49 * 9362, 49 * 9362**2),
        (2, 7, 29),
    ]
    screen.wide_sums[2, 0] += 2**25
    assert window_sums(screen, 0)[0] == -1
