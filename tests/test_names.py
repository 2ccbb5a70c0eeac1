"""What documents, docstrings and comments name exists: files, names in the code, options, targets of make."""

import ast
import re
from functools import cache
from pathlib import Path

from test_house import ROOT, name, product_files, python_files

DOCUMENTS = sorted([ROOT / "README.md", ROOT / "wheels" / "README.md", *(ROOT / "docs").glob("*.md"),
                    *(ROOT / "benchmarks").glob("*/README.md")])
FOREIGN = {
    # Blender's and Python's
    "ActionChannelbag", "try",
    # other programs', their options and variables
    "PIP_INDEX_URL", "pip.conf", "torchrun", "--nproc-per-node", "--extra-index-url", "--torch-backend", "--basetemp",
    "--python-expr", "py311", "py313", "cu126",
    # what stands for a name
    "weight_NAME", "chainN_K", "PLATFORM-pyVERSION.txt", "X.png", "X_mask.png",
    # bones, points and files of results and of users
    "chain2_1.L", "chain2_1.R", "Leg_L", "leftLeg", "rightLeg", "right_leg", "model.safetensors", "000000.png",
    "000105.png", "clip.0001.v2.png", "f_0001_854x480.png", "results.jsonl",
    # clips of the benchmark
    "blackswan", "camel", "flamingo", "fox_run", "fox_walk",
}
"""Names that are not the project's own."""
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
FILE = re.compile(r"[\w./-]*[\w-]\.(py|md|toml|txt|json|jsonl|npz|png|jpg|mp4|safetensors|blend|lock|pth|conf)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


@cache
def paths():
    """Every file and folder of the repository, by each ending of its path."""
    made = {"build", "dist", "demo_out", "__pycache__"}
    tops = [top for top in ROOT.iterdir() if top.name not in made and (top.name == ".ci" or top.name[0] != ".")]
    found = [path for top in tops for path in (top, *top.rglob("*"))]
    parts = [part for path in found if not made & set(part := path.relative_to(ROOT).parts)]
    return {"/".join(part[start:]) for part in parts for start in range(len(part))}


def exists(path):
    return re.sub(r"^(\.{1,3}/)+", "", path).rstrip("/") in paths()


@cache
def nodes_of(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@cache
def docstrings_of(path):
    """Texts that stand alone: docstrings, also those below a constant or a field."""
    return {id(node.value): node.value.value for node in nodes_of(path) if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)}


@cache
def names_in(path):
    """Names that a file defines or uses, and those that its texts without a blank are made of."""
    names, docstrings = {path.stem}, docstrings_of(path)
    for node in nodes_of(path):
        for field in ("id", "attr", "arg", "name", "module", "asname"):
            if isinstance(value := getattr(node, field, None), str):
                names |= {value, *value.split(".")}
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings \
                and not re.search(r"\s", node.value):
            names |= {node.value, *re.findall(r"[\w-]+", node.value), *re.findall(r"\w+\.\w+", node.value)}
    return names


@cache
def names_of_code(tests=False):
    """Those of the whole project; of the product alone where documents speak."""
    files = [path for path in python_files() if tests or not path.is_relative_to(ROOT / "tests")]
    return set().union(*map(names_in, files)) | {path.name for path in ROOT.iterdir()} | FOREIGN


def missing(span, names):
    """What a span in back-ticks names that is not there."""
    options = {option for option in OPTION.findall(span) if option not in names}
    if re.fullmatch(r"make [a-z-]+", span):
        made = re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return {span} - {f"make {target}" for target in made}
    if FILE.fullmatch(span):
        return set() if exists(span) or span in names or Path(span).name in FOREIGN else {span}
    if NAME.fullmatch(span):
        return {span} if set(span.removesuffix("()").split(".")) - names and span not in names else set()
    return options | {file[0] for file in re.finditer(FILE, span) if file[1] in ("py", "md") and not exists(file[0])}


def named_in(text):
    """Spans in back-ticks, and file names of code and documents without them."""
    return {*SPAN.findall(text), *(file[0] for file in re.finditer(FILE, text) if file[1] in ("py", "md"))}


def faults(texts, names):
    """{where: what is named there and does not exist} of pairs (where, text)."""
    found = {}
    for where, text in texts:
        if lacking := set().union(*(missing(span, names) for span in named_in(text))):
            found.setdefault(where, set()).update(lacking)
    return found


def test_what_documents_name_exists():
    assert not faults([(name(path), path.read_text(encoding="utf-8")) for path in DOCUMENTS], names_of_code())


def test_options_in_documents_exist():
    found = {name(path): set(OPTION.findall(path.read_text(encoding="utf-8"))) - names_of_code() for path in DOCUMENTS}
    assert not {path: options for path, options in found.items() if options}


def test_words_in_json_of_documents_are_those_of_files():
    """Keys and values of samples of files, stages among them, where they could be names in code."""
    words = {word for path in DOCUMENTS for sample in re.findall(r"```json\n(.*?)```", path.read_text("utf-8"), re.S)
             for word in re.findall(r'"([a-z_]+)"', sample)}
    backend = set()
    for path in product_files():
        for node in nodes_of(path) if "vmr_backend" in path.parts else ():
            backend.add(node.value if isinstance(node, ast.Constant) else getattr(node, "arg", None))
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                backend.add(node.target.id)
    assert words and not words - backend


def test_what_docstrings_and_comments_name_exists():
    found = {}
    for path in python_files():
        comments = re.findall(r"(?:^|\s)#\s.*", path.read_text(encoding="utf-8"))
        texts = [(name(path), text) for text in (*docstrings_of(path).values(), *comments)]
        found |= faults(texts, names_of_code(tests=path.is_relative_to(ROOT / "tests")))
    assert not found


def test_no_two_classes_of_the_product_share_a_name():
    classes = {}
    for path in product_files():
        for node in nodes_of(path)[0].body:
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(name(path))
    doubled = {title: files for title, files in classes.items() if len(files) > 1}
    assert not doubled, doubled
