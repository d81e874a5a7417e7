#!/usr/bin/env python3
"""How far fitted aberrations are from planted ones:  aberration_error.py particles.star none|aberr LIMIT-A

RMS differences of the odd and of the even phase [rad] over the half plane to the limit, for optics group 1. Taken out first, because
shifts and defoci of the tilts can take them over: the linear terms of the odd, constant, defocus and astigmatism of the even
phase. Weight: 1 on the disc. 'aberr' is what make_dataset.sh plants in the set of that name. Needs numpy.
"""
import sys
import numpy as np
from math import factorial


def vector(path, label):
    columns, rows, block = [], [], None
    for line in open(path):
        s = line.strip()
        if s.startswith("data_"):
            block, columns = s[5:], []
        elif block == "optics" and s.startswith("_"):
            columns.append(s.split()[0])
        elif block == "optics" and s and s[0] not in "#" and columns and s != "loop_":
            rows.append(dict(zip(columns, s.split())))
    text = rows[0].get("_" + label, "[]").strip("[]")
    return [float(v) for v in text.split(",")] if text else []


def zernike(n, m, kx, ky):
    a, r, t = abs(m), np.hypot(kx, ky), np.arctan2(ky, kx)
    R = sum((-1) ** j * factorial(n - j) / (factorial(j) * factorial((n + a) // 2 - j) * factorial((n - a) // 2 - j)) * r ** (n - 2 * j)
            for j in range((n - a) // 2 + 1))
    return R * (np.sin(a * t) if m < 0 else np.cos(a * t))


def phase(c, is_odd, kx, ky):
    total, i, l = np.zeros_like(kx), 0, 0
    while i < len(c):
        n = 2 * l + is_odd
        for m in range(-n, n + 1, 2):
            if i < len(c):
                total += c[i] * zernike(n, m, kx, ky)
            i += 1
        l += 1
    return total


path, planted, limit = sys.argv[1], sys.argv[2], float(sys.argv[3])
g = np.linspace(-1 / limit, 1 / limit, 201)
kx, ky = (v.ravel() for v in np.meshgrid(g, g))
k2 = kx ** 2 + ky ** 2
use = (k2 <= limit ** -2) & (k2 >= 30.0 ** -2) & (kx >= 0)
kx, ky, k2 = kx[use], ky[use], k2[use]
odd = 64 * (0.8 * k2 * kx - 0.3 * k2 * ky + 0.5 * (kx ** 3 - 3 * kx * ky ** 2))
even = 256 * (kx ** 4 - 6 * kx ** 2 * ky ** 2 + ky ** 4 + 0.5 * k2 ** 2)
if planted == "none":
    odd, even = 0 * odd, 0 * even


def left(difference, low):
    A = np.stack(low, 1)
    return np.sqrt(np.mean((difference - A @ np.linalg.lstsq(A, difference, rcond=None)[0]) ** 2))


one = np.ones_like(kx)
d_odd, d_even = phase(vector(path, "rlnOddZernike"), 1, kx, ky) - odd, phase(vector(path, "rlnEvenZernike"), 0, kx, ky) - even
low_odd, low_even = [kx, ky], [one, k2, kx ** 2 - ky ** 2, 2 * kx * ky]
print("%.4f %.4f" % (left(d_odd, low_odd), left(d_even, low_even)))
