"""Measures how bursty the arrivals of public traces are; prints the first tables of docs/traces.md as Markdown.

python -m training.measure_arrivals ../shared/traces
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import gamma
from scipy.stats import nbinom, poisson

from telemetry.burstiness import Dispersion, dispersion
from telemetry.public_traces import load_series

BLOCK_SECONDS = 300.0
"""What varies more slowly than this is demand, what varies faster is noise."""
REQUEST_LOGS = {
    "azure_llm_2023/AzureLLMInferenceTrace_conv.csv.gz": (1.0, 2.0, 5.0, 10.0, 30.0),
    "mooncake/conversation_first60pct.csv.gz": (3.0, 6.0, 12.0, 30.0),
}
"""Traces with a line per request, and the steps to count in; Mooncake's arrivals come in batches of 3 s."""
CLIENT_LOGS = ("deepseek-r1_top15clients_d0-1", "m-large_top15clients_d0-9", "m-small_top15clients_d0-9")
SAMPLED_WINDOWS = 24
"""Windows of each client log that are generated anew."""
LEAST_WEIBULL_SHAPE = 0.2
"""Of a coefficient of variation of 15; no client's bulk of requests lies beyond."""

Row = dict[str, str]
Client = tuple[float, float, str]
"""Requests per second; of the gaps between them the coefficient of variation and the family, G(amma) or W(eibull)."""


def main(traces: Path) -> None:
    """Print all tables."""
    print_table("Arrivals by step", arrivals_by_step(traces))
    print_table("Arrivals by mean rate", arrivals_by_rate(traces))
    print_table("Which law: bits per step, and share of steps beyond the law's own 99.9 %", laws(traces))
    print_table("Clients of ServeGen, generated anew", clients(traces / "servegen"))


def print_table(title: str, rows: Iterable[Row]) -> None:
    """Rows as a Markdown table under a title; the keys of the first are the header."""
    print(f"\n### {title}\n")
    for number, row in enumerate(rows):
        if number == 0:
            print("| " + " | ".join(row) + " |")
            print("|" + "---|" * len(row))
        print("| " + " | ".join(row.values()) + " |")


def arrivals_by_step(traces: Path) -> Iterable[Row]:
    """Dispersion of requests, for steps of different length."""
    for file, steps in REQUEST_LOGS.items():
        for step in steps:
            found = dispersion_of(traces / file, step)
            yield {
                "trace": file.split("/")[0],
                "step, s": f"{step:g}",
                "mean count": f"{found.means.mean():.1f}",
                "variance / mean": f"{found.ratio:.2f}",
                "95 %": "{:.2f} to {:.2f}".format(*interval(found)),
                "shape k": f"{found.shape:.0f}",
                "sd of the rate": f"{found.shape**-0.5:.1%}",
            }


def arrivals_by_rate(traces: Path) -> Iterable[Row]:
    """Dispersion in thirds of the blocks, from the quietest to the busiest: a constant ratio or a constant shape?"""
    for file, steps in REQUEST_LOGS.items():
        found = dispersion_of(traces / file, steps[-2])
        for part in np.array_split(np.argsort(found.means), 3):
            third = Dispersion(found.means[part], found.variances[part], found.trend, found.counts)
            yield {
                "trace": file.split("/")[0],
                "step, s": f"{steps[-2]:g}",
                "mean count": f"{third.means.mean():.1f}",
                "variance / mean": f"{third.ratio:.2f}",
                "95 %": "{:.2f} to {:.2f}".format(*interval(third)),
                "shape k": f"{third.shape:.0f}",
            }


def laws(traces: Path) -> Iterable[Row]:
    """How well three laws explain the counts: Poisson, variance = ratio x mean, and Gamma-mixed with one shape."""
    for file, steps in REQUEST_LOGS.items():
        for step in (steps[0], steps[-2]):
            found = dispersion_of(traces / file, step)
            mean = np.maximum(found.trend, 1e-6)
            excess, shape = max(found.ratio - 1.0, 1e-6), min(found.shape, 1e6)
            row = {"trace": file.split("/")[0], "step, s": f"{step:g}"}
            for name, law in (
                ("Poisson", poisson(mean)),
                ("constant ratio", nbinom(mean / excess, 1.0 / (1.0 + excess))),
                ("Gamma-mixed", nbinom(shape, 1.0 / (1.0 + mean / shape))),
            ):
                bits = -law.logpmf(found.counts).mean() / np.log(2)
                row[name] = f"{bits:.3f}; {(found.counts > law.ppf(0.999)).mean():.2%}"
            yield row


