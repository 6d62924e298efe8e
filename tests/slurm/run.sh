#!/usr/bin/env bash
# Start a Slurm of one node in a temporary folder, call tests/slurm/check.py, stop all again.
# Needs Debian's or Ubuntu's packages, and installs them where they are missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

for command in slurmctld slurmd munged; do
    [ -x "/usr/sbin/$command" ] && continue
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -q
    $sudo apt-get install -qy --no-install-recommends slurmctld slurmd slurm-client munge
    break
done

folder=$(mktemp -d)
export SLURM_CONF=$folder/slurm.conf  # from here on, no other Slurm is spoken to
daemons=()
stop() {
    timeout 10 scancel --user "$(id -un)" --quiet || true
    timeout 20 sh -c 'while squeue --noheader | grep -q .; do sleep 0.5; done' || true
    kill "${daemons[@]}" && wait "${daemons[@]}" || true
    rm -rf "$folder"
}
trap stop EXIT
alive() { kill -0 "${daemons[@]}" || { tail "$folder"/*.err; exit 1; }; }

# Keys, sockets and state of its own: nothing of a Slurm that the machine may have is touched.
chmod a+rx "$folder"  # munge insists
mkdir "$folder"/{state,spool}
(umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
here=(-e "s|@FOLDER@|$folder|" -e "s|@HOST@|$(hostname -s)|" -e "s|@USER@|$(id -un)|")
sed "${here[@]}" tests/slurm/slurm.conf > "$SLURM_CONF"
printf 'NodeName=%s Name=gpu File=%s\n' "$(hostname -s)" /dev/zero "$(hostname -s)" /dev/full \
    > "$folder/gres.conf"
printf '#!/bin/sh\necho "$SLURM_JOB_ID ${CUDA_VISIBLE_DEVICES-none}" >> %s/gpus\n' "$folder" \
    > "$folder/note_gpu"
chmod +x "$folder/note_gpu"

/usr/sbin/munged --foreground --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munge.pid" --log-file="$folder/munge.log" --seed-file="$folder/munge.seed" \
    2> "$folder/munged.err" & daemons+=($!)
until [ -S "$folder/munge.socket" ]; do alive; sleep 0.1; done
/usr/sbin/slurmctld -D 2> "$folder/slurmctld.err" & daemons+=($!)
/usr/sbin/slurmd -D 2> "$folder/slurmd.err" & daemons+=($!)
until sinfo --noheader --format %T 2> /dev/null | grep -q idle; do
    alive; sleep 0.5
done

# With the plugin installed and no Slurm at work each call of snakemake takes ten seconds longer:
# it comes into an environment of its own, which finds everything else in the project's.
project=$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
plugin=$(python -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["slurm"])')
python -m venv "$folder/venv"
echo "$project" > "$("$folder/venv/bin/python" -c \
    'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
"$folder/venv/bin/python" -m pip install --quiet "$plugin"
# The plugin does not hand SLURM_CONF on to its job steps.
printf '#!/bin/sh\nSLURM_CONF=%s exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" \
    > "$folder/venv/bin/srun"
chmod +x "$folder/venv/bin/srun"

GPUS_GIVEN=$folder/gpus "$folder/venv/bin/python" -m pytest -p no:cacheprovider tests/slurm/check.py
