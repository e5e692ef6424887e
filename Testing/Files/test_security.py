"""Nothing in the source can run what a file says; templates and settings hold data only; dependencies are bounded."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.restoration_training.config import read_restoration_config
from ReShapeITLib.templates.template import OrganTemplate
from ReShapeITLib.training.config import read_config
from Testing.Studies.evaluation.study import read_study
from Testing.untrained import untrained_template

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("ReShapeITLib", "ReShapeIT")
_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "imp"}
_BUILTINS = {"eval", "exec", "compile", "__import__", "execfile"}
# Calls by the last two words of their names; torch.load unpickles whatever its options say in older releases.
_CALLS = {
    "torch.load",
    "torch.save",
    "hub.load",
    "jit.load",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "os.popen",
    "os.startfile",
    "pandas.read_pickle",
    "pd.read_pickle",
    "runpy.run_path",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
    "ssl._create_unverified_context",
    "tempfile.mktemp",
    "shutil.unpack_archive",
}
_METHODS = {"extractall", "read_pickle", "to_pickle"}
_NUMPY = {"np", "numpy"}
_RUNS = {"run", "Popen", "call", "check_call", "check_output"}
_NETWORK = {"urllib.request", "requests", "httpx", "aiohttp", "ftplib", "socketserver", "telnetlib", "smtplib"}
_MAY_USE_NETWORK = {"ReShapeITLib/io/download.py"}


def dangers(source: str, may_use_network: bool = False) -> list[str]:
    """What in a program could run what a file or a user says, or ask the network; each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        told = _imported(node, may_use_network) if isinstance(node, ast.Import | ast.ImportFrom) else None
        told = told or (_called(node) if isinstance(node, ast.Call) else None)
        if told:
            found.append(f"line {node.lineno}: {told}")
    return found


def _imported(node, may_use_network: bool) -> str | None:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
    for name in names:
        if name.split(".")[0] in _MODULES or (
            not may_use_network and any((name + ".").startswith(n + ".") for n in _NETWORK)
        ):
            return f"import of {name}"
    return None


def _called(node: ast.Call) -> str | None:
    if isinstance(node.func, ast.Name):
        return f"{node.func.id}()" if node.func.id in _BUILTINS else None
    if not isinstance(node.func, ast.Attribute):
        return None
    owner = node.func.value
    owner_name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
    name, options = f"{owner_name}.{node.func.attr}", {k.arg: k.value for k in node.keywords}
    if name in _CALLS or node.func.attr in _METHODS or (owner_name == "builtins" and node.func.attr in _BUILTINS):
        return f"{name}()"
    if owner_name in _NUMPY and node.func.attr in ("load", "save") and not _is_false(options.get("allow_pickle")):
        return f"{name}() without allow_pickle=False"
    if "shell" in options and not _is_false(options["shell"]):
        return f"{name}() with a shell"
    if (
        owner_name == "subprocess"
        and node.func.attr in _RUNS
        and isinstance(_first(node), ast.Constant | ast.JoinedStr)
    ):
        return f"{name}() with a command as one text"
    return None


def _first(node: ast.Call):
    return node.args[0] if node.args else None


def _is_false(node) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def sources() -> list[Path]:
    """All Python files that users get."""
    return sorted(path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "program",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib as j",
        "from cloudpickle import dumps",
        "eval(x)",
        "exec(open(f).read())",
        "compile(x, '', 'eval')",
        "__import__(name)",
        "import builtins; builtins.eval(x)",
        "torch.load(f)",
        "torch.load(f, weights_only=True)",
        "torch.hub.load(a, b)",
        "yaml.load(f, Loader=L)",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "numpy.load(f, allow_pickle=flag)",
        "os.system('ls')",
        "frame.to_pickle(f)",
        "subprocess.run(command, shell=True)",
        "subprocess.Popen(c, shell=flag)",
        "subprocess.run(f'ls {x}')",
        "subprocess.check_output('ls')",
        "archive.extractall(folder)",
        "import requests",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import urllib.request",
        "ssl._create_unverified_context()",
    ],
)
def test_the_search_finds_what_it_is_for(program):
    assert dangers(program)


