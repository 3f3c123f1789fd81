"""Two processes on the CPU: data parallel and fully sharded; the scripts that start them."""

import os
import shlex
import subprocess
import sys

import pytest
import torch

from mae3d.engine.distributed.launch import first_of_nodelist, rendezvous
from mae3d.errors import ConfigError
from tests.engine.runs import CONFIG, ROOT, environment, logged, run, run_processes

SAME = ["model.dropout=0.0", "model.random_mask=False"]
SHARDED = ["strategy.type=ShardedStrategy", "strategy.shard=[Linear]"]
HALF = ["train_dataloader.batch_size=2"]


def weights(path):
    content = torch.load(path, weights_only=True)
    return content.get("state_dict", content)


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with the whole batch."""
    folder = tmp_path_factory.mktemp("alone")
    run(str(CONFIG), "--work-dir", str(folder), "--cfg-options", *SAME)
    return folder


@pytest.mark.slow
def test_two_processes_are_one_with_the_whole_batch(tmp_path, alone):
    words = ["tools/dist_train.sh", CONFIG, "2", "--work-dir", tmp_path, "--cfg-options", *SAME, *HALF]
    started = subprocess.run(
        list(map(str, words)), cwd=ROOT, env=environment(PYTHON=sys.executable), capture_output=True, text=True
    )
    assert started.returncode == 0, started.stderr[-4000:]
    first, second = weights(tmp_path / "rank_0.pt"), weights(tmp_path / "rank_1.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert_close(first, weights(alone / "rank_0.pt"))
    # The logged loss is the mean over the ranks, so it is the one process's too.
    both, one = logged(tmp_path), logged(alone)
    assert both.keys() == one.keys()
    assert all(abs(both[step] - one[step]) < 1e-4 for step in one)


@pytest.mark.slow
def test_sharded_training_saves_and_resumes_whole_files(tmp_path, alone):
    options = ["--cfg-options", *SAME, *HALF, *SHARDED]
    run_processes(str(CONFIG), "--work-dir", str(tmp_path), *options)
    assert_close(weights(tmp_path / "rank_0.pt"), weights(alone / "rank_0.pt"))
    assert_close(weights(tmp_path / "epoch_3.pth"), weights(alone / "epoch_3.pth"))

    resumed = tmp_path / "resumed"
    run_processes(str(CONFIG), "--work-dir", str(resumed), "--resume", str(tmp_path / "epoch_2.pth"), *options)
    assert_close(weights(resumed / "epoch_3.pth"), weights(tmp_path / "epoch_3.pth"))
    assert min(logged(resumed)) == 13

    single = tmp_path / "single"
    arguments = ["--work-dir", str(single), "--resume", str(tmp_path / "epoch_2.pth"), "--cfg-options", *SAME]
    run(str(CONFIG), *arguments)
    assert_close(weights(single / "epoch_3.pth"), weights(tmp_path / "epoch_3.pth"))


@pytest.mark.parametrize(
    ("launcher", "environment", "expected"),
    [
        ("pytorch", {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, ("3", "8", "1", "127.0.0.1")),
        (
            "slurm",
            {"SLURM_PROCID": "5", "SLURM_NTASKS": "16", "SLURM_LOCALID": "1", "SLURM_JOB_NODELIST": "gpu[03-05,9]"},
            ("5", "16", "1", "gpu03"),
        ),
        ("mpi", {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, ("1", "2", "0", "127.0.0.1")),
        ("mpi", {"PMI_RANK": "0", "PMI_SIZE": "2", "MASTER_ADDR": "head"}, ("0", "2", "0", "head")),
    ],
)
def test_variables_of_launchers(launcher, environment, expected):
    found = rendezvous(launcher, environment)
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"], found["MASTER_ADDR"]) == expected


def test_slurm_script_hands_everything_to_srun(tmp_path):
    """No SLURM here: a stand-in for srun prints what it was asked to do."""
    (tmp_path / "srun").write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done\n')
    (tmp_path / "srun").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GPUS": "4", "TIME": "2:00:00", "PYTHON": "python"}
    words = shlex.split("tools/slurm_train.sh part job configs/point_mae/point-mae_tiny_10e_simulated.py --seed 3")
    asked = subprocess.run(words, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, check=True)
    given = asked.stdout.splitlines()
    for option in ("--partition=part", "--job-name=job", "--ntasks=4", "--ntasks-per-node=4", "--gres=gpu:4"):
        assert option in given
    assert "--time=2:00:00" in given
    assert given[given.index("python") :][2:] == [
        *("tools/train.py", "configs/point_mae/point-mae_tiny_10e_simulated.py"),
        *("--launcher", "slurm", "--resume", "auto", "--seed", "3"),
    ]


@pytest.mark.parametrize("script", ["tools/dist_train.sh", "tools/slurm_train.sh"])
def test_scripts_without_arguments_print_their_usage(script):
    answer = subprocess.run([script], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 2
    assert f"{script} " in answer.stdout


def test_a_launcher_that_did_not_start_us():
    with pytest.raises(ConfigError, match="srun"):
        rendezvous("slurm", {})


@pytest.mark.parametrize(("nodes", "first"), [("a01,a02", "a01"), ("n[7,9]", "n7"), ("node-1", "node-1")])
def test_first_node(nodes, first):
    assert first_of_nodelist(nodes) == first


def test_a_list_without_a_first_node_is_named():
    with pytest.raises(ConfigError, match=r"SLURM_JOB_NODELIST is '\[1-4\]', which begins with no node"):
        first_of_nodelist("[1-4]")
