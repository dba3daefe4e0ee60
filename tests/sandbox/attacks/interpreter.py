"""Attacks on the interpreter: ways from a harmless value to the modules of the process it runs in."""

from __future__ import annotations

from tests.sandbox.attacks.attack import Attack

_BUILTINS = (
    "names = {found}\nnames = names if isinstance(names, dict) else names.__dict__\n"
    "emit(names['__import__']('io').open(TARGET['file']).read().encode())"
)
_READ = "emit({opened}.open(TARGET['file']).read().encode())"

INTERPRETER = [
    Attack("interpreter", "open", "emit(open(TARGET['file']).read().encode())"),
    Attack("interpreter", "__import__", "emit(__import__('os').popen('echo GOT a shell').read().encode())"),
    Attack("interpreter", "importlib", "import importlib\n" + _READ.format(opened="importlib.import_module('io')")),
    Attack("interpreter", "__builtins__", _BUILTINS.format(found="__builtins__")),
    Attack("interpreter", "eval", "emit(eval(\"open(TARGET['file'])\").read().encode())"),
    Attack("interpreter", "exec", "exec(\"emit(open(TARGET['file']).read().encode())\")"),
    Attack("interpreter", "compile", "exec(compile(\"emit(open(TARGET['file']).read().encode())\", 'x', 'exec'))"),
    Attack(
        "interpreter",
        "subclasses of object",
        "for each in ().__class__.__base__.__subclasses__():\n    if each.__name__ == '_wrap_close':\n"
        "        emit(each.__init__.__globals__['popen']('echo GOT a shell').read().encode())",
    ),
    Attack(
        "interpreter",
        "subclasses of object by getattr",
        "found = [getattr(getattr((), '__cl' + 'ass__'), '__ba' + 'se__')]\n"
        "for each in found:\n    if each.__name__ == 'FileIO': emit(each(TARGET['file']).read())\n"
        "    elif each is not type and len(found) < 10000: found += getattr(each, '__subclasses__')()",
    ),
    Attack(
        "interpreter",
        "globals of a function",
        "def f(): pass\n" + _BUILTINS.format(found="f.__globals__['__builtins__']"),
    ),
    Attack("interpreter", "globals of a host function", _BUILTINS.format(found="fetch.__globals__['__builtins__']")),
    Attack(
        "interpreter",
        "frames of a traceback",
        "try: 1 / 0\nexcept ZeroDivisionError as error:\n    frame = error.__traceback__.tb_frame\n"
        "    while frame.f_back is not None: frame = frame.f_back\n"
        "    emit(frame.f_builtins['open'](TARGET['file']).read().encode())",
    ),
    Attack(
        "interpreter",
        "frame of a generator",
        "g = (x for x in [1])\nemit(g.gi_frame.f_builtins['open'](TARGET['file']).read().encode())",
    ),
    Attack(
        "interpreter",
        "frames of sys",
        "import sys\nemit(sys._getframe().f_builtins['open'](TARGET['file']).read().encode())",
    ),
    Attack(
        "interpreter",
        "attributes in a format string",
        "emit('{0.__class__.__init__.__globals__}'.format(fetch).encode())\n"
        "emit('{0.__globals__[__builtins__]}'.format(fetch).encode())",
    ),
    Attack(
        "interpreter",
        "pickle",
        "import pickle\nemit(pickle.loads(b'cos\\npopen\\n(S\"echo GOT a shell\"\\ntR.').read().encode())",
    ),
    Attack("interpreter", "os.environ of the interpreter", "import os\nemit((os.getenv('TOKEN') or '').encode())"),
    Attack(
        "interpreter",
        "os.listdir of the interpreter",
        "import os\nemit(repr(os.listdir(TARGET['folder'])).encode())",
    ),
    Attack(
        "interpreter",
        "pathlib of the interpreter",
        "from pathlib import Path\nemit(Path(TARGET['file']).read_text().encode())",
    ),
    Attack("interpreter", "pathlib that writes", "from pathlib import Path\nPath(TARGET['left']).write_text('left')"),
    Attack("interpreter", "another host function", "emit(repr(system('echo GOT a shell')).encode())"),
    Attack(
        "interpreter",
        "a code object of its own",
        "def f(): pass\nf.__code__ = f.__code__.replace(co_code=bytes([100, 250]) * 64)\nf()",
        processes_only=True,
    ),
]
