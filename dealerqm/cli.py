"""The command line: simulate, ingest, review, diff, check, notebooks, key.

Exit codes: 0 done, 1 a problem in the data, 2 a wrong call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from dealerqm import __version__
from dealerqm.errors import DealerqmError, ParameterError

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
DAY = click.DateTime(formats=["%Y-%m-%d"])


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors raised on purpose into one message and their exit code."""

    @wraps(command)
    def run(*args: Any, **options: Any) -> None:  # noqa: ANN401
        try:
            command(*args, **options)
        except DealerqmError as error:
            click.echo(f"dealerqm: {error}", err=True)
            sys.exit(error.exit_code)
        except BrokenPipeError:
            sys.exit(1)

    return run


@click.group()
@click.version_option(__version__)
def main() -> None:
    """Honest quarterly quality reviews for groups of car sales-and-service stores."""


@main.command()
@click.option("--out", type=FOLDER, default="data/samples", help="Where to write the group.")
@click.option("--seed", type=int, default=None, help="Seed; the default makes the sample.")
@_told
def simulate(out: Path, seed: int | None) -> None:
    """Write the raw exports of a simulated group, with its planted truth."""
    from dealerqm import simulate as simulator

    simulator.simulate(out, seed=simulator.DEFAULT_SEED if seed is None else seed)
    click.echo(out.as_posix())


@main.command()
@click.argument("path", type=FILE)
@_told
def key(path: Path) -> None:
    """Make a new pseudonym key; keep it outside the project folder and back it up."""
    from dealerqm import privacy

    privacy.new_key(path)
    click.echo(f"{path.as_posix()}: new key written. Without it pseudonyms cannot be repeated.")


@main.command()
@click.option("--raw", type=FOLDER, required=True, help="Folder of exports.")
@click.option("--project", type=FOLDER, default=".", help="Project folder.")
@click.option("--key", "key_file", type=FILE, default=None, help="Key file.")
@click.option("--as-of", type=DAY, default=None, help="Last day used; default: last in the data.")
@click.option("--mapping", type=FILE, default=None, help="TOML file for unknown headers.")
@_told
def ingest(
    raw: Path, project: Path, key_file: Path | None, as_of: datetime | None, mapping: Path | None
) -> None:
    """Read raw exports into a new snapshot of the project."""
    snapshot = _ingest(raw, project, key_file, (as_of.date() if as_of else None, mapping))
    click.echo(_summary(snapshot))
    click.echo(f"snapshot {snapshot.id} as of {snapshot.as_of}")


def _ingest(
    raw: Path, project: Path, key_file: Path | None, rest: tuple[date | None, Path | None]
) -> Any:  # noqa: ANN401
    from dealerqm import ingest as importer
    from dealerqm import privacy
    from dealerqm.review import project_plan

    as_of, mapping = rest
    if key_file is None and (raw.parent / "demo.json").is_file():
        secret = privacy.demo_key(raw.parent)
    else:
        secret = privacy.load_key(key_file, project=project)
    plan = project_plan(project)
    return importer.ingest(raw, project, plan, key=secret, as_of=as_of, mapping=mapping)


def _summary(snapshot: Any) -> str:  # noqa: ANN401
    counts = snapshot.counts.select_dtypes("number").sum()
    read = ", ".join(f"{name} {int(number):,}" for name, number in counts.items() if number)
    return f"{len(snapshot.counts)} files: {read}; {len(snapshot.issues)} kinds of problem"


@main.command()
@click.option("--project", type=FOLDER, default=".", help="Project folder.")
@click.option("--period", default="latest", help="2026W31, 2026-07, 2026Q3, 2026 or latest.")
@click.option("--stores", default="all", help="all, a region, or store ids joined by commas.")
@click.option("--lang", default="zh", help="Language of the notebooks: zh or en.")
@click.option("--raw", type=FOLDER, default=None, help="Exports to ingest first.")
@click.option("--key", "key_file", type=FILE, default=None, help="Key file for --raw.")
@click.option("--only", default=None, help="Names of notebooks, joined by commas.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Other parameters.")
@_told
def review(**options: Any) -> None:  # noqa: ANN401
    """Review a period: run the notebooks and write the report folder."""
    from dealerqm import workflow

    if options["raw"] is not None:
        snapshot = _ingest(options["raw"], options["project"], options["key_file"], (None, None))
        click.echo(_summary(snapshot), err=True)
    asked = workflow.Order(
        project=options["project"], period=options["period"], stores=options["stores"],
        language=options["lang"], only=options["only"], settings=_settings(options["settings"]),
    )  # fmt: skip
    report, failed = workflow.review(asked)
    for name, reason in failed.items():
        click.echo(f"dealerqm: {name} failed: {reason}", err=True)
    click.echo((report / "index.html").as_posix())
    sys.exit(1 if failed else 0)


