"""How the dataset hook's look at a dataset grows with its size: ratios within one run, not seconds of one machine."""

from __future__ import annotations

import time

from cdk_cryoem_lambda.datasets import look

_SIZES = (1_000, 10_000, 100_000)
_ROUNDS = 5


def seconds(objects: int) -> float:
    """The best of a few looks at a listing of so many objects."""
    listing = [
        (f"datasets/d/GridSquare_{n % 90}/FoilHole_{n}_Fractions.mrc", 300_000_000, float(n)) for n in range(objects)
    ]
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        look(listing, sentinel="")
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    """Print the table. Linear growth is 10 a row; S3 lists 1,000 keys a call at 0.005 USD per 1,000 calls."""
    taken = [seconds(size) for size in _SIZES]
    print(f"{'objects':>8}  {'time relative to 1,000':>24}  {'list calls':>10}  {'USD a look':>10}")
    for size, each in zip(_SIZES, taken, strict=True):
        calls = -(-size // 1000)
        print(f"{size:>8}  {each / taken[0]:>24.1f}  {calls:>10}  {calls * 0.005 / 1000:>10.6f}")


if __name__ == "__main__":
    main()
