"""Reads what was measured: sweeps (JSONL, schema 1) and the JSON of bench and of collectives.

A sweep's schema is in docs/sweeping.md. A file of bench or collectives is one object with `config`
and `results`. All of that is measured; a sweep of predict (plans.py) has `configurations`.
"""

import json
import pathlib
from dataclasses import dataclass, field
from typing import Any, Iterator

from tools.common.origin import Origin, origin_of
from tools.common.program import UserError, reason
from tools.report.node import Node, parse
from tools.report.plans import Plan, read_plan

SCHEMA = 1
PHASES = ("forward", "backward", "gradient_sync", "optimizer")


# What makes a run another case, unless it is this.
_USUAL = {
    "scheduler": "free",
    "graph": True,
    "gemm_search": True,
    "tensor_cores": True,
    "peers": "auto",
    "sum_part_bytes": -1,
}


@dataclass(frozen=True, order=True)
class Case:
    """What was run, but for how often: runs of the same case are repeats of each other."""

    backend: str
    tokens: int
    in_features: int
    out_features: int
    dtype: str
    tp: int
    dp: int
    algorithm: str
    reduction: str
    flags: str
    mode: str
    host: str
    processor: str
    commit: str
    # Of a transformer's step: what was run, in words, and its operations, which no layer's sizes say.
    model: str = ""
    model_flops: float = 0.0

    @property
    def machine(self) -> str:
        return ", ".join(word for word in (self.host, self.processor) if word)

    @property
    def size(self) -> str:
        return self.model or f"{self.tokens}×{self.in_features}→{self.out_features}"

    @property
    def flops_per_rank(self) -> float:
        """Of a step: three products of tokens × in × out, two operations each; or the model's."""
        layer = 6.0 * self.tokens * self.in_features * self.out_features
        return (self.model_flops or layer) / (self.tp * self.dp)


@dataclass(frozen=True)
class Step:
    """One run of a case: an entry of bench's results[]."""

    case: Case
    origin: Origin
    layers: tuple[str, ...]
    host: dict[str, Any]
    result: dict[str, Any]
    together: str  # what ran in turns with it: the same run of bench, or repeat of a sweep
    ratio: dict[str, Any] | None  # bench's own row_over_column, where it ran both modes


@dataclass(frozen=True)
class Transfer:
    """One size of one collective, as a run of `collectives` or the step of bench had it."""

    backend: str
    kind: str
    algorithm: str
    members: int
    dtype: str
    nbytes: int
    time_us: float
    algbw_gbps: float
    busbw_gbps: float
    wrong: int | None  # elements; None where the tool looked at bytes alone
    origin: Origin
    tp: int
    dp: int
    case: Case | None  # of the step that it was part of; None where it ran alone

    @property
    def within(self) -> str:
        return f"{self.case.mode} step {self.case.size}" if self.case else "collectives"


@dataclass
class Data:
    sources: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)  # what, why
    interrupted: list[str] = field(default_factory=list)  # which runs
    hosts: list[dict[str, Any]] = field(default_factory=list)  # each different one, once
    commands: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)  # what bench said of disturbed runs


def _check_result(result: Node) -> None:
    """What the figures will read without asking again."""
    step = result.at("step_ms")
    for quantity in ("median", "min", "p99", "max"):
        if quantity in ("median", "min") or step.has(quantity):
            step.positive(quantity)
    for number in result.numbers("step_ms_all") if result.has("step_ms_all") else ():
        if number <= 0:
            raise result.at("step_ms_all").fail(f"holds {number}, not above 0")
    for optional in ("equivalence", "ranks"):
        if result.has(optional):
            result.object(optional)
    for phase in PHASES:
        for quantity in ("compute_ms", "communication_ms", "exposed_communication_ms"):
            result.at("phases").at(phase).number(quantity)
    if result.has("products_ms"):
        result.positive("products_ms")
    if not result.has("ranks"):
        return
    ranks = result.at("ranks")
    world = len(ranks.numbers("step_ms"))
    for op in ranks.at("ops").items():
        op.text("name"), op.text("action"), op.text("phase")
        op.number("longest_over_shortest"), op.number("done_spread_us")
        for quantity in ("time_us", "done_us", "bytes_sent"):
            if len(op.numbers(quantity)) != world:
                raise op.at(quantity).fail(f"does not have one value for each of {world} ranks")


