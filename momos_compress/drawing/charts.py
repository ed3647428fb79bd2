"""Parts that all charts share."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from momos_compress.drawing.render import Spec

Records = Sequence[Mapping[str, Any]]


def specification(
    chart: alt.LayerChart | alt.FacetChart | alt.VConcatChart, title: str, subtitle: str, **data: Records
) -> Spec:
    """A chart's specification; its width is left to who shows it.

    Args:
        chart: The chart, whose marks name their data.
        title: Headline.
        subtitle: Line below it.
        data: The data by name. They are put in last, as altair would check every record against its schema.
    """
    titled = chart.properties(title=alt.Title(title, subtitle=subtitle), description=f"{title}. {subtitle}")
    spec: Spec = titled.to_dict()
    spec.pop("config", None)
    return spec | {"datasets": {name: [dict(record) for record in records] for name, records in data.items()}}


def chart_on(name: str) -> alt.Chart:
    """A chart whose marks take the data of this name."""
    return alt.Chart(named_data(name))


def epoch_axis(last: int) -> alt.X:
    """An axis of epochs with at most ten ticks, all at whole ones, which Vega alone would not see to."""
    every = -(-last // 10)
    ticks = list(range(every, last + 1, every))
    return alt.X("epoch:Q", title="epoch", axis=alt.Axis(values=ticks, format="d", grid=False))


def named_data(name: str) -> alt.NamedData:
    """A reference to the data of a specification that have this name."""
    return alt.NamedData(name=name)
