"""Runs a program in which io_uring_setup(2) fails: forbid_io_uring.py ERRNO PROGRAM ARGUMENT...

What a container's seccomp profile does (seccomp(2)); inherited by everything the program starts.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x0005_0000, 0x7FFF_0000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# The same on every architecture, as all system calls since Linux 5.1.
IO_URING_SETUP = 425


def instruction(code, if_true, if_false, value):
    """struct sock_filter"""
    return struct.pack("HBBI", code, if_true, if_false, value)


number = getattr(errno, sys.argv[1])
program = b"".join([
    instruction(LOAD_WORD, 0, 0, 0),  # the number is the first field of struct seccomp_data
    instruction(JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
    instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | number),
    instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
])
instructions = ctypes.create_string_buffer(program, len(program))
# struct sock_fprog
filter_ = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(instructions)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
for arguments in [
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(filter_)), 0, 0),
]:
    if prctl(*arguments) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[2], sys.argv[2:])
