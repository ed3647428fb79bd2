"""Parts that all charts share."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from momos_compress.drawing.render import Spec

Records = Sequence[Mapping[str, Any]]


def specification(
    chart: alt.LayerChart | alt.FacetChart | alt.VConcatChart, title: str, subtitle: str, **data: Records
) -> Spec:
    """The specification with its data by name, each once; its width is left to who shows it.

    The data come in afterwards: altair would check every record against its schema.
    """
    titled = chart.properties(title=alt.Title(title, subtitle=subtitle), description=f"{title}. {subtitle}")
    spec: Spec = titled.to_dict()
    spec.pop("config", None)
    return spec | {"datasets": {name: [dict(record) for record in records] for name, records in data.items()}}


def chart_on(name: str) -> alt.Chart:
    """A chart of the data of this name."""
    return alt.Chart(_named(name))


def epoch_axis(last: int) -> alt.X:
    """Whole epochs, ten ticks at most: left alone, an axis of few would have ticks at halves."""
    every = -(-last // 10)
    ticks = list(range(every, last + 1, every))
    return alt.X("epoch:Q", title="epoch", axis=alt.Axis(values=ticks, format="d", grid=False))


def _named(name: str) -> alt.NamedData:
    return alt.NamedData(name=name)