def _transfers_of_step(case: Case, origin: Origin, result: Node) -> Iterator[Transfer]:
    for row in result.at("bytes").at("collectives").items():
        row.number("contract_bytes")
        yield Transfer(
            backend=case.backend,
            kind=row.text("kind"),
            algorithm=row.text("algorithm"),
            members=row.integer("members"),
            dtype=case.dtype,
            nbytes=row.integer("array_bytes"),
            time_us=row.number("time_us"),
            algbw_gbps=row.number("algbw_gbps"),
            busbw_gbps=row.number("busbw_gbps"),
            wrong=None,
            origin=origin,
            tp=case.tp,
            dp=case.dp,
            case=case,
        )


def _model_in_words(model: Node) -> str:
    """All that tells its step from another one of the same engine's flags."""
    words = model.text("name")
    if model.has("part") and model.at("part").value:
        words += f" {model.text('part')}"
    words += f" {model.integer('batch')}×{model.integer('sequence')}"
    if model.integer("micro_batches") > 1:
        words += f", {model.integer('micro_batches')} micro-batches"
    if model.has("strands") and model.integer("strands") > 1:
        words += f", {model.integer('strands')} strands"
    for flag in ("within_documents", "sequence_parallel", "recompute", "overlap"):
        words += ", " + flag.replace("_", " ") if model.has(flag) and model.at(flag).value else ""
    if not model.at("clip").value:
        words += ", not clipped"
    if model.has("masters") and not model.at("masters").value:
        words += ", no masters"
    return words


def _sizes(config: Node, result: Node) -> dict[str, Any]:
    if not config.has("model"):
        return {name: config.integer(name) for name in ("tokens", "in_features", "out_features")}
    model = config.at("model")
    return {
        "tokens": model.integer("batch") * model.integer("sequence"),
        "in_features": model.integer("hidden"),
        "out_features": model.integer("hidden"),
        "model": _model_in_words(model),
        "model_flops": result.at("flops").positive("model"),
    }


def _flags(config: Node, given: str) -> str:
    """What was passed on to the tool, and what its config says beside that of how it ran."""
    words = given.split()
    for name, usual in _USUAL.items():
        value = config.at(name).value if config.has(name) else usual
        if value == usual or any(word.startswith(f"--{name}=") for word in words):
            continue
        words.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    return " ".join(words)


def _add_bench(
    data: Data, bench: Node, origin: Origin, layers: tuple[str, ...], flags: str, together: str
) -> None:
    config = bench.at("config")
    host = bench.at("host").value
    for result in bench.at("results").items():
        case = Case(
            backend=config.text("backend"),
            dtype=config.text("dtype"),
            tp=config.integer("tp"),
            dp=config.integer("dp"),
            algorithm=config.text("algorithm"),
            reduction=config.text("reduction"),
            flags=_flags(config, flags),
            mode=result.text("mode"),
            host=origin.host,
            processor=origin.processor,
            commit=origin.commit,
            **_sizes(config, result),
        )
        if min(case.tokens, case.in_features, case.out_features, case.tp, case.dp) < 1:
            raise config.fail("has a size below 1")
        _check_result(result)
        facts = host if isinstance(host, dict) else {}
        ratio = bench.object("row_over_column") if bench.has("row_over_column") else None
        data.steps.append(Step(case, origin, layers, facts, result.value, together, ratio))
        data.transfers.extend(_transfers_of_step(case, origin, result))


def _add_collectives(data: Data, run: Node, origin: Origin) -> None:
    config = run.at("config")
    for row in run.at("results").items():
        data.transfers.append(
            Transfer(
                backend=config.text("backend"),
                kind=row.text("collective"),
                algorithm=row.text("algorithm"),
                members=row.integer("members"),
                dtype=row.text("dtype"),
                nbytes=row.integer("bytes"),
                time_us=row.at("time_us").number("median"),
                algbw_gbps=row.number("algbw_gbps"),
                busbw_gbps=row.number("busbw_gbps"),
                wrong=row.integer("wrong"),
                origin=origin,
                tp=config.integer("tp"),
                dp=config.integer("dp"),
                case=None,
            )
        )


def _add_host(data: Data, host: dict[str, Any]) -> None:
    """Once: a run that failed tells less of the same machine than one that did not."""
    if any(host.items() <= known.items() for known in data.hosts):
        return
    data.hosts = [known for known in data.hosts if not known.items() <= host.items()]
    data.hosts.append(host)


