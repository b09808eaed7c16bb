"""`[prices]`: what models cost, for `threadhouse usage` and `admin/usage/read`."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from shared.config.setting import Setting
from shared.config.table import ConfigTable

PER_TOKENS = 1_000_000


def _price(table: ConfigTable, key: str) -> float | None:
    """Return a price; zero is one. Errors: ConfigError."""
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise table.error(key, "a number of 0 or more", value)
    return float(value)


def _day(table: ConfigTable, key: str) -> str | None:
    """Return a day as YYYY-MM-DD. Errors: ConfigError."""
    value = table.get(key)
    if value is None:
        return None
    try:
        return value.isoformat() if type(value) is datetime.date else datetime.date.fromisoformat(value).isoformat()
    except (TypeError, ValueError):
        raise table.error(key, "a day, such as 2026-12-31", value, show=True) from None


@dataclass(frozen=True)
class ModelPrice:
    """What 1,000,000 tokens of a model cost, from a day on."""

    model: Annotated[str, Setting("Name of the model.")]
    input: Annotated[float, Setting("Price of input that was not cached; may be 0, as the others.", read=_price)]
    output: Annotated[float, Setting("Price of output, with reasoning.", read=_price)]
    cached_input: Annotated[float | None, Setting("Price of cached input.", read=_price, default="that of input")] = (
        None
    )
    first_day: Annotated[
        str,
        Setting(
            "First day (UTC) of this price; it ends an earlier price of the model.",
            key="from",
            read=_day,
            default="always",
        ),
    ] = ""


@dataclass(frozen=True)
class Prices:
    """What models cost: usage is multiplied by these prices when it is read."""

    currency: Annotated[str, Setting("Currency of all prices, as it is shown.")] = "USD"
    models: Annotated[tuple[ModelPrice, ...], Setting("Prices of models; what has none is shown without money.")] = ()

    def cost(self, model: str, day: str, *, input: int, cached_input: int, output: int) -> Decimal | None:
        """Return what tokens of a model cost on a day; None: there is no price. input: with cached_input."""
        prices = [one for one in self.models if one.model == model and one.first_day <= day]
        if not prices:
            return None
        price = max(prices, key=lambda one: one.first_day)
        of_cached = price.input if price.cached_input is None else price.cached_input
        counted = ((input - cached_input, price.input), (cached_input, of_cached), (output, price.output))
        return sum((tokens * Decimal(str(each)) for tokens, each in counted), Decimal()) / PER_TOKENS
