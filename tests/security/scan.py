"""Finds calls and imports in source code that can run what a file from elsewhere holds."""

import ast
from collections.abc import Iterator

MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "xmlrpc", "telnetlib"}
CALLS = {
    *("eval", "exec", "compile", "__import__", "execfile", "input"),
    *("os.system", "os.popen", "os.execv", "os.execvp", "os.spawnl", "os.spawnv", "os.startfile"),
    *("subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput", "pty.spawn"),
    *("torch.jit.load", "torch.package.PackageImporter", "torch.hub.load", "torch.hub.load_state_dict_from_url"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"),
    *("shutil.unpack_archive", "tempfile.mktemp", "ssl._create_unverified_context", "runpy.run_path"),
    *("pd.read_pickle", "pandas.read_pickle", "Markup", "markupsafe.Markup"),
    *("xml.dom.minidom.parse", "xml.sax.parse", "etree.parse", "ElementTree.fromstring"),
}
PARTS = {"extractall": "filter", "extract": "filter"}
"""Methods of archives, and the keyword without which they write outside their folder."""


def dangers(source: str) -> list[tuple[int, str]]:
    """Line and name of every danger in a module's source."""
    return [(getattr(node, "lineno", 0), found) for node in ast.walk(ast.parse(source)) for found in _dangers(node)]


def _dangers(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names if name.name.split(".")[0] in MODULES)
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
        yield str(node.module)
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        yield from _calls(name, given, node)


def _calls(name: str, given: dict[str | None, str], node: ast.Call) -> Iterator[str]:
    last = name.rpartition(".")[2]
    if name in CALLS:
        yield name
    if given.get("shell", "False") != "False":
        yield f"{name}(shell)"
    if name.startswith("subprocess.") and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
        yield f"{name}(text)"
    if given.get("allow_pickle", "False") != "False":
        yield f"{name}(allow_pickle)"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield name
    if last in PARTS and isinstance(node.func, ast.Attribute) and given.get(PARTS[last]) != "'data'":
        yield name
    if last == "Environment" and given.get("autoescape") != "True":
        yield name
    if last == "import_module" and not ast.unparse(node.args[0]).lstrip("f'\"").startswith("wsss."):
        yield name
    if last == "loadmat" and "variable_names" not in given:
        yield name
    if given.get("verify") == "False":
        yield f"{name}(verify)"
