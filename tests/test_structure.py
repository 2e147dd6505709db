"""The house rules, as tests: budgets, which room may import which, options that are read, imports that cannot break."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "neus_ns"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_FILE_LINES, MAX_FUNCTION_LINES = 400, 60

# What each room may import of the others; methods and cli sit on top and may import anything.
ALLOWED = {
    "errors": set(),
    "places": {"errors"},
    "kernels": {"errors"},
    "losses": {"errors"},
    "rendering": {"kernels", "errors"},
    "rays": {"kernels", "rendering", "errors"},
    "fields": {"kernels", "data", "errors"},
    "data": {"errors", "pixels"},
    "pixels": {"data", "errors"},
    "surface": {"data", "kernels", "places", "errors"},
    "evaluation": {"data", "surface", "errors"},
    "training": {"errors"},
    "models": {
        "data", "pixels", "rays", "fields", "kernels", "rendering", "losses", "surface", "evaluation", "training",
        "errors",
    },
}  # fmt: skip
# Where nerfstudio itself may be imported: its border, and where a class must subclass one of its own.
NERFSTUDIO_ROOMS = {"data", "models", "training", "methods", "cli", "pixels"}
NERFSTUDIO_FILES = {"fields/surface_field.py"}
# Options that we only give another default or sentence; nerfstudio itself reads them.
READ_BY_NERFSTUDIO = {"eval_num_rays_per_chunk", "steps_per_save", "viewer"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_files_and_functions_keep_their_budget():
    over = []
    for path in FILES:
        text = path.read_text()
        if text.count("\n") > MAX_FILE_LINES:
            over.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    over.append(f"{path.name}:{node.name}: {length} lines")
    assert not over, over


def test_arrows_between_rooms_point_one_way():
    wrong = []
    for path in FILES:
        room = room_of(path)
        if room not in ALLOWED:
            continue
        for name in imports_of(ast.parse(path.read_text())):
            if name.startswith("neus_ns."):
                other = name.split(".")[1]
                if other != room and other not in ALLOWED[room]:
                    wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong, wrong


def test_nerfstudio_is_imported_only_at_its_border():
    wrong = []
    for path in FILES:
        at_border = room_of(path) in NERFSTUDIO_ROOMS or str(path.relative_to(PACKAGE)) in NERFSTUDIO_FILES
        packages = {name.split(".")[0] for name in imports_of(ast.parse(path.read_text()))}
        if not at_border and "nerfstudio" in packages:
            wrong.append(str(path.relative_to(PACKAGE)))
    assert not wrong, wrong


def config_fields() -> list[tuple[str, str]]:
    fields = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith(("Config", "Options", "Weights", "Schedule")):
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        if not item.target.id.startswith("_") and "Suppress" not in ast.unparse(item.annotation):
                            fields.append((node.name, item.target.id))
    return fields


def test_every_option_is_read_somewhere():
    text = "\n".join(path.read_text() for path in FILES)
    fields = [(owner, name) for owner, name in config_fields() if name not in READ_BY_NERFSTUDIO]
    unread = [f"{owner}.{name}" for owner, name in fields if not re.search(rf"\.{name}\b", text)]
    assert fields and not unread, unread


def test_no_unfinished_business():
    found = []
    for path in FILES:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line):
                found.append(f"{path.name}:{number}")
    assert not found, found


def test_links_between_documents_lead_somewhere():
    documents = [ROOT / "README.md", *(ROOT / "tests" / "benchmarks").rglob("*.md")]
    links = [(page, link) for page in documents for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())]
    assert len(links) > 10
    for page, link in links:
        place, _, section = link.partition("#")
        if "://" in place:
            continue
        target = page if not place else page.parent / place
        assert target.exists(), f"{page.name}: {link}"
        if section:
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert section in anchors, f"{page.name}: {link}"


def test_the_plugin_imports_without_optional_parts():
    """nerfstudio loads every plugin unguarded: one that fails to import breaks everyone's ns-train."""
    code = (
        "import sys\n"
        "for name in ('tinycudann', 'warp', 'open3d', 'pymeshlab', 'xatlas'):\n"
        "    sys.modules[name] = None\n"
        "import neus_ns.methods\n"
        "assert neus_ns.methods.neus_hash.config.method_name == 'neus-hash'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
