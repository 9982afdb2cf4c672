"""The command ``rdd-nb``: data, distill, evaluate, run, study. What it does, the notebooks do with the same functions.

Results go to stdout (with ``--json``: one JSON object and nothing else), progress to stderr. A mistake is told in one
line on stderr, with exit status 2. Everything heavy is imported when a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rdd_nb.errors import RddError, unknown

if TYPE_CHECKING:
    from rdd_nb.config import DistillConfig
    from rdd_nb.datasets import Splits

__all__ = ["main"]

INTERRUPTED = 130  # as shells have it: 128 + SIGINT
SOURCE, WORK = "Data", "Output and machine"

Data = Annotated[str, typer.Option(help="A data set: see `rdd-nb data list`.", metavar="NAME", rich_help_panel=SOURCE)]
Scenario = Annotated[
    str, typer.Option(help="How it is bent: see `rdd-nb data list`.", metavar="NAME", rich_help_panel=SOURCE)
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option", help="An option of the scenario, such as bias=0.95.", metavar="KEY=VALUE", rich_help_panel=SOURCE
    ),
]
DataSeed = Annotated[int, typer.Option(help="Decides which images the scenario bends.", rich_help_panel=SOURCE)]
Size = Annotated[int | None, typer.Option(help="Resize images to squares of so many pixels.", rich_help_panel=SOURCE)]
Root = Annotated[
    Path | None,
    typer.Option(
        help="Where data lie and downloads go (or the environment's RDD_NB_DATA).",
        metavar="DIR",
        rich_help_panel=SOURCE,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=WORK)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.", rich_help_panel=WORK)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.", rich_help_panel=WORK)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with ``arguments`` (default: the process's) and return the exit status.

    0: done; 2: a mistake in what was asked for, told in one line on stderr; 130: interrupted. Other exceptions are
    bugs, and pass.

    >>> main(["data", "list", "--json"])  # doctest: +ELLIPSIS
    {"datasets": {"fashion-mnist-sample": ...}
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words in ([], ["data"]):
        words.append("--help")
    try:
        command = typer.main.get_command(_app(next((word for word in words if not word.startswith("-")), "")))
        status = command.main(args=_join_parameters(words), prog_name="rdd-nb", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except RddError as error:
        return _tell(str(error))
    except KeyboardInterrupt:
        return _tell("interrupted", INTERRUPTED)
    except Exception as error:
        if not hasattr(error, "format_message"):  # what the parser of the command line raises has it
            raise
        context = getattr(error, "ctx", None)
        return _tell(f"{error.format_message()} See `{context.command_path if context else 'rdd-nb'} --help`.")


def _tell(message: str, status: int = 2) -> int:
    print("rdd-nb:", " ".join(message.split()), file=sys.stderr)
    return status


def _app(chosen: str) -> typer.Typer:
    """The commands. Only where ``distill`` is ``chosen`` does it get its config's options, as they need torch."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.callback()(_root)
    data = typer.Typer(rich_markup_mode="rich", help="See which data there are, and fetch them.")
    data.command("list")(_data_list)
    data.command("fetch")(_data_fetch)
    app.add_typer(data, name="data")
    app.command("distill")(_with_config_options(_distill, chosen == "distill"))
    app.command("evaluate")(_interruptible(_evaluate, "the same command begins it again, the run is as it was"))
    app.command("run")(_interruptible(_run, "the same command begins it again"))
    app.command("study")(_interruptible(_study, "the same command goes on from here"))
    return app


