"""Reads and writes files of prices: `item,region,usd,unit,date,source`, lines of # between them."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from .faults import Fault, PriceFileError
from .items import is_region, nearest, regions
from .table import Price

COLUMNS = ("item", "region", "usd", "unit", "date", "source")
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,12})?")
_DATE = re.compile(r"20\d\d(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")


def rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table with comments, each with its line. A value may not have a line break in it."""
    header: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        values = [value.strip() for value in next(csv.reader([line]))]
        if not header:
            header = values
            continue
        yield number, dict(zip(header, values, strict=False)) | {"": ",".join(values[len(header) :])}


def read(path: Path, *, items: Mapping[str, str] | None = None) -> list[Price]:
    """The prices of a file. items: what may be in it, with units; default anything. Errors: PriceFileError with every fault."""
    try:
        found = list(rows(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PriceFileError(
            [Fault(file=str(path), line=1, property=path.name, value=str(error), allowed="a readable file of prices")]
        ) from error
    faults = list(_header_faults(path))
    if not faults:
        faults += _faults(path, found, items)
    if faults:
        raise PriceFileError(faults)
    return [
        Price(**{column: row[column] for column in COLUMNS if column != "usd"}, usd=Decimal(row["usd"]))
        for _, row in found
    ]


def _header_faults(path: Path) -> Iterator[Fault]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    first = next(((n, line) for n, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")), (1, ""))
    if [name.strip() for name in first[1].split(",")] != list(COLUMNS):
        yield Fault(
            file=str(path),
            line=first[0],
            property="header",
            value=first[1] or "nothing",
            allowed=",".join(COLUMNS),
            fix="`cryoem prices refresh --output FILE` writes such a file",
        )


def _faults(
    path: Path, found: Sequence[tuple[int, Mapping[str, str]]], items: Mapping[str, str] | None
) -> Iterator[Fault]:
    seen: dict[tuple[str, str], int] = {}
    for line, row in found:
        for prop, value, allowed, fix in _row_faults(row, items):
            yield Fault(file=str(path), line=line, property=prop, value=value, allowed=allowed, fix=fix)
        key = (row["item"], row.get("region", ""))
        if key in seen:
            yield Fault(
                file=str(path),
                line=line,
                property="item",
                value=f"{key[0]} in {key[1]}",
                allowed="one row for an item and region",
                fix=f"The other is in line {seen[key]}: remove one",
            )
        seen.setdefault(key, line)


def _row_faults(row: Mapping[str, str], items: Mapping[str, str] | None) -> Iterator[tuple[str, object, str, str]]:
    missing = [column for column in COLUMNS if not row.get(column)]
    if missing:
        yield missing[0], "nothing", "a value in each column: " + ",".join(COLUMNS), ""
        return
    if row[""]:
        yield "source", f"{row['source']},{row['']}", "six values", "Put a source with a comma into double quotes"
    if not _NUMBER.fullmatch(row["usd"]) or not Decimal(row["usd"]):
        fix = "Decimals are written with a point" if "," in row["usd"] else ""
        yield "usd", row["usd"], "a number above 0, in USD, without a unit", fix
    if not _DATE.fullmatch(row["date"]):
        yield "date", row["date"], "when it was looked up: YYYY-MM-DD, YYYY-MM or YYYY", ""
    if items is not None and row["item"] not in items:
        yield "item", row["item"], "an item of `cryoem prices list`", nearest(row["item"], items)
    elif items is not None and row["unit"] != items[row["item"]]:
        yield "unit", row["unit"], items[row["item"]], ""
    if items is not None and not is_region(row["region"]):
        yield "region", row["region"], "a region of AWS", nearest(row["region"], regions())


def text(prices: Sequence[Price], *, head: Sequence[str] = ()) -> str:
    """A file of these prices, in the order of their names."""
    out = io.StringIO()
    for line in head:
        out.write(f"# {line}\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for price in sorted(prices, key=lambda price: (price.item, price.region)):
        writer.writerow([price.item, price.region, plain(price.usd), price.unit, price.date, price.source])
    return out.getvalue()


def plain(usd: Decimal) -> str:
    """A number without exponent and without zeros at its end."""
    written = f"{usd:f}"
    return written.rstrip("0").rstrip(".") if "." in written else written


def write(output: Path, prices: Sequence[Price], *, head: Sequence[str] = ()) -> Path | None:
    """Put prices into a file, all at once; the old one is kept beside it. Returns where, None when there was none. Errors: OSError."""
    kept = output.with_name(output.name + ".bak") if output.exists() else None
    handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as temporary:
            temporary.write(text(prices, head=head))
            temporary.flush()
            os.fsync(temporary.fileno())
        if kept is not None:
            shutil.copy2(output, kept)
            shutil.copymode(output, name)
        else:
            os.chmod(name, 0o644)
        os.replace(name, output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return kept
