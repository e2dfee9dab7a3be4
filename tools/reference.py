"""Fills in the generated parts of the documentation: `python -m tools.reference`.

A page marks such a part with ``<!-- generated: NAME -->`` and ``<!-- end -->``; NAME is a key of PARTS. The
text between the two is replaced from the code. `tests/docs/test_reference.py` fails when a page is stale.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
from prometheus_client.parser import text_string_to_metric_families

from batchexport import change_stream, export_options, job_run, library, outcome
from batchexport.cli.program import app
from batchexport.dialect import DIALECTS
from batchexport.errors import EXIT_CODES
from batchexport.lists.columns import DESCRIPTIONS, REPORT_DESCRIPTIONS, Column
from batchexport.model import InUse, JobState, TargetKey
from batchexport.observe.events import COMMON_FIELDS, FIELDS
from batchexport.observe.metrics import RunMetrics
from batchexport.report.advice import CODES, advice_on
from batchexport.sandbox.weather import FAULTS
from batchexport.sandbox.weather.presets import SIDES
from batchexport.sandbox.weather.settings import Services
from tools import man

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "batchexport"
_PART = re.compile(r"(<!-- generated: ([a-z -]+) -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)
#: Help sections that many commands share: described once, at the end of the page.
_SHARED = ("Events and metrics", "Output", "Cloud and authentication")
#: Rows whose code says that something is wrong with an image that is there.
_DOUBTFUL = ("deactivated", "server_ran", "server_unseen", "labels_not_set")


def pages() -> list[Path]:
    """Every page of the project, except the changelog."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("docs", "samples", "jobs"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return found


def filled(text: str) -> str:
    """The page with its generated parts up to date. Raises KeyError for a part that nothing generates."""
    return _PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[4]}", text)


def parts_of(text: str) -> list[str]:
    """The names of the generated parts of a page."""
    return [part[2] for part in _PART.finditer(text)]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = tuple(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(each) for each in line)} |\n" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


# --- commands and their options


def _commands(group: click.Group = app, before: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _options(command: click.Command) -> list[click.Option]:
    return [each for each in command.params if isinstance(each, click.Option) and not each.hidden]


def _section(option: click.Option) -> str:
    return str(getattr(option, "section", "Options"))


def _names(option: click.Option) -> str:
    names = [*option.opts, *option.secondary_opts]
    short = sorted(names, key=lambda name: name.startswith("--"))
    kind = ""
    if not option.is_flag and not option.count:
        kind = option.metavar or (
            "\\|".join(option.type.choices)
            if isinstance(option.type, click.Choice)
            else option.type.name.upper()
        )
    return f"`{', '.join(short)}{' ' if kind else ''}{kind}`".replace("\\|", "|")


def _variable(option: click.Option) -> str | None:
    if isinstance(option.envvar, str):
        return option.envvar
    said = re.search(r"\[env var: ([A-Z_]+)\]", option.help or "")
    return said[1] if said else None


def _help(option: click.Option) -> str:
    words = re.sub(r"\s*\[env var: [A-Z_]+\]", "", option.help or "").strip()
    default: Any = option.show_default
    if default is True:
        default = option.default
    return f"{words} Default: {_code(str(default))}." if default else words


def _code(default: str) -> str:
    return default if " " in default else f"`{default}`"


def _option_table(options: Iterable[click.Option]) -> str:
    rows = []
    for option in options:
        variable = _variable(option)
        rows.append([_names(option), _help(option), f"`{variable}`" if variable else ""])
    return table(("option", "meaning", "variable"), rows)


def _text(command: click.Command) -> str:
    words = re.sub(r"\x08\n?", "", re.sub(r"[ \t]*\n[ \t]*", "\n", command.help or "")).strip()
    return _escaped(re.sub(r"(?<!\n)\n(?!\n)", " ", words))


def _escaped(words: str) -> str:
    return words.replace("<", "&lt;").replace("*", "\\*")


def _examples(command: click.Command) -> str:
    _, _, text = (command.epilog or "").partition("Examples:\n")
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != "\b"]
    return "\n```sh\n" + "\n".join(lines) + "\n```\n" if lines else ""


def _command_list() -> str:
    rows = []
    for name, command in _commands():
        first = re.split(r"(?<=\.)\s", _text(command))[0]
        rows.append([f"[`{name}`](#{_anchor(name)})", first])
    return table(("command", "what it does"), rows)


