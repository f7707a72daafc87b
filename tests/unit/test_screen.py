"""The screens let everything pass that is signal or strong, if only just.

And the wide one, which may say yes, says so of nothing else.
"""

from dataclasses import replace

import numpy as np
import pytest
from numba import njit

from zocelery_tasks.kernels.screen import (
    HALF,
    MARGIN,
    Screen,
    make_screen,
    pass_signal_narrow,
    pass_strong_narrow,
)
from zocelery_tasks.kernels.threshold import DispersionSettings
from zocelery_tasks.kernels.wide_screen import YES, decide_signal, decide_strong

SETTINGS = [
    DispersionSettings(),
    DispersionSettings(sigma_background=0.0, sigma_strong=0.0),
    DispersionSettings(sigma_background=2.5, sigma_strong=4.4, min_count=20),
    DispersionSettings(sigma_background=30.0, sigma_strong=15.0),
]


@njit
def signal_narrow(screen, width):
    """Call what only compiled functions call."""
    pass_signal_narrow(screen, 0, width)


@njit
def signal_wide(screen):
    """Call what only compiled functions call."""
    decide_signal(screen.wide, screen.passed[MARGIN:])


@njit
def strong_narrow(screen, width):
    """Call what only compiled functions call."""
    pass_strong_narrow(screen, screen.narrow[0], 0, width)


@njit
def strong_wide(screen):
    """Call what only compiled functions call."""
    decide_strong(screen.wide, screen.wide.codes[0], screen.passed[MARGIN:])


BRIGHTEST = {"narrow": 32, "wide": 200_000}
APART = 2 * HALF + 1
"""Columns from window to window, as tests add up columns."""


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
    screen = make_screen(settings.threshold, APART * x.size)
    centres = slice(HALF, HALF + APART * x.size, APART)
    if kind == "narrow":
        screen.narrow_sums[0, centres] = x
        screen.narrow_sums[1, centres] = y
        screen.narrow[0, centres] = values
    else:
        screen.wide.sums[centres] = x + m * 2**26
        screen.wide.square_sums[centres] = y
        screen.wide.codes[0, centres] = values + 2**26
    return screen


def passed(screen: Screen, n: int):
    """Return which of the n windows passed."""
    return screen.passed[MARGIN : MARGIN + APART * n : APART]


def width_of(screen: Screen) -> int:
    """Return how many columns a screen is for."""
    return screen.narrow.shape[1] - 2 * HALF


def pass_signal(kind: str, screen: Screen) -> None:
    """Test all windows."""
    if kind == "narrow":
        signal_narrow(screen, width_of(screen))
    else:
        signal_wide(screen)


def pass_strong(kind: str, screen: Screen) -> None:
    """Test all pixels."""
    if kind == "narrow":
        strong_narrow(screen, width_of(screen))
    else:
        strong_wide(screen)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", BRIGHTEST)
def test_windows_that_are_just_signal_pass(kind, settings):
    m, x = windows(kind, settings)
    y = least_squares(m, x, settings.sigma_background)
    possible = y <= m * BRIGHTEST[kind] ** 2
    m, x, y = m[possible], x[possible], y[possible]
    screen = fill(kind, settings, m, x, y, np.zeros(x.size))
    pass_signal(kind, screen)
    assert passed(screen, x.size).all()


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
    pass_strong(kind, screen)
    assert passed(screen, x.size).all()


@pytest.mark.parametrize("kind", BRIGHTEST)
def test_full_windows_of_even_background_do_not_pass(kind):
    settings = replace(SETTINGS[0])
    mean = np.arange(1.0, BRIGHTEST[kind] / 2)
    m, x, y = np.full(mean.size, 49.0), 49 * mean, 49 * (mean * mean + mean)
    screen = fill(kind, settings, m, x, y, np.floor(mean + 2.5 * np.sqrt(mean)))
    pass_signal(kind, screen)
    assert not passed(screen, m.size).any()
    # signal everywhere, but no pixel above its mean
    screen = fill(kind, settings, m, x, 3 * y, np.floor(mean + 2.5 * np.sqrt(mean)))
    pass_strong(kind, screen)
    assert (passed(screen, m.size) > 0).mean() < 0.2


@pytest.mark.parametrize("settings", SETTINGS)
def test_windows_that_are_just_not_signal_are_never_sure_to_be(settings):
    m, x = windows("wide", settings)
    y = least_squares(m, x, settings.sigma_background)
    screen = fill("wide", settings, m, x, y - 1, np.zeros(x.size))
    pass_signal("wide", screen)
    assert (passed(screen, x.size) != YES).all()
    screen = fill("wide", settings, m, x, 2 * y + m * x, np.zeros(x.size))
    pass_signal("wide", screen)
    assert (passed(screen, x.size) == YES).mean() > 0.99


@pytest.mark.parametrize("settings", SETTINGS)
def test_pixels_that_are_just_not_strong_are_never_sure_to_be(settings):
    m, x = windows("wide", settings)
    y = 2 * least_squares(m, x, settings.sigma_background) + m * x
    value = least_value(m, x, settings.sigma_strong)
    screen = fill("wide", settings, m, x, y, value - 1)
    pass_strong("wide", screen)
    assert (passed(screen, x.size) != YES).all()
    screen = fill("wide", settings, m, x, y, value + np.ceil(value / 1000))
    pass_strong("wide", screen)
    assert (passed(screen, x.size) == YES).mean() > 0.9
