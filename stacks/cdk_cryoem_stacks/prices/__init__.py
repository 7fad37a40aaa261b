"""What AWS charges: one table of list prices with region, unit, date and source, for every command that prints a price."""

from .faults import Fault, PriceFileError
from .table import HOME_REGION, NoPrice, Price, PriceTable, load, on_demand_item, spot_item

__all__ = [
    "HOME_REGION",
    "Fault",
    "NoPrice",
    "Price",
    "PriceFileError",
    "PriceTable",
    "load",
    "on_demand_item",
    "spot_item",
]