def _interruptible(command: Callable[..., None], then: str) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        try:
            command(**given)
        except KeyboardInterrupt:  # caught here, as versions of the parser differ in what they make of it
            _tell(f"interrupted; {then}", INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def _with_config_options(command: Callable[..., None], wanted: bool) -> Callable[..., None]:
    """``command`` with an option for every field of ``DistillConfig``, in place of its ``**fields``."""
    signature = inspect.signature(command, eval_str=True)
    parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    if wanted:
        from rdd_nb.config import DistillConfig

        for name, field in DistillConfig.model_fields.items():
            choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
            kind = next((t for t in (*typing.get_args(field.annotation), field.annotation) if isinstance(t, type)), str)
            option = typer.Option(
                "--" + name.replace("_", "-"),
                metavar="|".join(map(str, choices)) or kind.__name__.upper(),
                help=_help(field.description or "", field.default),
                show_default=False,
                rich_help_panel="Config",
            )
            # A text, so that the config itself reads it and complains in the same words as in a notebook.
            parameters.append(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
                )
            )
    wrapped = _interruptible(command, "the same command resumes it")
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapped


def _help(text: str, default: Any) -> str:
    return text[:1].upper() + text[1:] + ("." if default is None else f". Default {default}.")


# --- the commands; their docstrings are their help ----------------------------------------------------------------


