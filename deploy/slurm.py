"""A scheduler here and workers in jobs of Slurm, until Ctrl-C; needs ``pip install dask-jobqueue``.

deploy/certificates.sh certificates           # in a folder that all nodes see
python deploy/slurm.py certificates 16        # 16 jobs of one worker each
depthcheck run --scheduler ADDRESS ...        # which is printed; with the variables of docs/cluster.md
"""

import signal
import sys
from pathlib import Path

import dask
from dask_jobqueue import SLURMCluster
from distributed.security import Security


def main(certificates: str, jobs: str) -> None:
    """Start the scheduler, ask for the jobs, and wait."""
    folder = Path(certificates).resolve()
    files = {"tls_ca_file": str(folder / "ca.pem")}
    for role in ("client", "scheduler", "worker"):
        files |= {f"tls_{role}_cert": str(folder / "cert.pem"), f"tls_{role}_key": str(folder / "key.pem")}
    dask.config.set({"distributed.scheduler.allowed-failures": 0, "distributed.scheduler.work-stealing": False})
    cluster = SLURMCluster(
        cores=1,
        processes=1,
        memory="4GB",
        walltime="08:00:00",
        protocol="tls://",
        security=Security(require_encryption=True, **files),
        scheduler_options={"dashboard": False},
        # A login at MLflow's server comes from here: a job begins with what its user's shell reads.
        job_script_prologue=["export MLFLOW_DISABLE_TELEMETRY=true"],
        worker_extra_args=["--memory-limit=0", "--no-dashboard"],
    )
    cluster.scale(jobs=int(jobs))
    print(cluster.scheduler_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
