#!/usr/bin/env bash
# tyro's completion scripts offer lines of descriptions as if they were options, and no files for positional paths.
#
# Seen with tyro 1.0.17 on Python 3.11 and bash 5.2. A dataclass has a positional Path, and an option whose description has two lines.
# Expected of `--first<TAB>`: --first. Seen: two words, the second being the description's second line: the generated script prints one
# completion to a line, and a line break within a description starts another. Expected of `pho<TAB>` for the positional Path: the files
# that begin so, as after an option that takes a Path. Seen: nothing, and since the script is registered without `-o default`, the shell
# completes no file either.
# What ca_numpy does: `ca-numpy completion` removes the line breaks, and lets the shell complete files (ca_numpy/cli.py).
# Exits 0 while tyro behaves so, and 1 when that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'tyro==1.0.17' 2>/dev/null
cat > program.py <<'P'
from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass
class Arguments:
    image: tyro.conf.Positional[Path]
    """A picture."""
    first: int = 0
    """A description that is as long as
    two lines."""
    out: Path = Path("out")
    """A file to write."""


tyro.cli(Arguments, prog="program")
P
venv/bin/python program.py --tyro-write-completion bash script
touch photo.jpg
complete_words() { # what the script offers for the last of these words
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _tyro_program
    local word
    for word in "${COMPREPLY[@]}"; do [ -z "$word" ] || printf '<%s>' "$word"; done
}
set +u
source ./script
option=$(complete_words program --first)
value=$(complete_words program --out pho)
positional=$(complete_words program pho)
echo "--first: $option    --out pho: $value    pho: ${positional:-nothing}    $(complete -p program)"
[ "$option" = '<--first><two lines. (default: 0)>' ] && [ "$value" = '<photo.jpg>' ] && [ -z "$positional" ]
