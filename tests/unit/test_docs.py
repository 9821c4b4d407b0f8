"""The documents say what is so: links resolve, the example runs as far as it can be checked, tables equal the code."""

from __future__ import annotations

import ast
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sapience
import typer.main

from services.cli.main import app
from services.runtime.settings import table

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
OPERATIONS = ROOT / "docs" / "operations.md"
PACKAGES = ("core", "memory", "perception", "cognition", "services", "client/sapience")
STATUSES = {
    "InvalidArgument": "INVALID_ARGUMENT",
    "NotFound": "NOT_FOUND",
    "AlreadyExists": "ALREADY_EXISTS",
    "FailedPrecondition": "FAILED_PRECONDITION",
    "PermissionDenied": "PERMISSION_DENIED",
    "Unauthenticated": "UNAUTHENTICATED",
    "ResourceExhausted": "RESOURCE_EXHAUSTED",
    "Unavailable": "UNAVAILABLE",
    "NotYet": "UNIMPLEMENTED",
    "DeadlineExceeded": "DEADLINE_EXCEEDED",
}

# A path of somebody's machine: it means nothing to anyone else. Those of containers (/data, /cache, /run) are ours.
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:home|root|Users|work|tmp|var|mnt|srv)/[\w.-]+")


def documents() -> list[Path]:
    """Every Markdown file, but those in hidden folders: environments and caches."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder) / name for name in sorted(names) if name.endswith(".md")]
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#{1,6} +(.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.casefold()).replace(" ", "-") for heading in headings}


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table, without the marks of code."""
    for line in text.splitlines():
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip()[1:-1])
            yield [cell.strip().replace("\\|", "|") for cell in cells]


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_names_a_path_of_a_machine(page: Path) -> None:
    # In code an example may write to /tmp; a transcript may not show where it was made.
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if MACHINE_PATH.search(line)] == []


@pytest.mark.parametrize("page", [README, ROOT / "client" / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_python_examples_compile_and_use_public_names(page: Path) -> None:
    examples = blocks(page, "python")
    assert examples
    public = set(sapience.__all__)
    for example in examples:
        tree = ast.parse(example)
        compile(tree, str(page), "exec")
        used = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sapience"
        }
        assert used <= public
        methods = {
            node.func.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "mind"
        }
        assert methods <= set(dir(sapience.Client))


@pytest.mark.parametrize("page", documents(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(sapience [^`]+)`", without_code(text))
    shell = [line for block in blocks(page, "(?:bash|console|text)") for line in block.splitlines()]
    typed = [command for line in shell for command in re.findall(r"(?:^|\$ |&& )(sapience .*)", line)]
    for written in [*inline, *typed]:
        _check_command(re.split(r"&&|#", written)[0].split())


def _check_command(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        commands = getattr(command, "commands", None)  # of a group; typer brings its own copy of click's classes
        if commands is not None:
            assert word in commands, f"{' '.join(words)}: there is no command {word!r}"
            command = commands[word]
        elif word.startswith("--"):
            options = {option for parameter in command.params for option in parameter.opts}
            assert word.partition("=")[0] in options | {"--help"}, f"{' '.join(words)}: there is no option {word}"


def test_the_settings_table_equals_the_code() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    part = text.partition("<!-- settings: begin -->")[2].partition("<!-- settings: end -->")[0]
    written = [tuple(cell.strip("`") if place < 2 else cell for place, cell in enumerate(row)) for row in rows(part)]
    assert written[2:] == table(), "run `python scripts/settings-table`"


def test_the_error_reasons_table_equals_the_code() -> None:
    raised = reasons_in_the_code()
    text = OPERATIONS.read_text(encoding="utf-8").partition("\n## Errors\n")[2].partition("\n## ")[0]
    written = {row[0].strip("`"): row[1] for row in rows(text) if re.fullmatch(r"`[A-Z_]+`", row[0])}
    assert sorted(written) == sorted(raised)
    for reason, statuses in raised.items():
        assert statuses <= set(written[reason].split(", ")), f"{reason} is {', '.join(sorted(statuses))}"


def reasons_in_the_code() -> dict[str, set[str]]:
    """Every reason that is written out, with the statuses of the classes it is raised with, as far as they show."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        if "v1" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                kind = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                for keyword in node.keywords:
                    if keyword.arg == "reason":
                        for reason in _texts(keyword.value):
                            found[reason] |= {STATUSES[kind]} if kind in STATUSES else set()
            elif isinstance(node, ast.ClassDef):
                for reason in _defaults(node):
                    found[reason] |= {STATUSES[node.name]} if node.name in STATUSES else set()
    return found


def _defaults(kind: ast.ClassDef) -> Iterator[str]:
    """The reasons that a class of errors has unless told otherwise."""
    for method in kind.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            for argument, default in zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True):
                if argument.arg == "reason" and default is not None:
                    yield from _texts(default)


def _texts(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            yield node.value


def test_the_readme_names_every_rpc() -> None:
    readme = README.read_text(encoding="utf-8")
    table_text = readme.partition("## What works")[2].partition("\n## ")[0]
    for proto in sorted((ROOT / "protos" / "sapience" / "v1").glob("*.proto")):
        rpcs = re.findall(r"^\s*rpc (\w+)\(", proto.read_text(encoding="utf-8"), re.MULTILINE)
        missing = [rpc for rpc in rpcs if not re.search(rf"\b{rpc}\b", table_text)]
        assert not missing, f"{proto.name}: {missing}"
