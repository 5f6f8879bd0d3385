"""What stops an instruction: a fault, and the shutdown when no handler can run."""

#: Exceptions by the manual's name, and their vectors.
VECTORS = {
    "#DE": 0, "#DB": 1, "#BP": 3, "#OF": 4, "#BR": 5, "#UD": 6, "#NM": 7, "#DF": 8, "#TS": 10, "#NP": 11,
    "#SS": 12, "#GP": 13, "#PF": 14, "#MF": 16, "#AC": 17, "#MC": 18, "#XF": 19,
}  # fmt: skip


class Fault(Exception):
    """An exception the processor raises: its vector as the manual writes it, an error code, and why.

    `error_code` is None for vectors without one; `address` is the linear address of a #PF.
    """

    def __init__(self, vector: str, why: str, error_code: int | None = None, address: int | None = None):
        """Name the vector ("#GP"), say why, and give the error code or the address where there is one."""
        self.vector = vector
        self.why = why
        self.error_code = error_code
        self.address = address
        code = "" if error_code is None else f"({error_code:#x})" if error_code else "(0)"
        super().__init__(f"{vector}{code}: {why}")


class Shutdown(Exception):
    """The processor stopped: a fault whose handler faulted too (a triple fault), and so no code runs."""


class Runaway(Exception):
    """A path's function that goes on and on: the run loop's limit of instructions for one call is used up."""


class AddressError(ValueError):
    """An address that no memory answers to, met by our own tools rather than by an instruction."""
