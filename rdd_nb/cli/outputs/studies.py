"""What the commands that run many things print with ``--json``."""

from typing import Annotated, Literal

from typing_extensions import NotRequired, TypedDict

from rdd_nb.cli.outputs.fields import Count, Share, means

__all__ = ["Report", "Study", "StudyPlan", "Sweep", "SweepPlan"]


class StudyPlan(TypedDict):
    """``rdd-nb study --dry-run``."""

    study: Annotated[str, means("its name")]
    out: Annotated[str, means("its folder")]
    units: Annotated[
        dict[str, Literal["done", "missing", "begun", "failed", "changed"]],
        means("how each unit stands, by its name SCENARIO/METHOD/seedN"),
    ]


class SummaryRow(TypedDict):
    """One method on one group of one scenario, over seeds."""

    scenario: str
    method: str
    partition: Annotated[str, means("all, minority, group, class, …, or worst")]
    group: str
    seeds: Annotated[Count, means("how many")]
    nets: Annotated[Count, means("networks of each seed")]
    n: Annotated[Count, means("test images, in the first seed")]
    mean: Annotated[Share | None, means("accuracy, over seeds and networks; null without test images")]
    sd: Annotated[float | None, means("standard deviation between seeds; null for one seed")]
    low: Annotated[float | None, means("lower end of the 95 % interval over seeds; null for one seed")]
    high: Annotated[float | None, means("upper end of it")]
    band_low: Annotated[float | None, means("lower end of the band of a minimum; null for all but the worst group")]
    band_high: Annotated[float | None, means("upper end of it")]


class Study(TypedDict):
    """``rdd-nb study``."""

    study: Annotated[str, means("its name")]
    out: Annotated[str, means("its folder")]
    table: Annotated[str, means("the file of its table")]
    units: Annotated[Count, means("in the whole study")]
    done: Annotated[Count, means("of these, in the table")]
    ran: Annotated[Count, means("in this call, failed ones too")]
    failed: Annotated[dict[str, str], means("why, by the name of the unit")]
    summary: Annotated[list[SummaryRow], means("of all that is done")]


class SweepPlan(TypedDict):
    """``rdd-nb sweep --dry-run``."""

    notebook: Annotated[str, means("the file's name")]
    out: Annotated[str, means("the sweep's folder")]
    runs: Annotated[
        dict[str, Literal["missing", "done", "failed", "interrupted", "outdated"]],
        means("how each run stands, by its name"),
    ]


class Sweep(TypedDict):
    """``rdd-nb sweep``."""

    notebook: Annotated[str, means("the file's name")]
    out: Annotated[str, means("the sweep's folder")]
    runs: Annotated[Count, means("in the whole sweep")]
    done: Annotated[Count, means("of these, finished, also in earlier calls")]
    ran: Annotated[Count, means("in this call, failed ones too")]
    rerun: Annotated[Count, means("of these, there before under another version")]
    failed: Annotated[dict[str, str], means("why, by the name of the run")]


class Report(TypedDict):
    """``rdd-nb report``."""

    csv: Annotated[str, means("the file of the table")]
    md: Annotated[str, means("the file of the page in Markdown")]
    html: Annotated[str, means("the file of the page in HTML")]
    parquet: NotRequired[Annotated[str, means("the file of the table as Parquet, with pyarrow")]]
    outcomes: Annotated[list[str], means("the measurements that are reported")]
