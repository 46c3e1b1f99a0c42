"""The documentation builds as a site without a warning and asks no other server for anything."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        try:
            missing = find_spec(package) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            pytest.skip(f"{package} is not installed: pip install mpiqe[docs]")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_strictly_and_has_every_command_and_public_name(site: Path) -> None:
    import mpiqe

    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in ("score", "explain", "train", "reproduce", "data-check"):
        assert f'id="mpiqe-{name}"' in commands
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in set(mpiqe.__all__) - {"__version__"}:
        assert f'id="mpiqe.{name}"' in python, f"docs/reference/python.md does not show mpiqe.{name}"


@pytest.mark.slow
def test_no_page_of_the_site_loads_anything_from_another_server(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*https?://", text), page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:|@import", sheet.read_text(encoding="utf-8")), sheet


def test_links_between_files_of_the_repository_lead_somewhere() -> None:
    broken = []
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in LINK.findall(text):
            generated = target.endswith("commands.md")  # tools/docs_commands.py writes it while the site is built
            if not re.match(r"[a-z]+:", target) and not generated and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def test_every_file_that_a_page_includes_is_there() -> None:
    """A formatter of code once tore the marks of an include apart; the page then showed them."""
    for page in (ROOT / "docs").rglob("*.md"):
        for line in page.read_text(encoding="utf-8").splitlines():
            if "--8" in line:
                included = re.fullmatch(r'--8<-- "([^":]+)(?::\w+)?"', line)
                assert included, f"{page}: {line}"
                assert (ROOT / included[1]).is_file(), f"{page}: {line}"


def test_the_version_is_stated_once() -> None:
    (version,) = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    stated = [
        str(file.relative_to(ROOT))
        for file in (*ROOT.glob("src/**/*.py"), ROOT / "CITATION.cff")
        if re.search(rf"(?i)version\b.*[\"']?{re.escape(version)}\b", file.read_text(encoding="utf-8"))
    ]
    assert not stated
