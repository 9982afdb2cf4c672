"""What the commands about one run, or a few, print with ``--json``; and ``doctor``, of a run that is to be."""

from typing import Annotated, Literal

from typing_extensions import NotRequired, TypedDict

from rdd_nb.cli.outputs.fields import ConfigFields, Count, ProtocolFields, Seconds, Share, SourceFields, means

__all__ = ["Compare", "Distill", "Doctor", "Evaluate", "Export"]


class Distill(TypedDict):
    """``rdd-nb distill``."""

    out: Annotated[str, means("the run folder")]
    iterations: Annotated[Count, means("that the run has gone through, also in earlier calls")]
    seconds: Annotated[Seconds, means("that these took, wall clock")]
    loss: Annotated[float | None, means("of the last iteration; null where it is not finite")]
    source: SourceFields
    config: ConfigFields


class Interval(TypedDict):
    """A value with its 95 % interval."""

    value: Annotated[float | None, means("mean over the networks, a fraction")]
    low: Annotated[float | None, means("null for one network")]
    high: Annotated[float | None, means("null for one network")]


class Worst(TypedDict):
    """The least accurate group."""

    value: Annotated[Share | None, means("its accuracy; null without test images")]
    group: Annotated[str | None, means("its name; null without test images")]
    low: Annotated[float | None, means("lower end of the simultaneous 95 % band of the minimum")]
    high: Annotated[float | None, means("upper end of it")]


class GroupRow(TypedDict):
    """One group of the test images, as rdd_nb.evaluation.subgroups.group_table has it."""

    group: Annotated[str, means("its name")]
    n: Annotated[Count, means("test images")]
    nets: Annotated[Count, means("trained networks")]
    accuracy: Annotated[Share | None, means("mean over the networks; it and all below are null without test images")]
    net_sd: Annotated[float | None, means("standard deviation between networks; null for one network")]
    low: Annotated[float | None, means("lower end of the 95 % interval of this group alone")]
    high: Annotated[float | None, means("upper end of it")]
    low_simultaneous: Annotated[float | None, means("lower end of the 95 % intervals that hold for all groups at once")]
    high_simultaneous: Annotated[float | None, means("upper end of them")]
    shrunk: Annotated[Share | None, means("accuracy drawn towards the mean of all, to rank groups by")]


class LabelRow(TypedDict):
    """One set of images with one kind of labels, on one group."""

    images: Annotated[str, means("teacher, distilled, random, medoids or group-balanced")]
    labels: Annotated[str, means("hard, soft or learnt")]
    group: Annotated[str, means("name of the group; all for every test image")]
    n: Annotated[Count, means("test images")]
    accuracy: Annotated[Share | None, means("mean over the networks; null without test images")]
    low: Annotated[float | None, means("lower end of its 95 % interval")]
    high: Annotated[float | None, means("upper end of it")]


class SoftLabels(TypedDict):
    """What soft labels bring."""

    teacher: ProtocolFields
    table: list[LabelRow]


class Machine(TypedDict):
    """What the numbers were measured on."""

    rdd_nb: Annotated[str, means("version")]
    python: Annotated[str, means("version")]
    torch: Annotated[str, means("version")]
    device: Annotated[str, means("cpu, or the name of the graphics card")]
    processor: str
    cores: Annotated[Count | None, means("of the machine; null where the system does not say")]
    threads: Annotated[Count, means("that torch uses")]
    date: Annotated[str, means("YYYY-MM-DD")]