def clients(folder: Path) -> Iterable[Row]:
    """What the clients' measured rates and burstiness mean for counts in short steps.

    ServeGen gives mean rate, variation and family of the gaps for every client and ten minutes; arrivals are generated
    as its authors do, as a renewal process for each client.
    """
    for name in CLIENT_LOGS:
        windows = client_windows(folder / f"{name}.csv.gz")
        rng = np.random.default_rng(0)
        chosen = rng.choice(sorted(windows), min(SAMPLED_WINDOWS, len(windows)), replace=False)
        counts = np.concatenate([generate(windows[window], rng) for window in chosen])
        rate, cv = np.array([client[:2] for window in windows.values() for client in window]).T
        for step in (1, 10):
            found = dispersion(counts.reshape(-1, step).sum(axis=1), int(BLOCK_SECONDS / step))
            yield {
                "service": name.split("_")[0],
                "step, s": f"{step}",
                "mean count": f"{found.means.mean():.0f}",
                "variance / mean": f"{found.ratio:.1f}",
                "shape k": f"{found.shape:.0f}",
                "sd of the rate": f"{found.shape**-0.5:.1%}",
                "CV^2 of clients, 10 / 50 / 90 %": " / ".join(f"{q:.1f}" for q in np.quantile(cv**2, (0.1, 0.5, 0.9))),
                "rank correlation of CV with rate": f"{rank_correlation(rate, cv):+.2f}",
            }


def client_windows(path: Path) -> dict[str, list[Client]]:
    """{start of ten minutes: its active clients}."""
    windows: dict[str, list[Client]] = defaultdict(list)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            windows[row["t"]].append((float(row["rate"]), float(row["cv"]), row["dist"]))
    return windows


def generate(window: list[Client], rng: np.random.Generator) -> np.ndarray:
    """(600,) arrivals in each second of ten minutes, all clients together."""
    total = np.zeros(600)
    for rate, cv, family in window:
        number = int(rate * 700 + 20 * cv * np.sqrt(rate * 700) + 20)
        if family == "G":
            gaps = rng.gamma(1.0 / cv**2, cv**2, number)
        else:
            shape = weibull_shape(cv)
            gaps = rng.weibull(shape, number) / gamma(1.0 + 1.0 / shape)
        times = np.cumsum(gaps) / rate - 50.0  # it has run for a while when the window begins
        inside = times[(times >= 0.0) & (times < 600.0)]
        total += np.bincount(inside.astype(int), minlength=600)
    return total


def weibull_shape(cv: float) -> float:
    """Shape of the Weibull distribution with this coefficient of variation, at least `LEAST_WEIBULL_SHAPE`."""

    def excess(shape: float) -> float:
        return float(gamma(1.0 + 2.0 / shape) / gamma(1.0 + 1.0 / shape) ** 2 - 1.0 - cv**2)

    bracketed = excess(LEAST_WEIBULL_SHAPE) > 0.0 > excess(20.0)
    return float(brentq(excess, LEAST_WEIBULL_SHAPE, 20.0)) if bracketed else LEAST_WEIBULL_SHAPE


def dispersion_of(path: Path, step: float) -> Dispersion:
    """Dispersion of the requests of a log in steps of `step` seconds."""
    requests = load_series(path)[0]
    group = round(step / requests.step_seconds)
    counts = requests.values * requests.step_seconds
    counts = counts[: len(counts) // group * group].reshape(-1, group).sum(axis=1)
    return dispersion(counts, int(BLOCK_SECONDS / step))


def interval(found: Dispersion) -> tuple[float, float]:
    """95 % bootstrap interval of the ratio, over blocks."""
    chosen = np.random.default_rng(0).integers(len(found.means), size=(2000, len(found.means)))
    ratios = found.variances[chosen].sum(axis=1) / found.means[chosen].sum(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, of two (n,)."""
    return float(np.corrcoef(x.argsort().argsort(), y.argsort().argsort())[0, 1])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