def _facts(run: Node) -> dict[str, Any]:
    """What the tool says of its machine, without what changes from run to run."""
    host = run.at("host").value
    facts = host if isinstance(host, dict) else {"name": host}
    facts = {name: value for name, value in facts.items() if name not in ("date", "load")}
    cores = facts.get("cores")
    if isinstance(cores, str) and cores.isdecimal():  # as bench wrote it once
        facts["cores"] = int(cores)
    if "cpu" not in facts and "processor" in run.value:
        facts["processor"] = run.value["processor"]
    return facts | ({"commit": run.value["commit"]} if "commit" in run.value else {})


def _add_run(
    data: Data,
    run: Node,
    record: dict[str, Any] | None = None,
    layers: tuple[str, ...] = (),
    flags: str = "",
    together: str = "",
) -> None:
    """The JSON that a tool wrote: whose it is, its config says."""
    if run.value.get("complete") is False:
        data.interrupted.append(run.where)
    is_collectives = run.at("config").has("min_bytes")
    origin = origin_of(run.value, record)
    said = run.at("run").value if run.has("run") else None
    warnings = said.get("warnings") if isinstance(said, dict) else None
    if isinstance(warnings, list):
        data.warnings += map(str, warnings)
    if is_collectives:
        _add_collectives(data, run, origin)
    else:
        _add_bench(data, run, origin, layers, flags, together or run.where)


def _add_record(data: Data, record: Node, file: str) -> None:
    schema = record.at("schema").value
    if schema != SCHEMA:
        raise UserError(
            f"{record.where}: schema {json.dumps(schema)}, and this report reads schema {SCHEMA}"
        )
    key = record.text("key")
    tool = record.text("tool")
    if record.has("error"):
        data.failures.append((key, record.text("error")))
    host = dict(record.object("host"))
    command = " ".join(str(word.value) for word in record.at("command").items())
    if command not in data.commands:
        data.commands.append(command)
    if not record.has(tool):
        if not record.has("error"):
            raise record.fail(f"has neither {tool} nor error")
        _add_host(data, host)
        return
    layers = tuple(str(layer.value) for layer in record.at("layers").items())
    flags = " ".join(str(flag.value) for flag in record.at("flags").items())
    run = record.at(tool)
    _add_host(data, _facts(run) | host)
    together = f"{file}, repeat {record.integer('repeat')}"
    _add_run(data, run, record.value, layers, flags, together)


def _add_lines(data: Data, text: str, name: str) -> None:
    seen: set[tuple[str, Any]] = set()
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            record = Node(parse(line), where)
        except ValueError as error:
            last = number == len(lines)  # no newline after it: its writer was interrupted
            advice = "torn; resume the sweep, or delete the line" if last else str(error)
            raise UserError(f"{where} is not whole JSON: {advice}") from error
        _add_record(data, record, name)
        run = (record.text("key"), record.integer("repeat"))
        if run in seen:
            raise UserError(f"{where}: repeat {run[1]} of this point was there before: {run[0]}")
        seen.add(run)


def _add_file(data: Data, path: pathlib.Path) -> None:
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{name}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not text in UTF-8 (byte {error.start})") from error
    if not text.strip():
        raise UserError(f"{name}: empty")
    try:
        whole = Node(parse(text), name)
    except ValueError as error:
        if text.startswith("{\n"):  # bench writes one object over many lines
            raise UserError(f"{name} is not whole JSON: {error}") from error
        _add_lines(data, text, name)
        return
    if not isinstance(whole.value, dict):
        raise whole.fail("is not what bench, collectives, sweep or predict writes")
    if whole.has("schema"):
        _add_record(data, whole, name)
        return
    if whole.has("configurations"):
        interrupted = whole.value.get("complete") is False
        data.interrupted += [name] if interrupted else []
        if not interrupted or whole.value["configurations"]:
            data.plans.append(read_plan(whole))
        return
    _add_run(data, whole)
    _add_host(data, _facts(whole))


def load(paths: list[pathlib.Path]) -> Data:
    """All files together. Raises UserError."""
    data = Data()
    for i, path in enumerate(paths):
        if path.resolve() in (other.resolve() for other in paths[:i]):
            raise UserError(f"{path}: it is named twice; its runs would count twice")
        _add_file(data, path)
        data.sources.append(path.name)
    if not (data.steps or data.transfers or data.plans or data.failures or data.interrupted):
        raise UserError(f"{', '.join(map(str, paths))}: no result in it")
    return data