def _version(asked: bool) -> None:
    if asked:
        import rdd_nb

        print(f"rdd-nb {rdd_nb.__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Distil a data set into a few images a class without forgetting the minority, and measure what that costs whom.

    Two commands from real images to an honest table:

    \b
    rdd-nb distill --data fashion-mnist-sample --scenario coloured --out runs/a
    rdd-nb evaluate runs/a
    """


def _data_list(as_json: Json = False) -> None:
    """List the data sets and the scenarios that bend them into named groups.

    \b
    Example: rdd-nb data list
    """
    from rdd_nb import datasets, scenarios

    if as_json:
        print(json.dumps({"datasets": datasets.available(), "scenarios": scenarios.available()}))
        return
    print("Data sets (--data NAME)")
    _print_names(datasets.available())
    print("\nScenarios (--scenario NAME, with --option KEY=VALUE)")
    _print_names(scenarios.available())


def _data_fetch(
    name: Annotated[str, typer.Argument(help="See `rdd-nb data list`.")],
    root: Root = None,
    size: Size = None,
    as_json: Json = False,
) -> None:
    """Load a data set once, so that it is downloaded and checked, and say what it holds.

    \b
    Example: rdd-nb data fetch cifar10 --root ~/data
    """
    from rdd_nb import datasets, sources

    splits = datasets.load(name, root, size)
    train, where = splits.train, str(sources.default_root() if root is None else root)
    where = name.removeprefix("folder:") if name.startswith("folder:") else where
    said = {
        "name": splits.name,
        "train": len(train),
        "test": len(splits.test),
        "classes": list(train.class_names),
        "groups": list(train.group_names),
        "shape": list(train.shape),
        "root": where,
    }
    if as_json:
        print(json.dumps(said))
        return
    groups = f", {train.num_groups} groups" if train.num_groups else ""
    size_text = "×".join(map(str, train.shape))
    print(
        f"{splits.name}: {len(train):,} train + {len(splits.test):,} test images of {size_text}, "
        f"{train.num_classes} classes{groups}; data folder {where}"
    )


def _distill(
    data: Data,
    scenario: Scenario = "none",
    option: Options = None,
    data_seed: DataSeed = 0,
    size: Size = None,
    root: Root = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="discovered|known|none",
            help="Which groups the objective sees: found without labels (default for robust and group), those the "
            "data name (the oracle), or none (default for erm and density).",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    num_groups: Annotated[
        int, typer.Option(help="Groups to discover in each class.", rich_help_panel=SOURCE, show_default=True)
    ] = 10,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The run folder; by default runs/DATA-SCENARIO-MATCHING-OBJECTIVE-sSEED.",
            rich_help_panel=WORK,
        ),
    ] = None,
    device: Device = "auto",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Config to start from: an object of the options below (or a run's config.json). Options given here "
            "win over it.",
            rich_help_panel="Config",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A config field by its Python name.", rich_help_panel="Config"
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    **fields: str | None,
) -> None:
    """Distil a data set into a run folder. Interrupted, the same command resumes it, and ends with the same bits.

    \b
    Plain:   rdd-nb distill --data digits --scenario coloured --objective erm
    Robust:  rdd-nb distill --data digits --scenario coloured --tail 0.2
    Oracle:  rdd-nb distill --data digits --scenario coloured --groups known
    Yours:   rdd-nb distill --data folder:pets --size 32 --ipc 5 --out runs/pets
    """
    from rdd_nb.distill import distill
    from rdd_nb.machine import pick_device

    settings = _settings(config, assignments or [], {k: v for k, v in fields.items() if v is not None})
    pick_device(device)
    source: dict[str, Any] = {
        "data": data,
        "scenario": scenario,
        "options": dict(_pair(text, "--option") for text in option or ()),
        "data_seed": data_seed,
        "size": size,
        "groups": groups or ("discovered" if settings.objective in ("robust", "group") else "none"),
    }
    if source["groups"] == "discovered":
        source["num_groups"] = num_groups
    kinds = ("discovered", "known", "none")
    if source["groups"] not in kinds:
        raise unknown("kind of groups", groups, kinds)
    splits = _load(source, root)
    if not quiet:
        print(f"{splits.train!r}", file=sys.stderr)
    found = _groups(splits, source, settings.seed, device)
    name = re.sub(r"[^\w.-]+", "-", data.removeprefix("folder:").rstrip("/").rsplit("/", 1)[-1]).strip("-.")
    folder = out or Path("runs", f"{name}-{scenario}-{settings.matching}-{settings.objective}-s{settings.seed}")
    run = distill(splits.train, settings, found, out=folder, device=device, progress=not quiet, source=source)
    seconds, loss = float(run.history["seconds"].sum()), float(run.history["loss"].iloc[-1])
    if as_json:
        said = {"out": str(folder), "iterations": len(run.history), "seconds": seconds, "loss": loss}
        print(json.dumps({**said, "source": source, "config": settings.model_dump(mode="json")}))
        return
    print(
        f"{len(run.synthetic.images)} images ({settings.ipc} a class) in {folder}: {len(run.history)} iterations in "
        f"{seconds:.1f} s, loss {loss:.4g}\nWho profits: rdd-nb evaluate {folder}"
    )


def _evaluate(
    run: Annotated[Path, typer.Argument(help="The folder of a finished `rdd-nb distill`.", metavar="RUN")],
    profile: Annotated[
        str,
        typer.Option(
            metavar="smoke|quick|full", help="How the nets are trained: to try, on a laptop, as in the papers."
        ),
    ] = "quick",
    nets: Annotated[int, typer.Option(help="How many fresh nets.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides their weights and batches.")] = 0,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Also the worst cluster, and accuracy under noise, blur, inversion.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Test on these data instead of those the run names.", rich_help_panel=SOURCE),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(metavar="NAME", help="Likewise, the scenario.", rich_help_panel=SOURCE)
    ] = None,
    option: Options = None,
    data_seed: Annotated[
        int | None, typer.Option(help="Likewise, the scenario's seed.", rich_help_panel=SOURCE)
    ] = None,
    size: Size = None,
    root: Root = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train fresh nets on a run's images and say how right they are about whom, with 95 % intervals.

    Keeps every prediction in RUN/scores.npz, and the table under "evaluation" in RUN/metrics.json.

    \b
    Example: rdd-nb evaluate runs/demo --profile quick --nets 5
    """
    from tqdm import tqdm

    from rdd_nb.distill import fingerprint
    from rdd_nb.evaluate import PROFILES, matched, predict, train
    from rdd_nb.machine import describe, pick_device
    from rdd_nb.runs import RunFolder
    from rdd_nb.subgroups import gap, group_table, worst_group

    if profile not in PROFILES:
        raise unknown("profile", profile, PROFILES)
    protocol, where = PROFILES[profile], pick_device(device)
    folder = RunFolder.open(run)
    metrics, synthetic = folder.metrics, folder.load_synthetic()
    source = dict(folder.config.get("source") or {})
    given: dict[str, Any] = {"data": data, "scenario": scenario, "data_seed": data_seed, "size": size}
    given["options"] = dict(_pair(text, "--option") for text in option) if option else None
    source |= {key: value for key, value in given.items() if value is not None}
    if not source.get("data"):
        raise RddError(f"{run} does not say which data it was made from: pass --data NAME (and --scenario)")
    if data is None and source["data"].startswith("folder:") and not Path(source["data"][7:]).is_dir():
        raise RddError(f"{run} was made from {source['data']}, told without its full path: pass --data folder:PATH")
    splits = _load(source, root)
    test = matched(synthetic, splits.test)
    same = fingerprint(splits.train, None)["digest"] == (folder.config.get("data") or {}).get("digest")
    if not same:
        print("note: these are not the data that the run was distilled from", file=sys.stderr)
    with folder.lock(), tqdm(desc=f"{nets} nets", unit="step", disable=quiet, mininterval=2.0) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        trained = train(synthetic, protocol, nets=nets, seed=seed, device=device, progress=show)
        scores = predict(trained, test)
        by = ["minority"] * (scores.minority is not None) + ["group"] * (scores.groups is not None) or ["class"]
        tables = {name: group_table(scores, name) for name in ["all", *by]}
        said: dict[str, Any] = {
            "profile": profile,
            "protocol": vars(protocol),
            "nets": nets,
            "seed": seed,
            "source": source,
            "same_data": same,
            "accuracy": scores.accuracy.tolist(),
            "tables": {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
            "worst": {name: worst_group(scores, name)._asdict() for name in by},
            "gap": {name: gap(tables[name]["accuracy"] * tables[name]["n"], tables[name]["n"]) for name in by},
            "machine": describe(where),
        }
        if robustness:
            said["robustness"] = _robustness(trained, test, seed)
        scores.save(folder.path / "scores.npz")
        folder.write_metrics({**metrics, "evaluation": said})
    if as_json:
        print(json.dumps({"run": str(run), **folder.metrics["evaluation"]}))
    else:
        _print_evaluation(run, said)


def _run(
    notebook: Annotated[Path, typer.Argument(help="An .ipynb file; it is not changed.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the executed copy goes, and its out_dir.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME VALUE", help="A parameter of the notebook; repeat it."),
    ] = None,
    yaml_text: Annotated[
        list[str] | None, typer.Option("-y", "--yaml", metavar="YAML", help="Parameters as YAML: '{tail: 0.2}'.")
    ] = None,
) -> None:
    """Run a notebook with papermill: its parameters are checked first, and a cell that fails is an error.

    \b
    Example: rdd-nb run notebooks/00_quickstart.ipynb --out runs/a -p tail 0.1
    """
    import yaml  # type: ignore[import-untyped, unused-ignore]

    from rdd_nb import sweep

    known = sweep.inspect(notebook)
    values: dict[str, Any] = {}
    for text in yaml_text or ():
        try:
            read = yaml.safe_load(text)
        except yaml.YAMLError:
            read = None
        if not isinstance(read, dict):
            raise RddError(f"-y {text!r} is no YAML mapping: write it like -y '{{tail: 0.2, seed: 3}}'")
        values |= read
    for text in parameter or ():
        name, value = _pair(text, "-p", separate=" ")
        declared = known.get(name)
        is_text = declared is not None and declared.annotation in ("str", "") and isinstance(declared.default, str)
        values[name] = text.split("=", 1)[1] if is_text else value
    if "out_dir" in known:
        values.setdefault("out_dir", str(out))
    target = out / notebook.with_suffix(".ipynb").name
    done = sweep.run_notebook(notebook, target, values, progress=sys.stdout)
    print(f"{notebook.name} ran in {done['seconds']:.1f} s; the executed copy is {target}")


def _study(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Such as data/studies/quick.yaml.")],
    workers: Annotated[int, typer.Option(help="Processes; 0 works in this one.", min=0, rich_help_panel=WORK)] = 2,
    threads: Annotated[
        int | None,
        typer.Option(help="Of each process; by default its share of the cores.", min=1, rich_help_panel=WORK),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The study's folder; by default runs/study-NAME.", rich_help_panel=WORK),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH.csv",
            help="Where the table goes, and PATH-runs.csv beside it; by default table.csv in the study's folder.",
            rich_help_panel=WORK,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="SCENARIO/METHOD", help="Run these alone; repeat it. * stands for anything."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1", help="Run these seeds alone.")] = None,
    baseline: Annotated[str, typer.Option(help="The method that the printed gains are over.")] = "plain",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the units and how each stands; run none.")] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run scenario × method × seed, each in a run folder, and write one table. The same command resumes it.

    What is finished is not run again unless its settings changed. A unit that fails leaves error.json in its folder,
    does not stop the others, and is tried again next time; the exit status is then 1.

    \b
    Example: rdd-nb study data/studies/quick.yaml --workers 2 --table data/results/study.csv
    """
    from rdd_nb import results, study
    from rdd_nb.plan import load_plan
    from rdd_nb.units import state

    plan = load_plan(config)
    folder = out or Path("runs") / f"study-{plan.name}"
    units = plan.pick(only or (), _seeds(seeds))
    for note in () if quiet else plan.notes:
        print(f"note: {note}", file=sys.stderr)
    if dry_run:
        stands = {unit.name: state(folder, unit) for unit in units}
        if as_json:
            print(json.dumps({"study": plan.name, "out": str(folder), "units": stands}))
            return
        for name, how in stands.items():
            print(f"{how:8} {name}")
        print(f"{sum(how == 'done' for how in stands.values())} of {len(units)} units are done in {folder}")
        return

    def tell(done: study.Outcome, finished: int, of: int, left: float) -> None:
        if not quiet:
            how = f"{done.seconds:.1f} s" if done.error is None else f"failed: {done.error}"
            print(f"[{finished}/{of}] {done.unit.name}: {how}; {_duration(left)} left", file=sys.stderr, flush=True)

    outcomes = study.run_study(plan, folder, units=units, workers=workers, threads=threads, device=device, tell=tell)
    held, runs = results.collect(folder, plan.units)
    target = table or folder / "table.csv"
    if len(held):
        results.write_tables(target, held, runs, results.collect_mechanism(folder, plan.units))
    failed = {done.unit.name: done.error for done in outcomes if done.error is not None}
    if as_json:
        said = {"study": plan.name, "out": str(folder), "table": str(target), "units": len(plan.units)}
        said |= {"done": len(runs), "ran": len(outcomes), "failed": failed}
        means = json.loads(results.summary(held).to_json(orient="records")) if len(held) else []
        print(json.dumps({**said, "summary": means}))
    elif len(held):
        print(results.overview(held, baseline))
        print(f"\n{len(runs)} of {len(plan.units)} units; table: {target}, and what it was measured on: ", end="")
        print(results.runs_path(target).name)
    if failed:
        names = "; ".join(f"{name} ({why})" for name, why in failed.items())
        _tell(f"{len(failed)} of {len(outcomes)} units failed, the same command tries them again: {names}", 1)
        raise typer.Exit(1)


# --- the parts ----------------------------------------------------------------------------------------------------


def _join_parameters(words: list[str]) -> list[str]:
    """``-p NAME VALUE``, as papermill has it, as ``-p NAME=VALUE``, which the parser of the command line can read."""
    joined, rest = [], iter(words)
    for word in rest:
        joined.append(word)
        if word in ("-p", "--parameter") and words[0] == "run":
            name = next(rest, None)
            if name is not None and "=" not in name:
                value = next(rest, None)
                name = name if value is None else f"{name}={value}"
            joined += [] if name is None else [name]
    return joined


def _pair(text: str, flag: str, separate: str = "=") -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise RddError(f"{flag} {text!r} has no value: write {flag} {name or 'NAME'}{separate}VALUE")
    return name, _typed(value)


def _typed(text: str) -> Any:
    """A value of the command line as Python has it.

    >>> [_typed(text) for text in ("3", "1e-3", "true", "none", "red")]
    [3, 0.001, True, None, 'red']
    """
    named = {"true": True, "false": False, "none": None}
    if text.lower() in named:
        return named[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _settings(file: Path | None, assignments: list[str], options: dict[str, str | None]) -> DistillConfig:
    """The config: options over ``--set`` over the file over the defaults."""
    from rdd_nb.config import DistillConfig

    values: dict[str, Any] = {}
    if file is not None:
        mend = 'write an object like {"ipc": 10, "tail": 0.2}'
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RddError(f"cannot read --config {file} ({error.strerror}): {mend}") from None
        except ValueError as error:
            raise RddError(f"--config {file} is not JSON ({error}): {mend}") from None
        read = read.get("distill", read) if isinstance(read, dict) else read  # a run's own config.json
        if not isinstance(read, dict):
            raise RddError(f"--config {file} holds a {type(read).__name__}, not an object: {mend}")
        values |= read
    values |= dict(_pair(text, "--set") for text in assignments)
    return DistillConfig(**{**values, **options})


def _load(source: dict[str, Any], root: Path | None) -> Splits:
    from rdd_nb import datasets, scenarios

    name, seed = source.get("scenario") or "none", source.get("data_seed") or 0
    if name not in scenarios.available():  # before a long download
        raise unknown("scenario", name, scenarios.available())
    splits = datasets.load(source["data"], root, source.get("size"))
    return scenarios.scenario(splits, name, seed=seed, **(source.get("options") or {}))


def _groups(splits: Splits, source: dict[str, Any], seed: int, device: str) -> Any:
    from rdd_nb import clustering

    if source["groups"] == "none":
        return None
    if source["groups"] == "known":
        return clustering.known_groups(splits.train)
    return clustering.discover_groups(splits.train, num_groups=source["num_groups"], seed=seed, device=device)


def _seeds(text: str | None) -> list[int]:
    try:
        return [int(word) for word in (text or "").replace(",", " ").split()]
    except ValueError:
        raise RddError(f"--seeds {text!r} should be whole numbers: write --seeds 0,1") from None


def _duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> _duration(30), _duration(300), _duration(9000)
    ('30 s', '5 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _print_names(names: dict[str, str]) -> None:
    width = max(map(len, names))
    for name, description in names.items():
        print(f"  {name:{width}}  {description}")


def _robustness(trained: Any, test: Any, seed: int) -> dict[str, Any]:
    from rdd_nb.robustness import robustness
    from rdd_nb.subgroups import mean_interval

    table = robustness(trained, test, seed)
    return {str(m): mean_interval(part["value"])._asdict() for m, part in table.groupby("metric", sort=False)}


def _print_evaluation(run: Path, said: dict[str, Any]) -> None:
    protocol = said["protocol"]
    print(
        f"{run} on {said['source']['data']}, scenario {said['source'].get('scenario') or 'none'}: {said['nets']} nets, "
        f"profile {said['profile']} ({protocol['epochs']} epochs, {protocol['network']} of width {protocol['width']})"
    )
    if said["profile"] == "smoke":
        print("Profile smoke only proves that it runs: these numbers mean nothing.")
    width = max(len(row["group"]) for table in said["tables"].values() for row in table)
    for name, table in said["tables"].items():
        print(f"\n{name:{max(width, 8)}}       n  accuracy  95 % interval")
        for row in table:
            print(f"{row['group']:{max(width, 8)}} {row['n']:7,}  {_percent(row['accuracy'])}    {_band(row)}")
        if name in said["worst"]:
            worst = said["worst"][name]
            print(
                f"worst: {worst['group']} {_percent(worst['value'])}, simultaneous band {_band(worst)}; "
                f"gap {_percent(said['gap'][name])}"
            )
    for name, row in said.get("robustness", {}).items():
        print(f"{name:12} {_percent(row['value'])}    {_band(row)} (over nets)")
    print(f"\nEvery prediction: {run / 'scores.npz'}")


def _percent(share: float | None) -> str:
    return "  –   " if share is None or share != share else f"{100 * share:4.1f} %"


def _band(row: dict[str, Any]) -> str:
    low, high = row["low"], row["high"]
    return "–" if low is None or low != low else f"{100 * low:.1f} – {100 * high:.1f}"
