#!/bin/sh
# Compiles sieve.c into sieve.hex: the machine code, one instruction a line, which machine.py loads.
# Needed only after a change of sieve.c; sieve.hex was made by gcc 12.2.0 and binutils 2.40 on x86-64.
#
# -O1 keeps each loop as plain as it is written, and with it the number of basic blocks that the demo tells of; without
# -fno-toplevel-reorder the entry would not be the first byte, and without -fno-tree-loop-distribute-patterns the loop
# that clears the memory would become a call to a memset that is not there.
set -eu
cd "$(dirname "$0")"
elf=$(mktemp)
trap 'rm -f "$elf"' EXIT
gcc -O1 -ffreestanding -nostdlib -static -fPIE -fno-toplevel-reorder -fno-tree-loop-distribute-patterns \
    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -mno-red-zone -Wall -Wextra -Werror \
    -Wl,-Ttext=0,--build-id=none,-e,enter -o "$elf" sieve.c
objdump --disassemble --section=.text --insn-width=16 "$elf" \
    | sed -n 's/^ *[0-9a-f]*:\t\([0-9a-f ]*\)\t\(.*\)$/\1# \2/p' >sieve.hex