def _settings(pairs: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise ParameterError(f"--set: found {pair!r}, expected NAME=VALUE.")
        found[name.strip()] = value.strip()
    return found


@main.command()
@click.argument("before", type=FOLDER)
@click.argument("after", type=FOLDER)
@click.option("--all", "everything", is_flag=True, help="Also what stayed within noise.")
@click.option("--lang", default="en", help="zh or en.")
@_told
def diff(before: Path, after: Path, everything: bool, lang: str) -> None:
    """Compare two report folders: value, change, beyond noise or not."""
    from dealerqm import compare, plan

    found = compare.compare(compare.read_facts(before), compare.read_facts(after), plan.load())
    if not everything:
        found = found.where(outcome=["beyond_noise", "not_comparable"])
    table = found.show(lang)
    click.echo(table.to_string(index=False) if len(table) else "No movement beyond noise.")


@main.command()
@click.option("--plan", "plan_file", type=FILE, default=None, help="Plan to check.")
@click.option("--raw", type=FOLDER, default=None, help="Exports to check without importing.")
@click.option("--mapping", type=FILE, default=None, help="TOML file for unknown headers.")
@_told
def check(plan_file: Path | None, raw: Path | None, mapping: Path | None) -> None:
    """Check a plan and a folder of exports without importing anything."""
    from dealerqm import ingest as importer
    from dealerqm import plan

    checked = plan.load(plan_file)
    click.echo(f"plan: {len(checked.kpis)} KPIs, digest {checked.digest[:12]}: in order")
    if raw is None:
        return
    found = importer.check(raw, checked, mapping=mapping)
    click.echo(found.counts.to_string(index=False))
    if len(found.issues):
        click.echo(found.issues.to_string(index=False, max_colwidth=60))
        sys.exit(1)


@main.command()
@click.option("--project", type=FOLDER, default=".", help="Project folder with a snapshot.")
@_told
def notebooks(project: Path) -> None:
    """Run the committed notebooks again and save their cleaned outputs."""
    from dealerqm import runner

    changed = runner.refresh(
        runner.home(project), done=lambda path: click.echo(path.name, err=True)
    )
    click.echo(f"{len(changed)} notebooks changed")


@main.group()
def register() -> None:
    """Keep the records that people write: improvements, risks, sign-offs and so on."""


def _register(project: Path) -> Any:  # noqa: ANN401
    """Open the register of a project with what notes on charts may name, once there are data."""
    from dealerqm import registers, store
    from dealerqm.review import project_plan

    known = store.manifests(project)
    scope = registers.scope(store.open_snapshot(project), project_plan(project)) if known else None
    return registers.Register(project / registers.FILE, scope)


def _decided(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where, why, who and when."""
    for option in (
        click.option("--on", "day", type=DAY, required=True, help="Day, such as 2026-10-08."),
        click.option("--by", required=True, help="Who decided."),
        click.option("--reason", required=True, help="Why; for a remark, its text."),
        click.option("--project", type=FOLDER, default=".", help="Project folder."),
    ):
        command = option(command)
    return command


def _decision(options: dict[str, Any]) -> Any:  # noqa: ANN401
    from dealerqm.registers import Decision

    return Decision(options["reason"], options["by"], options["day"].date())


@register.command("exclude")
@click.argument("kpi")
@click.argument("unit")
@click.argument("period")
@_decided
@_told
def register_exclude(kpi: str, unit: str, period: str, **options: Any) -> None:  # noqa: ANN401
    """Take one point out of the limits and verdicts of a chart; it is still shown."""
    from dealerqm import registers

    log = _register(options["project"])
    click.echo(registers.exclude(log, (kpi, unit), period, _decision(options)))


@register.command("annotate")
@click.argument("kpi")
@click.argument("unit")
@click.argument("first")
@click.argument("last")
@_decided
@_told
def register_annotate(kpi: str, unit: str, first: str, last: str, **options: Any) -> None:  # noqa: ANN401
    """Write a remark on a chart from one period to another."""
    from dealerqm import registers

    log = _register(options["project"])
    click.echo(registers.annotate(log, (kpi, unit), first, last, _decision(options)))


@register.command("rebase")
@click.argument("kpi")
@click.argument("unit")
@click.argument("period")
@click.option("--accept/--refuse", "accepted", required=True, help="Whether a new phase begins.")
@_decided
@_told
def register_rebase(kpi: str, unit: str, period: str, **options: Any) -> None:  # noqa: ANN401
    """Accept a new phase of a chart, or turn a proposal down."""
    from dealerqm import registers

    log, accepted = _register(options["project"]), options["accepted"]
    chart = (kpi, unit)
    click.echo(registers.rebase(log, chart, period, _decision(options), accepted=accepted))


@register.command("withdraw")
@click.argument("kind")
@click.argument("key")
@_decided
@_told
def register_withdraw(kind: str, key: str, **options: Any) -> None:  # noqa: ANN401
    """Take back an annotation, exclusion or rebase; the log keeps it."""
    from dealerqm import registers

    done = registers.withdraw(_register(options["project"]), kind, key, _decision(options))
    click.echo(f"{key}: {'withdrawn' if done else 'was withdrawn before'}")


@register.command("import")
@click.argument("workbook", type=FILE)
@click.option("--project", type=FOLDER, default=".", help="Project folder.")
@click.option("--by", required=True, help="Who changed the records.")
@click.option("--on", "day", type=DAY, required=True, help="Day of the change, such as 2026-10-08.")
@_told
def register_import(workbook: Path, project: Path, by: str, day: datetime) -> None:
    """Take over the changed rows of an Excel file; unchanged rows write nothing."""
    changes = _register(project).from_excel(workbook, at=day.date(), by=by)
    click.echo(f"{len(changes)} records changed")


@register.command("export")
@click.argument("workbook", type=FILE)
@click.option("--project", type=FOLDER, default=".", help="Project folder.")
@_told
def register_export(workbook: Path, project: Path) -> None:
    """Write all current records to an Excel file."""
    from dealerqm.registers import FILE, Register

    Register(project / FILE).to_excel(workbook)
    click.echo(workbook.as_posix())


@register.command("verify")
@click.option("--project", type=FOLDER, default=".", help="Project folder.")
@_told
def register_verify(project: Path) -> None:
    """Check that no record was changed, lost or put in another order."""
    from dealerqm.registers import FILE, Register

    log = Register(project / FILE)
    log.verify()
    click.echo(f"{len(log.log())} records in order")