def _anchor(title: str) -> str:
    return title.replace(" ", "-").lower()


def _command_pages() -> str:
    text = []
    everything = _shared_options()
    for name, command in _commands():
        usage = command.collect_usage_pieces(man.context_of(command, name))
        text.append(f"## {name}\n\n`batchexport {name} {' '.join(usage)}`\n\n{_text(command)}\n")
        by_section: dict[str, list[click.Option]] = {}
        for option in _options(command):
            by_section.setdefault(_section(option), []).append(option)
        for section, options in by_section.items():
            if section not in _SHARED:
                head = "" if section == "Options" else f"**{section}**\n\n"
                text.append(f"\n{head}{_option_table(options)}")
        shared = [
            _which(section, by_section[section], everything[section])
            for section in _SHARED
            if section in by_section
        ]
        if shared:
            text.append(f"\nAlso takes {'; '.join(shared)}.\n")
        text.append(_examples(command) + "\n")
    return "".join(text)


def _which(section: str, options: list[click.Option], everything: list[click.Option]) -> str:
    link = f"[{section.lower()}](#{_anchor(section)})"
    have = {option.name for option in options}
    missing = [option for option in everything if option.name not in have]
    if not missing:
        return link
    if len(missing) <= len(options):
        return f"{link} except {', '.join(_long(option) for option in missing)}"
    return f"{link}: {', '.join(_long(option) for option in options)}"


def _long(option: click.Option) -> str:
    return f"`{next(name for name in option.opts if name.startswith('--'))}`"


def _shared_options() -> dict[str, list[click.Option]]:
    found: dict[str, dict[str, click.Option]] = {section: {} for section in _SHARED}
    for _, command in _commands():
        for option in _options(command):
            if (section := _section(option)) in found:
                found[section].setdefault(option.opts[-1], option)
    return {section: list(options.values()) for section, options in found.items()}


def _shared_pages() -> str:
    return "".join(
        f"## {section}\n\n{_option_table(options)}\n"
        for section, options in _shared_options().items()
        if options
    )


def _variables() -> str:
    found: dict[str, tuple[click.Option, list[str]]] = {}
    for name, command in [("", app), *_commands()]:
        for option in _options(command):
            if (variable := _variable(option)) is not None:
                found.setdefault(variable, (option, []))[1].append(name)
    everywhere = len(list(_commands()))
    rows = []
    for variable, (option, commands) in sorted(found.items()):
        of = [name for name in commands if name]
        where = ", ".join(f"`{each}`" for each in of) if len(of) <= 4 else f"{len(of)} commands"
        rows.append([f"`{variable}`", _long(option), "all commands" if len(of) == everywhere else where])
    return table(("variable", "option", "read by"), rows)


# --- files that people write


def _columns() -> str:
    values = {
        Column.VOLUME_ID: "UUID",
        Column.DISK_FORMAT: _per_dialect(lambda dialect: dialect.disk_formats),
        Column.CONTAINER_FORMAT: _of_schema("image", "container_format"),
        Column.FORCE: "`true`, `false`",
        Column.IN_USE: _words(InUse),
        Column.OS_TYPE: _of_schema("image", "os_type"),
        Column.VISIBILITY: _of_schema("image", "visibility"),
        Column.PROTECTED: "`true`, `false`",
        Column.TIMEOUT: "duration",
        Column.DELIVER: "destinations, `none`",
    }
    return table(
        ("column", "values", "meaning"),
        ([f"`{column}`", values.get(column, "text"), DESCRIPTIONS[column]] for column in Column),
    )


def _per_dialect(of: Callable[[Any], Iterable[str]]) -> str:
    return "; ".join(f"{name.value}: {_words(of(dialect))}" for name, dialect in DIALECTS.items())


