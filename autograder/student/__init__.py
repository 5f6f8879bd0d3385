"""The student's side: what runs in the sandbox. It holds the submission's code and nothing of the judge's.

zygote     a warm process without a secret; forks one child a submission
layers     what the kernel is asked to forbid that child
session    the child: runs cells, answers the judge
shell      IPython without a kernel: cells in, outputs out
proxies    `cpu` and `vcpu` as a path sees them: instructions posted, answers fetched when they are looked at
"""
