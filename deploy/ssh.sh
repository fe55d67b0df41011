#!/bin/sh
# A scheduler here and workers on hosts that ssh reaches, until Ctrl-C:
#
#   deploy/certificates.sh certificates            # copy the folder to the same path on each host, mode 0700
#   deploy/ssh.sh certificates 8 first second third          # 8 workers on each
#   depthcheck run --scheduler tls://$(hostname):8786 ...    # with the variables of docs/cluster.md
#
# The hosts have requirements.txt in the same path as here, and MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, where
# MLflow's server asks for them, in their own environment (~/.ssh/environment, or what their shells read).
set -eu
[ $# -ge 3 ] || { echo "deploy/ssh.sh CERTIFICATES WORKERS HOST..." >&2; exit 2; }
certificates=$(cd "$1" && pwd)
workers=$2
shift 2
dask=$(command -v dask)
here=${SCHEDULER_HOST:-$(hostname)}
port=${SCHEDULER_PORT:-8786}
tls="--tls-ca-file=$certificates/ca.pem --tls-cert=$certificates/cert.pem --tls-key=$certificates/key.pem"
trap 'trap - EXIT; trap "" INT TERM; kill 0; wait' EXIT INT TERM
DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0 DASK_DISTRIBUTED__SCHEDULER__WORK_STEALING=False \
    "$dask" scheduler --protocol=tls --port="$port" $tls --no-dashboard &
for host; do
    # A terminal (-tt) ends the workers when the connection ends.
    ssh -tt "$host" "$dask worker tls://$here:$port --nthreads=1 --nworkers=$workers --memory-limit=0 $tls --no-dashboard" \
        </dev/null &
done
wait
