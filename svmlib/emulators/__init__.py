"""The same program on the model, on QEMU and on Bochs, operation by operation; what differs has a name.

layout      what lies where in the machine that all three share, and its registers at the start
programs    what a program is: operations as data
assembler   bytes of instructions
runtime     the bare-metal interpreter that runs programs and logs them
rom         what both emulators start from: boot code, and RAM with the interpreter and programs
qemu bochs  the runners
outcomes    what came back, and how two outcomes are compared
reference   the same on a bare Processor of the model
deviations  where an emulator is known to differ, each with a probe
boundaries  the values at which rules change
generator   random programs of them
fuzz        generate, run, compare, shrink
record      outcomes of both emulators, kept for machines that have neither
notation    a program as a person writes it
comparison  one program on the model and on each emulator: what differs, and why
leaks       whose values the machine holds at the end
emulate     the command that prints both
page        the tables of course/ground_truth.md: what is checked against what
witness     a real kernel: what Debian's Linux 6.1 executes between two VMRUNs
"""
