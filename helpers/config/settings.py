"""From what the user says to the values of every stage, checked before anything runs.

Later ones win: the defaults in the notebooks, the tier's YAML, the YAML files given
with `-f`, the `-p name=value` on the command line. In a YAML file, `all:` holds values
for every stage that declares the name, and `06_dpo:` those for one stage. `extends: full`
in a tier's file puts that tier's values before its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from helpers.config.constraints import check_across, check_models, check_together
from helpers.config.parameters import Parameter, ParameterError, check, resolve, unknown
from helpers.config.schema import read_schema
from helpers.config.texts import parse_text
from helpers.core.inputs import InputError, quoted, shown
from helpers.core.manifests import finished_parameters
from helpers.core.paths import Project
from helpers.core.yaml_files import Lined, read_yaml

Schemas = Mapping[str, Mapping[str, Parameter]]
Values = dict[str, dict[str, object]]  # stage -> name -> value
EXTENDS = "extends"  # in a tier's file: the name of another


# --- which stages ---------------------------------------------------------------------


def stage_name(text: str, stages: Iterable[str]) -> str:
    """The stage that `06_dpo`, `06` or `dpo` means; ParameterError if there is none."""
    stages = list(stages)
    for stage in stages:
        if text in (stage, *stage.split("_", 1)):
            return stage
    raise unknown(f"stage {text}", text, stages, "a stage")


def select(
    stages: Sequence[str], only: Sequence[str] = (), start: str | None = None
) -> list[str]:
    """The stages to run, in order: those of `only`, or all from `start` on, or all.

    Raises ParameterError for a name that is no stage, or if both are given.
    """
    if only and start:
        raise ParameterError("--only and --from exclude each other: give one of them")
    wanted = {stage_name(text, stages) for text in only} or set(stages)
    first = list(stages).index(stage_name(start, stages)) if start else 0
    return [stage for stage in list(stages)[first:] if stage in wanted]


# --- which values ---------------------------------------------------------------------


def all_values(
    project: Project,
    selected: Sequence[str],
    run_dir: str,
    tier: str = "cpu",
    files: Iterable[Path] = (),
    given: Iterable[str] = (),
    *,
    planned: bool = False,
) -> Values:
    """The values of every selected stage; `given` are texts `name=value`.

    planned: that nothing will run, so that no model has to be there. Raises ParameterError for the first thing that is wrong, before anything runs. What a
    stage must agree on with earlier ones is held against those selected, or against
    those that the run has finished.
    """
    schemas = {stage: read_schema(project.notebook(stage)) for stage in project.stages}
    settings: Values = {stage: {} for stage in schemas}
    for path in tier_files(project, tier):
        merge(settings, from_yaml(path, schemas, tier=True))
    for path in files:
        merge(settings, from_yaml(path, schemas))
    merge(settings, from_texts(given, schemas, selected))
    chosen = {stage: settings[stage] for stage in selected}
    return checked(project, chosen, run_dir, planned=planned)


def checked(
    project: Project, settings: Values, run_dir: str, *, planned: bool = False
) -> Values:
    """Some stages' settings with the defaults of the rest, each held against the rules.

    planned, and ParameterError: as `all_values`.
    """
    values = {
        stage: resolve(
            read_schema(project.notebook(stage)), {**given, "run_dir": run_dir}
        )
        for stage, given in settings.items()
    }
    for stage, own in values.items():
        check_together(stage, own)
    known = finished_parameters(project.root / run_dir, project) | values
    for stage, own in values.items():
        check_across(stage, known)
        if not planned:
            check_models(stage, own)
    return values


def merge(settings: Values, later: Values) -> None:
    """Write later values over earlier ones, in place."""
    for stage, values in later.items():
        settings[stage] |= values


def tier_files(project: Project, tier: str) -> list[Path]:
    """The YAML of a tier, after those of the tiers that it extends.

    None for `cpu`, whose values are the notebooks' defaults. ParameterError for a tier
    that there is not, or one that extends itself.
    """
    files = {path.stem: path for path in project.tiers.glob("*.yaml")}
    found: list[Path] = []
    while tier != "cpu":
        if tier not in files:
            raise unknown(
                f"tier {shown(tier)}", tier, ["cpu", *sorted(files)], "a tier"
            )
        if files[tier] in found:
            raise ParameterError(f"{EXTENDS}: {tier}: got a tier that extends itself")
        found.insert(0, files[tier])
        tier = str(load_yaml(files[tier]).get(EXTENDS, "cpu"))
    return found


def from_yaml(path: Path, schemas: Schemas, *, tier: bool = False) -> Values:
    """The values of a YAML file, checked for every stage that it names.

    tier: whether it is a tier's, which may extend another. Raises ParameterError with the
    line of what is wrong.
    """
    sections = load_yaml(path)
    found: Values = {stage: {} for stage in schemas}
    lines: dict[tuple[str, str], int] = {}
    named = [name for name in sections if not (tier and name == EXTENDS)]
    for section in sorted(named, key=lambda name: name != "all"):
        with located(path, sections.lines[section]):
            stages = schemas if section == "all" else [stage_name(section, schemas)]
        values = sections[section]
        if not isinstance(values, dict):
            with located(path, sections.lines[section]):
                raise ParameterError(
                    f"{section}: got {quoted(values)}, expected name: value lines"
                )
        for name, value in values.items():
            with located(path, values.lines[name]):
                names = {stage: schemas[stage] for stage in stages}
                for stage in declared_by(name, names):
                    found[stage][name] = value
                    lines[stage, name] = values.lines[name]
    for (stage, name), line in lines.items():
        with located(path, line):
            check(schemas[stage][name], found[stage][name])
    return found


@contextmanager
def located(path: Path, line: int) -> Iterator[None]:
    """Put file and line before what a ParameterError says."""
    try:
        yield
    except ParameterError as error:
        where = f"{shown(path.name)}: line {line}"
        raise ParameterError(f"{where}: {error}") from None


def load_yaml(path: Path) -> Lined:
    """The sections of a YAML file; ParameterError, in one line, if it is not one."""
    try:
        content = read_yaml(path)
    except InputError as error:
        raise ParameterError(str(error)) from None
    if content is None:
        return Lined()
    if not isinstance(content, Lined):
        expected = "sections `all:` or the name of a stage"
        raise ParameterError(f"{shown(path)}: line 1: got no {expected}")
    return content


def from_texts(
    texts: Iterable[str], schemas: Schemas, selected: Sequence[str]
) -> Values:
    """The values of `name=value` and `stage.name=value`; the latter win."""
    found: Values = {stage: {} for stage in selected}
    for text in sorted(texts, key=lambda text: "." in text.partition("=")[0]):
        target, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"-p {shown(text)}: got no `=`, expected name=value")
        section, dot, name = target.strip().rpartition(".")
        stages = [stage_name(section, schemas)] if dot else selected
        if dot and stages[0] not in selected:
            raise ParameterError(f"-p {text}: {stages[0]} is not among those to run")
        for stage in declared_by(name, {stage: schemas[stage] for stage in stages}):
            found[stage][name] = parse_text(schemas[stage][name], value)
    return found


def declared_by(name: str, schemas: Schemas) -> list[str]:
    """The stages that declare a parameter; ParameterError if none does."""
    if name == "run_dir":
        raise ParameterError("run_dir: a run has a name, not a path: use --run NAME")
    stages = [stage for stage, schema in schemas.items() if name in schema]
    if stages:
        return stages
    known = {each: None for schema in schemas.values() for each in schema}
    where = ", ".join(schemas) if len(schemas) < 4 else "all stages"
    raise unknown(f"{where}: {name}", name, known, "a parameter there")
