"""Join the processes of one run: torchrun, SLURM or MPI, on GPUs or on CPUs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from datetime import timedelta

import torch
from torch import distributed

from mae3d.errors import ConfigError

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def rendezvous(launcher: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Translate a launcher's variables to those of torch.distributed.

    Args:
        launcher: ``pytorch`` (torchrun), ``slurm`` (srun) or ``mpi`` (Open MPI or MPICH).
        environment: The process environment.

    Returns:
        RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.

    Raises:
        ConfigError: The launcher's variables are not set: the program was not started by it.
    """
    names = {
        "pytorch": [("RANK", "WORLD_SIZE", "LOCAL_RANK")],
        "slurm": [("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")],
        "mpi": [
            ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
            ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
        ],
    }[launcher]
    for rank, size, local in names:
        if rank in environment and size in environment:
            return {
                "RANK": environment[rank],
                "WORLD_SIZE": environment[size],
                "LOCAL_RANK": environment.get(local, "0"),
                "MASTER_ADDR": environment.get("MASTER_ADDR") or _first_host(environment),
                "MASTER_PORT": environment.get("MASTER_PORT", "29500"),
            }
    starter = {"pytorch": "torchrun", "slurm": "srun", "mpi": "mpirun"}[launcher]
    raise ConfigError(f"--launcher {launcher}: {names[0][0]} is not set; start the program with {starter}")


def join(launcher: str, timeout_minutes: float = 30) -> None:
    """Initialise the process group (NCCL with CUDA, else Gloo) before the runner is built.

    The runner itself could do it, but only on machines with CUDA.
    """
    if launcher == "none" or distributed.is_initialized():
        return
    variables = rendezvous(launcher, os.environ)
    os.environ.update(variables)
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(variables["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(minutes=timeout_minutes))


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def leave() -> None:
    """Close the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _first_host(environment: Mapping[str, str]) -> str:
    """Return the first node of a SLURM allocation; this machine where there is none."""
    nodes = environment.get("SLURM_JOB_NODELIST") or environment.get("SLURM_NODELIST")
    if not nodes:
        return "127.0.0.1"
    try:
        answer = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
        return answer.stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):
        return first_of_nodelist(nodes)


def first_of_nodelist(nodes: str) -> str:
    """Return the first name of a SLURM node list: ``gpu[03-05,09],login1`` gives ``gpu03``.

    Raises:
        ConfigError: The list begins with no name.
    """
    match = re.match(r"([^\[,]+)(?:\[(\d+))?", nodes)
    if match is None:
        raise ConfigError(f"SLURM_JOB_NODELIST is {nodes!r}, which begins with no node. Set MASTER_ADDR yourself.")
    return match[1] + (match[2] or "")
