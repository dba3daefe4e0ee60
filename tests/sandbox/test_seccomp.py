"""The filter of system calls, as the kernel would read it: an interpreter of its instructions says what it does."""

from __future__ import annotations

import errno
import platform
import re
import struct
from pathlib import Path

import pytest

from broker_plane.sandbox.seccomp import allowed_calls, filter_program

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
DANGEROUS_X86_64 = """
socket 41|connect 42|bind 49|listen 50|socketpair 53|sendmsg 46|clone 56|fork 57|vfork 58|kill 62|tkill 200
tgkill 234|ptrace 101|mount 165|umount2 166|chroot 161|pivot_root 155|unshare 272|setns 308|keyctl 250|add_key 248
request_key 249|bpf 321|perf_event_open 298|userfaultfd 323|io_uring_setup 425|io_uring_enter 426
io_uring_register 427|process_vm_readv 310|process_vm_writev 311|memfd_create 319|execveat 322|openat2 437
open_by_handle_at 304|creat 85|unlink 87|symlink 88|link 86|mkdir 83|chmod 90|setuid 105|setgid 106|capset 126
prctl 157|seccomp 317|pidfd_open 434|pidfd_getfd 438|pidfd_send_signal 424|shmget 29|msgget 68|semget 64|mq_open 240
inotify_init1 294|personality 135|reboot 169|kexec_load 246|init_module 175|quotactl 179|setpriority 141
sched_setscheduler 144|landlock_create_ruleset 444|fsopen 430|move_mount 429|ioperm 173|iopl 172|modify_ldt 154
splice 275|vmsplice 278|unknown-to-this-kernel 9999
"""
DANGEROUS_AARCH64 = """
socket 198|connect 203|clone 220|kill 129|ptrace 117|mount 40|unshare 97|setns 268|keyctl 219|bpf 280
io_uring_setup 425|process_vm_readv 270|memfd_create 279|openat2 437|prctl 167|seccomp 277|pidfd_open 434
userfaultfd 282|unlinkat 35|mkdirat 34|unknown-to-this-kernel 9999
"""
DANGEROUS = {
    machine: {name: int(number) for name, number in (each.split() for each in re.split(r"[|\n]", text) if each)}
    for machine, text in (("x86_64", DANGEROUS_X86_64), ("aarch64", DANGEROUS_AARCH64))
}


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the filter returns for a call (linux/filter.h, linux/seccomp.h)."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    at, held = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            (held,) = struct.unpack_from("=I", data, value)
        elif code == 0x54:
            held &= value
        elif code in (0x15, 0x35):
            at += if_true if (held == value if code == 0x15 else held >= value) else if_false
        else:
            assert code == 0x06, f"an unknown instruction {code:#x}"
            return int(value)


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_dangerous_or_unknown_fails(machine: str) -> None:
    program, architecture = filter_program(machine), ARCHITECTURES[machine]
    allowed = {name for name, number in DANGEROUS[machine].items() if answer(program, architecture, number) != EPERM}
    assert not allowed


def test_everything_that_is_not_listed_fails(machine: str) -> None:
    program, architecture = filter_program(machine), ARCHITECTURES[machine]
    listed = set(allowed_calls(machine).values())
    assert {answer(program, architecture, number) for number in range(600) if number not in listed} == {EPERM}


def test_files_are_opened_only_to_read(machine: str) -> None:
    program, architecture = filter_program(machine), ARCHITECTURES[machine]
    number = allowed_calls(machine)["openat"]
    cloexec, directory = 0o2000000, 0o200000
    assert answer(program, architecture, number, 0, 0, cloexec) == ALLOW
    assert answer(program, architecture, number, 0, 0, cloexec | directory) == ALLOW
    for flags in (0o1, 0o2, 0o100, 0o1000, 0o20200000 | 0o2, 0o101):
        assert answer(program, architecture, number, 0, 0, cloexec | flags) == EPERM


def test_limits_are_those_of_the_caller_only(machine: str) -> None:
    program, architecture = filter_program(machine), ARCHITECTURES[machine]
    number = allowed_calls(machine)["prlimit64"]
    assert answer(program, architecture, number, 0) == ALLOW
    assert answer(program, architecture, number, 1) == EPERM


def test_no_character_is_pushed_into_a_terminal(machine: str) -> None:
    program, architecture = filter_program(machine), ARCHITECTURES[machine]
    tiocsti, tioclinux = 0x5412, 0x541C
    for request in (tiocsti, tioclinux, (1 << 32) | tiocsti):
        assert answer(program, architecture, allowed_calls(machine)["ioctl"], 0, request) == EPERM


def test_clone3_falls_back_to_a_call_that_fails(machine: str) -> None:
    assert answer(filter_program(machine), ARCHITECTURES[machine], allowed_calls(machine)["clone3"]) == ENOSYS


def test_calls_of_another_architecture_end_the_process(machine: str) -> None:
    program = filter_program(machine)
    i386 = 0x40000003
    other = next(each for name, each in ARCHITECTURES.items() if name != machine)
    assert {answer(program, each, allowed_calls(machine)["read"]) for each in (i386, other)} == {KILL}


def test_the_second_numbers_of_x86_64_end_the_process() -> None:
    assert (
        answer(filter_program("x86_64"), ARCHITECTURES["x86_64"], 0x40000000 | allowed_calls("x86_64")["read"]) == KILL
    )


def test_a_machine_without_a_list_has_no_filter() -> None:
    with pytest.raises(ValueError, match="s390x"):
        filter_program("s390x")


def test_the_numbers_are_those_of_the_kernel_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if platform.machine() != "x86_64" or not header.exists():
        pytest.skip("the kernel's headers are not installed")
    known = dict(re.findall(r"#define __NR_(\w+) (\d+)", header.read_text()))
    assert allowed_calls("x86_64") == {name: int(known[name]) for name in allowed_calls("x86_64")}
    dangerous = {name: number for name, number in DANGEROUS["x86_64"].items() if name in known}
    assert {name: int(known[name]) for name in dangerous} == dangerous