@pytest.mark.parametrize(
    "program",
    [
        "model.eval()",
        "np.load(f, allow_pickle=False)",
        "yaml.safe_load(f)",
        "subprocess.run([a, b])",
        "re.compile(x)",
        "json.load(f)",
        "import urllib.parse",
        "subprocess.run(command, shell=False)",
    ],
)
def test_the_search_leaves_alone_what_is_safe(program):
    assert not dangers(program)


def test_no_shipped_program_can_run_what_a_file_says():
    assert len(sources()) > 100
    found = {}
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        told = dangers(path.read_text(encoding="utf-8"), name in _MAY_USE_NETWORK)
        if told:
            found[name] = told
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "preset: !!python/object/apply:os.system ['touch {mark}']",
        "organs: !!python/object/new:os.system ['touch {mark}']",
        "organ: !!python/name:os.system",
        "? !!python/object/apply:os.system ['touch {mark}']\n: 1",
    ],
)
@pytest.mark.parametrize("read", [read_config, read_study, read_restoration_config])
def test_settings_run_nothing(tmp_path, read, text):
    mark = tmp_path / "mark"
    (tmp_path / "config.yaml").write_text(text.format(mark=mark))
    with pytest.raises(BadInputError, match=r"config\.yaml"):
        read(tmp_path / "config.yaml")
    assert not mark.exists()


@pytest.mark.parametrize("read", [read_config, read_study, read_restoration_config])
@pytest.mark.parametrize(
    "last", ["preset: *a59", "organ: *a59", "organs: *a59", "model: &m [*m]", "preset: &m {a: *m}"]
)
def test_settings_that_refer_to_themselves_a_billion_times_are_refused(tmp_path, read, last):
    levels = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    (tmp_path / "config.yaml").write_text("\n".join([*levels, last]))
    with pytest.raises(BadInputError, match="repeats itself") as told:
        read(tmp_path / "config.yaml")
    assert len(str(told.value)) < 1000


def test_a_template_altered_in_one_number_is_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "t.safetensors"
    untrained_template().save(path)
    OrganTemplate.load(path)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    tensors["alpha"][0, 0] += 0.5
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(BadInputError, match="does not match its checksum"):
        OrganTemplate.load(path)


def test_every_shipped_template_and_network_has_the_checksum_it_says():
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.restoration.store import networks_in

    for path in (ROOT / "Resources" / "Templates").glob("*.safetensors"):
        OrganTemplate.load(path)
    for path in (ROOT / "Resources" / "Restoration").glob("*.safetensors"):
        for network in networks_in(path):
            RestorationModel.load(network)


def test_every_dependency_is_bounded_on_both_sides_and_pinned_within_its_bounds():
    requirements = pytest.importorskip("packaging.requirements", reason="requirements are read with packaging")
    tomllib = pytest.importorskip("tomllib", reason="pyproject.toml is read with tomllib, of Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(t for extra in project["optional-dependencies"].values() for t in extra)]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {}
    for line in lines:
        if line and not line.startswith("#"):
            pin = requirements.Requirement(line)
            pins[pin.name.lower()] = re.fullmatch(r"==(.+)", str(pin.specifier)).group(1)
    for text in texts:
        wanted = requirements.Requirement(text)
        operators = {bound.operator for bound in wanted.specifier}
        assert {">=", "<"} <= operators, text
        if wanted.marker is None or wanted.marker.evaluate():
            assert wanted.specifier.contains(pins[wanted.name.lower()]), text


def test_settings_of_shipped_templates_are_plain_json():
    from ReShapeITLib.templates.template import read_info

    for path in (ROOT / "Resources" / "Templates").glob("*.safetensors"):
        info, _, sha256 = read_info(path)
        assert json.loads(json.dumps(info.training)) == info.training and re.fullmatch(r"[0-9a-f]{64}", sha256)
