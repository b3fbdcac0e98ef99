"""How a program is started, where it listens and how to ask whether it is well: read, not guessed.

    app = Flask(…)                     gunicorn, which the environment then has to have
    app = FastAPI(…), Starlette(…)     uvicorn
    if __name__ == "__main__"          python serve.py

The port is what the program's own text says (``port=8080``, ``("0.0.0.0", 8080)``, a default of
PORT), else 8080. The health check asks the path that the program answers (``/healthz``…), else it
only connects.

Next: ``pack_app.py``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import ImageError
from ..record import Record
from .pack_imports import parse

WSGI, ASGI, SCRIPT = "wsgi", "asgi", "script"
DEFAULT_PORT = 8080
_APPS = {
    **dict.fromkeys(("Flask", "Bottle", "WSGIApplication", "get_wsgi_application"), WSGI),
    **dict.fromkeys(("FastAPI", "Starlette", "Quart", "Litestar", "Sanic"), ASGI),
}
_HEALTH_PATHS = ("/healthz", "/health", "/livez", "/v2/health/live", "/ready", "/ping")
_GUNICORN_SETTINGS = "gunicorn.conf.py"
#: From this version on gunicorn opens a socket in the home folder, unless told not to.
_CONTROL_SOCKET_SINCE = 25


class Program(Record):
    """What is to be packed.

    Args:
        folder: that it is in, and that its modules are found in.
        file: relative to the folder.
        kind: WSGI, ASGI or SCRIPT.
        attribute: the application in it; "" for a script.
        port: it listens on; 0 for none.
        health: the path to ask; "" only connects.
    """

    folder: Path
    file: str
    kind: str
    attribute: str = ""
    port: int = 0
    health: str = ""

    @property
    def module(self) -> str:
        """The file as ``import`` names it."""
        return self.file.removesuffix(".py").replace("/", ".")


def read_program(text: str, port: int = 0) -> Program:
    """Return what ``serve.py``, ``serve.py:app`` or ``package.module:app`` is.

    Args:
        text: as typed; modules are looked for in the current folder.
        port: instead of the one that is read.

    Raises:
        ImageError: there is no such file, or nothing in it that can be started.
    """
    name, _, attribute = text.partition(":")
    path = Path(name)
    if path.suffix == ".py":
        folder, file = path.parent, path.name
    else:
        folder, file = Path(), _module_file(name)
    tree = parse(folder / file)
    apps = dict(_apps(tree))
    if attribute and attribute not in _top_names(tree):
        raise ImageError(f"{folder / file} has no {attribute}", hint=_known(apps))
    attribute = attribute or next(iter(apps), "")
    kind = apps.get(attribute, WSGI) if attribute else SCRIPT
    if kind == SCRIPT and not _is_script(tree):
        raise ImageError(
            f"{folder / file} has no application and no main part to start",
            hint='name one as in serve.py:app, or add: if __name__ == "__main__"',
        )
    found = port or _port(tree) or (DEFAULT_PORT if kind != SCRIPT else 0)
    return Program(folder.absolute(), file, kind, attribute, found, _health(tree))


def command(program: Program, version_of: Callable[[str], str]) -> tuple[str, ...]:
    """Return what starts a program in ``/app``.

    Args:
        program: which.
        version_of: returns the installed version of a distribution, "" for none.

    Raises:
        ImageError: the environment has no server for it.
    """
    if program.kind == SCRIPT:
        return ("python", program.file)
    server = server_of(program)
    version = version_of(server)
    if not version:
        hint = f"pip install {server} into the environment, and pack again"
        problem = f"{program.file}:{program.attribute} needs {server} to be served"
        raise ImageError(problem, hint=hint)
    target = f"{program.module}:{program.attribute}"
    if server == "uvicorn":
        return ("python", "-m", server, "--host", "0.0.0.0", "--port", str(program.port), target)
    words = ["python", "-m", server, "--worker-tmp-dir", "/dev/shm"]
    if int(re.match(r"\d*", version)[0] or 0) >= _CONTROL_SOCKET_SINCE:  # type: ignore[index] # it matches ""
        words.append("--no-control-socket")
    if not (program.folder / _GUNICORN_SETTINGS).exists():
        words += ["--bind", f"0.0.0.0:{program.port}", "--threads", "4"]
    return (*words, target)


def server_of(program: Program) -> str:
    """Return the distribution that serves a program; "" for a script."""
    return {WSGI: "gunicorn", ASGI: "uvicorn", SCRIPT: ""}[program.kind]


def extra_files(program: Program) -> list[str]:
    """Return the files that a program uses without importing them, by convention."""
    found = [_GUNICORN_SETTINGS] if program.kind == WSGI else []
    found += ["templates", "static"] if program.kind != SCRIPT else []
    return [name for name in found if (program.folder / name).exists()]


def health_test(program: Program) -> tuple[str, ...]:
    """Return the command of the health check: Python only, as the image may have nothing else."""
    if program.health:
        url = f"http://127.0.0.1:{program.port}{program.health}"
        code = (
            "import urllib.request as u;"
            f" u.build_opener(u.ProxyHandler({{}})).open({url!r}, timeout=2)"
        )
    else:
        code = f"import socket; socket.create_connection(('127.0.0.1', {program.port}), 2).close()"
    return ("CMD", "python", "-c", code)


# ── reading ───────────────────────────────────────────────────────────────────────────────────


def _module_file(name: str) -> str:
    stem = name.replace(".", "/")
    for file in (f"{stem}.py", f"{stem}/__init__.py"):
        if Path(file).is_file():
            return file
    raise ImageError(f"no file {stem}.py here", hint="give a path, as in src/serve.py:app")


def _apps(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (name, kind) of what the top level assigns an application to."""
    for node in tree.body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
            continue
        call = node.value.func
        made = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
        targets: Iterable[ast.expr] = (
            node.targets if isinstance(node, ast.Assign) else [node.target]
        )
        for target in targets:
            if isinstance(target, ast.Name) and made in _APPS:
                yield target.id, _APPS[made]


def _top_names(tree: ast.Module) -> set[str]:
    """Return what the top level defines or imports."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        else:
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names


def _known(apps: dict[str, str]) -> str:
    return f"there is: {', '.join(apps)}" if apps else ""


def _is_script(tree: ast.Module) -> bool:
    """Whether running the file does something: a main part, or a call at the top level."""
    for node in tree.body:
        if isinstance(node, ast.If) and "__name__" in ast.dump(node.test):
            return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            return True
        if isinstance(node, ast.While | ast.For | ast.With):
            return True
    return False


def _port(tree: ast.Module) -> int:
    """Return the first port in the text; 0 where there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "port":
            value: object = getattr(node.value, "value", None)
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
            host, number = (getattr(part, "value", None) for part in node.elts)
            value = number if isinstance(host, str) else None
        elif isinstance(node, ast.Call) and "PORT" in [getattr(a, "value", "") for a in node.args]:
            value = getattr(node.args[-1], "value", None)
        else:
            continue
        if str(value).isdecimal() and 0 < int(str(value)) < 1 << 16:
            return int(str(value))
    return 0


def _health(tree: ast.Module) -> str:
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value}
    return next((path for path in _HEALTH_PATHS if path in texts), "")
