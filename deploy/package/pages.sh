#!/bin/sh
# pages.sh DIR PROGRAM...: manual pages and completions as PROGRAM (ctriage, or an emulator and ctriage) writes them, below
# DIR where packages put them.
set -eu
dir=$1
shift
rm -rf "$dir"
mkdir -p "$dir/man/man1" "$dir/bash-completion/completions" "$dir/zsh/vendor-completions" "$dir/fish/vendor_completions.d"
names=$("$@" manual)
for page in $names; do
  "$@" manual "$page" | gzip -9n >"$dir/man/man1/$page.1.gz"
done
"$@" completion bash >"$dir/bash-completion/completions/ctriage"
"$@" completion zsh >"$dir/zsh/vendor-completions/_ctriage"
"$@" completion fish >"$dir/fish/vendor_completions.d/ctriage.fish"
