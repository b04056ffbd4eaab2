"""The place of this process among several, by what `torchrun` and `accelerate launch` put into its environment."""

import os


def refuse_to_be_alone() -> None:
    """Refuse to work alone where several processes were asked for.

    `accelerate launch --cpu --num_processes 2` starts one process without a word. The address where the processes
    should meet, which it gives to that one, reveals it.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and "WORLD_SIZE" not in os.environ:
        raise ValueError(
            "accelerate launch was asked for several processes and started one, as it does on CPUs; launch with "
            "--config_file scripts/two_cpu_processes.yaml --num_processes N, or with torchrun --nproc_per_node N. If "
            "one process is what you want: --num_processes 1, and no MASTER_ADDR in the environment"
        )


def place() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are."""
    rank, processes = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and processes.isdecimal() and int(rank) < int(processes)):
        raise ValueError(
            f"RANK is {rank!r} and WORLD_SIZE {processes!r} in the environment; allowed: a whole number from 0 and one "
            "above it, as torchrun sets them"
        )
    return int(rank), int(processes)