def _words(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _report_columns() -> str:
    return table(("column", "meaning"), ([f"`{name}`", words] for name, words in REPORT_DESCRIPTIONS.items()))


def _schema() -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads((ROOT / "jobs" / "job.schema.json").read_text(encoding="utf-8"))
    return schema


def _of_schema(section: str, key: str) -> str:
    return _words(_schema()["properties"][section]["properties"][key]["enum"])


def _job_file() -> str:
    schema = _schema()
    text = []
    for name, section in schema["properties"].items():
        heading = f"[[{name}]]" if section["type"] == "array" else f"[{name}]"
        text.append(f"## {heading}\n\n{section['description']}\n\n")
        section = section.get("items", section)
        needed = section.get("required", ())
        rows = (
            [f"`{key}`" + (" (required)" if key in needed else ""), _values(value, schema), _about(value)]
            for key, value in section["properties"].items()
        )
        text.append(table(("key", "value", "meaning"), rows) + "\n")
    return "".join(text)


def _about(value: Mapping[str, Any]) -> str:
    words: str = value["description"]
    if "default" in value:
        words += f" Default: {_code_json(value['default'])}."
    return words


def _code_json(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _values(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(_code_json(each) for each in value["enum"])
    if reference := value.get("$ref"):
        name = reference.rpartition("/")[2]
        known = {"duration": "duration", "time_zone": "IANA time zone", "address": "URL or `${VARIABLE}`"}
        if name in known:
            return known[name]
        return _values(schema["definitions"][name], schema)
    if either := value.get("anyOf"):
        return " or ".join(dict.fromkeys(_values(each, schema) for each in either))
    if value.get("type") == "array":
        return f"array of {_values(value['items'], schema)}"
    plain = {
        "string": "text",
        "integer": "integer",
        "number": "number",
        "boolean": "`true`, `false`",
        "object": "table",
    }
    words = plain[value["type"]]
    if "examples" in value:
        words += f", e.g. {_code_json(value['examples'][0])}"
    return f"{words} ≥ {value['minimum']}" if "minimum" in value else words


# --- what a run tells


def _exit_codes() -> str:
    return table(
        ("code", "meaning", "what to do"),
        (
            [code, each.meaning[:1].upper() + each.meaning[1:] + ".", each.remedy]
            for code, each in EXIT_CODES.items()
        ),
    )


def _reason_codes() -> str:
    rows = []
    for code, words in CODES.items():
        state = JobState.SUCCEEDED if code in _DOUBTFUL else JobState.FAILED
        rows.append([f"`{code}`", words, _advice(code, state)])
    return table(("code", "meaning", "what to do"), rows)


def _advice(code: str, state: JobState) -> str:
    if code == "ambiguous":
        state = JobState.AMBIGUOUS
    if code in ("not_listed", "exported_elsewhere"):
        state = JobState.SKIPPED
    return advice_on(state, code=code, status=None, words="")


def _events() -> str:
    text = ["**Every event**\n\n" + _fields(COMMON_FIELDS)]
    for event, (words, fields) in FIELDS.items():
        text.append(f"\n## {event.value}\n\n{words}\n\n{_fields(fields)}")
    return "".join(text)


def _fields(fields: Mapping[str, str]) -> str:
    return table(("field", "meaning"), ([f"`{name}`", words] for name, words in fields.items()))


def _metrics() -> str:
    rows = []
    for family in text_string_to_metric_families(all_metrics()):
        sample = family.samples[0]
        name = sample.name if family.type == "counter" else family.name
        rows.append([f"`{name}`", family.type, _words(sample.labels), f"{family.documentation}."])
    return table(("metric", "type", "labels", "meaning"), sorted(rows))


def all_metrics() -> str:
    """The exposition of a run that has every metric."""
    tally = SimpleNamespace(target=TargetKey(), state=JobState.SUCCEEDED, jobs=1, gib=1)
    traffic = SimpleNamespace(by_status={202: 1}, throttled=0)
    cloud = SimpleNamespace(requests_per_second=5.0, traffic=traffic)
    now: Any = SimpleNamespace(
        tallies=[tally], servers_down=0, copies=0, stalled=0, identities={}, deliveries={}
    )
    metrics = RunMetrics(lambda: now, {TargetKey(): cloud}, last_success_at=1.0)
    run: Any = SimpleNamespace(run_id="run", list_name="list")
    metrics.begin(run)
    metrics.end(0)
    return metrics.text()


# --- the library


def _library() -> str:
    return "".join(map(_public, (library, export_options, outcome, change_stream, job_run)))


def _public(module: ModuleType) -> str:
    source = Path(module.__file__ or "").read_text(encoding="utf-8")
    text = []
    for node in ast.parse(source).body:
        if getattr(node, "name", None) not in module.__all__:
            continue
        words = _markdown(ast.get_docstring(node) or "")  # type: ignore[arg-type]
        if isinstance(node, ast.ClassDef):
            text.append(f"## {node.name}\n\n{words}\n\n{_fields_of(node, source.splitlines())}\n")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            text.append(f"## {node.name}\n\n```python\n{_signature(node)}\n```\n\n{words}\n\n")
    return "".join(text)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    is_async = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    returns = ast.unparse(node.returns) if node.returns else "None"
    return f"{is_async}def {node.name}({ast.unparse(node.args)}) -> {returns}"


def _fields_of(node: ast.ClassDef, lines: list[str]) -> str:
    rows = []
    for each in node.body:
        if isinstance(each, ast.AnnAssign):
            _, _, words = lines[each.lineno - 1].partition("#: ")
            rows.append(
                [f"`{ast.unparse(each.target)}`", f"`{ast.unparse(each.annotation)}`", _escaped(words)]
            )
        elif isinstance(each, ast.FunctionDef):
            rows.append(
                [f"`{each.name}`", f"`{ast.unparse(each.returns or each)}`", ast.get_docstring(each) or ""]
            )
    return table(("name", "type", "meaning"), rows)


def _markdown(words: str) -> str:
    return re.sub(r"(?<!\n)\n(?!\n)", " ", words.replace("``", "`"))


# --- the modules


def _layers() -> str:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each for each in contracts if each.get("containers") == ["batchexport"])["layers"]
    rows = []
    for layer in layers:
        for name in layer.split(" | "):
            path = PACKAGE / name
            shown = f"{name}/" if path.is_dir() else name
            source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            rows.append(["" if name != layer.split(" | ")[0] else "▸", f"`{shown}`", _first_sentence(source)])
    return table(("", "module", "what it is for"), rows)


def _modules() -> str:
    text = []
    folders = sorted({path.parent for path in PACKAGE.rglob("*.py")})
    for folder in folders:
        rows = [
            [f"`{path.stem}`", _first_sentence(path)]
            for path in sorted(folder.glob("*.py"))
            if _first_sentence(path)
        ]
        name = "/".join(("batchexport", *folder.relative_to(PACKAGE).parts))
        text.append(f"## {name}\n\n{table(('module', 'what it is for'), rows)}\n")
    return "".join(text)


def _first_sentence(path: Path) -> str:
    words = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    return _escaped(re.split(r"(?<=[.!])\s", words)[0].replace("``", "`"))


# --- the sandbox's weather


def _faults() -> str:
    rows = (
        [f"`{name}`", (fault.__doc__ or "").splitlines()[0], ", ".join(_keys(fault))]
        for name, fault in FAULTS.items()
    )
    return table(("fault", "what happens", "keys and defaults"), rows)


def _more_weather() -> str:
    rows = []
    for name, weather in SIDES.items():
        for fault in (each for each in FAULTS if getattr(weather, each) is not None):
            value, plain = getattr(weather, fault), FAULTS[fault]()
            keys = [key for key in value.__struct_fields__ if getattr(value, key) != getattr(plain, key)]
            rows.append(
                [
                    f"`{name}`",
                    f"`{fault}` with `{', '.join(f'{key} = {_toml(getattr(value, key))}' for key in keys)}`",
                ]
            )
    return table(("name", "what it sets"), rows)


def _keys(fault: type[Any]) -> Iterator[str]:
    hints, plain = get_type_hints(fault), fault()
    for key in plain.__struct_fields__:
        yield f"`{key} = {_toml(getattr(plain, key))}`{_allowed(hints[key])}"


def _allowed(hint: Any) -> str:
    if hint == Services:  # the page says which there are
        return ""
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    if get_origin(hint) is not Literal:
        return ""
    return f" ({' or '.join(map(_toml, get_args(hint)))})"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return (
        f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    )


#: What can be generated, by the name that a page uses.
PARTS: Mapping[str, Callable[[], str]] = {
    "commands": _command_list,
    "options": _command_pages,
    "shared options": _shared_pages,
    "variables": _variables,
    "columns": _columns,
    "report columns": _report_columns,
    "job file": _job_file,
    "exit codes": _exit_codes,
    "reason codes": _reason_codes,
    "events": _events,
    "metrics": _metrics,
    "library": _library,
    "layers": _layers,
    "modules": _modules,
    "faults": _faults,
    "more weather": _more_weather,
}


def main() -> None:
    """Rewrite every page that is stale, and name it."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"updated {page.relative_to(ROOT)}")
    man.main(ROOT / "share")


if __name__ == "__main__":
    main()
