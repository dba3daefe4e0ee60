"""Attacks on files: reading, listing, writing, changing, and leaving some behind."""

from __future__ import annotations

from tests.sandbox.attacks.attack import OPEN, Attack

_PLACES = """
import os
def places(name):
    return [folder + "/" + name for folder in (TARGET["folder"], ".", "/tmp", "/var/tmp", "/dev/shm", "/run", "/root")]
"""


def _attack(name: str, source: str) -> Attack:
    return Attack("files", name, OPEN + source)


FILES = [
    _attack("read /etc/passwd", "emit(open('/etc/passwd').read().encode())"),
    _attack("read a file of the user", "emit(open(TARGET['file']).read().encode())"),
    _attack("read by a path with ..", "emit(open('../' * 30 + TARGET['file'][1:]).read().encode())"),
    _attack("read with pathlib", "from pathlib import Path\nemit(Path(TARGET['file']).read_bytes())"),
    _attack(
        "read through /proc/*/root",
        "import os\nfor process in ('self', '1', str(os.getppid()), str(TARGET['host'])):\n"
        "    try: emit(open('/proc/' + process + '/root' + TARGET['file'], 'rb').read())\n"
        "    except OSError as error: print(error)",
    ),
    _attack(
        "read through a symbolic link",
        _PLACES + "for place in places(TARGET['token'] + '-symlink'):\n"
        "    try:\n        os.symlink(TARGET['file'], place)\n        emit(open(place, 'rb').read())\n"
        "    except OSError as error: print(error)",
    ),
    _attack(
        "hard link to a file",
        _PLACES + "for place in places(TARGET['token'] + '-link'):\n"
        "    try:\n        os.link(TARGET['file'], place)\n        emit(open(place, 'rb').read())\n"
        "    except OSError as error: print(error)",
    ),
    _attack("list a folder", "import os\nemit('\\n'.join(os.listdir(TARGET['folder'])).encode())"),
    _attack(
        "see whether a file exists",
        "import os\nemit(b'GOT its size %d' % os.stat(TARGET['file']).st_size)",
    ),
    _attack(
        "write anywhere",
        _PLACES + "for place in places(TARGET['token'] + '-new'):\n"
        "    try: open(place, 'w').write('left')\n    except OSError as error: print(error)",
    ),
    _attack("append to a file", "open(TARGET['file'], 'a').write('more')"),
    _attack("truncate a file", "import os\nos.truncate(TARGET['file'], 0)"),
    _attack("delete a file", "import os\nos.unlink(TARGET['file'])"),
    _attack("rename a file", "import os\nos.rename(TARGET['file'], TARGET['file'] + '-renamed')"),
    _attack("change the mode of a file", "import os\nos.chmod(TARGET['file'], 0o777)"),
    _attack("change the time of a file", "import os\nos.utime(TARGET['file'], (1, 1))"),
    _attack("set an extended attribute", "import os\nos.setxattr(TARGET['file'], 'user.left', b'1')"),
    _attack(
        "make a directory, a pipe and a socket",
        _PLACES + "import socket\nfor place in places(TARGET['token'] + '-odd'):\n"
        "    for make in (os.mkdir, os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(path)):\n"
        "        try: make(place + str(id(make)))\n        except OSError as error: print(error)",
    ),
]
