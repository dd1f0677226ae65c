"""Where the ledger is, and what is wrong with that: SQLite's WAL needs memory that processes share, on one machine."""

from __future__ import annotations

import os
import re

from protocol.errors import UsageError

# As the kernel names them in /proc/mounts; those of FUSE have its name in front.
_NETWORK_TYPES = frozenset("9p afs ceph cifs lustre ncpfs nfs nfs4 prl_fs smb3 smbfs vboxsf".split())
_NETWORK_FUSE = frozenset("ceph davfs davfs2 gcsfuse glusterfs rclone s3fs smbnetfs sshfs".split())
_OCTAL = re.compile(r"\\([0-7]{3})")


def check_place(ledger: str) -> None:
    """Raise UsageError where no file can be, or nothing can be written beside it."""
    folder = os.path.dirname(os.path.abspath(ledger))
    if not os.path.isdir(folder):
        raise UsageError(f"[ledger] file = {ledger}: there is no folder {folder}")
    if os.path.isdir(ledger):
        raise UsageError(f"[ledger] file = {ledger}: this is a folder")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"[ledger] file = {ledger}: nothing can be written in {folder}")


def network_remark(ledger: str, mounts: str) -> str:
    """Return a sentence where the ledger is on a network's file system, else "". `mounts` is what /proc/mounts says."""
    folder = os.path.dirname(os.path.realpath(ledger))
    nearest, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields[1])
        if (folder + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(nearest):
            nearest, kind = point, fields[2]  # of two on one point, the later one is seen
    if kind in _NETWORK_TYPES or kind.partition("fuse.")[2] in _NETWORK_FUSE:
        return f"the ledger {ledger} is on a network's file system ({kind}), where SQLite loses data: use a local disk"
    return ""


def read_mounts() -> str:
    """Return the text of /proc/mounts, "" where there is none."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
