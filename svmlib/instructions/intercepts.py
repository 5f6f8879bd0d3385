"""What ends a guest's run: the bit of an intercept is the number of its EXITCODE, in one vector of 160."""

from ..data import rows
from ..processor import Processor

#: EXITCODEs by name (data/exitcodes.csv); CR_READ and its like are the first of a row of sixteen or 32.
EXITCODES: dict[str, int] = {row["name"]: int(row["exitcode"], 16) for row in rows("exitcodes")}
NAMES: dict[int, str] = {code: name for name, code in EXITCODES.items()}


class Intercepted(BaseException):
    """A #VMEXIT on its way to the VMRUN that it ends; no handler of the guest's sees it."""

    def __init__(self, exitcode: int, info1: int = 0, info2: int = 0):
        """Carry EXITCODE, EXITINFO1 and EXITINFO2."""
        self.exitcode, self.info1, self.info2 = exitcode, info1, info2
        super().__init__(f"#VMEXIT {NAMES.get(exitcode, hex(exitcode))}")


def intercept(p: Processor, name: str, plus: int = 0, info1: int = 0) -> None:
    """End the guest's run if its VMCB intercepts `name` (the `plus`-th of its row); nothing on the host."""
    intercepts = p.intercepts
    if intercepts:
        code = EXITCODES[name] + plus
        if intercepts >> code & 1:
            raise Intercepted(code, info1)