class Evaluate(TypedDict):
    """``rdd-nb evaluate``."""

    run: Annotated[str, means("the run folder, as it was given")]
    id: Annotated[str, means("ties the run's scores.npz to this")]
    profile: Literal["smoke", "quick", "full"]
    protocol: ProtocolFields
    learnt_step: Annotated[bool, means("whether the step size is that which the run learnt")]
    on: Annotated[Literal["test", "validation"], means("the images that were scored")]
    nets: Annotated[Count, means("trained networks")]
    seed: int
    source: SourceFields
    same_data: Annotated[bool, means("whether these are the data that the run was made from")]
    accuracy: Annotated[list[Share], means("of each network, on all images")]
    tables: Annotated[dict[str, list[GroupRow]], means("by what tells groups apart: all, minority, group or class")]
    worst: Annotated[dict[str, Worst], means("by the same names, all left out")]
    gap: Annotated[dict[str, float | None], means("largest less smallest accuracy of a group, by the same names")]
    machine: Machine
    robustness: NotRequired[Annotated[dict[str, Interval], means("with --robustness: by the name of the measure")]]
    soft_labels: NotRequired[Annotated[SoftLabels, means("with --soft-labels")]]


class ComparedRow(TypedDict):
    """One run on one group."""

    run: Annotated[str, means("its folder, as it was given")]
    partition: Annotated[str, means("all, minority, group, class or class-group")]
    group: Annotated[str, means("name of the group; all for every test image")]
    n: Annotated[Count, means("test images")]
    nets: Annotated[Count, means("trained networks")]
    accuracy: Annotated[Share | None, means("mean over the networks; null without test images")]
    low: Annotated[float | None, means("lower end of its 95 % interval; null without test images")]
    high: Annotated[float | None, means("upper end of it")]
    difference: Annotated[float | None, means("accuracy less that of the first run; null for the first run")]
    difference_low: Annotated[float | None, means("lower end of its 95 % interval")]
    difference_high: Annotated[float | None, means("upper end of it")]
    p_value: Annotated[Share | None, means("of no difference; over groups corrected by Holm's method")]


class Compare(TypedDict):
    """``rdd-nb compare``."""

    by: Annotated[str, means("what tells the groups apart: minority, group, class or class-group")]
    table: Annotated[list[ComparedRow], means("a row for each run and group, all images first")]


class Export(TypedDict):
    """``rdd-nb export``; of the first five, those that were asked for."""

    run: Annotated[str, means("the run folder, as it was given")]
    png: NotRequired[Annotated[str, means("the folder of images")]]
    npz: NotRequired[Annotated[str, means("the file of arrays")]]
    card: NotRequired[Annotated[str, means("the card's file")]]
    csv: NotRequired[Annotated[str, means("the table's file")]]
    tensorboard: NotRequired[Annotated[str, means("the folder for TensorBoard")]]
    largest: Annotated[float, means("largest difference that 8 bits make, in grey levels (of 255)")]
    clipped: Annotated[Share, means("part of the values that are darker than black or brighter than white")]


class Doctor(TypedDict):
    """``rdd-nb doctor``."""

    findings: Annotated[list[str], means("lines about this machine; what slows it down begins with mind:")]
    gflops: Annotated[float, means("GFLOP/s of a large product of matrices in float32")]
    gigabytes: Annotated[float, means("GB/s of a large copy")]
    bfloat16: Annotated[float, means("GFLOP/s of the same product in bfloat16")]
    data: Annotated[str, means("name of the data")]
    iteration: Annotated[Seconds, means("seconds of one iteration")]
    iterations: Annotated[Count, means("that the config asks for")]
    images: Annotated[float, means("real and synthetic images that are matched in a second")]
    evaluation: Annotated[Seconds, means("seconds of an evaluation with that many nets")]
    nets: Count
    experts: Annotated[Seconds, means("seconds of the experts of trajectory matching; 0 of other matchings")]
    expert_bytes: Annotated[Count, means("bytes that the experts take")]
    decoder: Annotated[Seconds, means("seconds of training a decoder of latents, or an encoder for one; 0 of pixels")]
    seconds: Annotated[Seconds, means("of the whole distillation, the experts' and the decoder's included")]
    iteration_in_bfloat16: Annotated[Seconds | None, means("seconds of one; null where bfloat16 cannot pay")]
