"""A run at a glance."""

from typing import TYPE_CHECKING

from .marks import STYLE, Html, table
from .panes import alert

if TYPE_CHECKING:
    from ..kvm import Run


def show(run: "Run") -> Html:
    """Return a run as a table of its exits, and below it that it was correct or what broke."""
    last = len(run.exits) - 1
    body = [
        (
            str(n), record.kind, "NMI" if record.nmi else "", str(record.cpu), str(record.vcpu),
            str(record.last - record.first), "✖ broke" if run.violation and n == last else "✔ correct",
        )
        for n, record in enumerate(run.exits)
    ]  # fmt: skip
    exits = table(
        "The run, exit by exit", ("exit", "goes to", "event", "CPU", "vCPU", "steps", "result"), body
    )
    end = alert(run.violation) if run.violation else "<p>✔ Every rule held in every exit.</p>"
    return Html(f'{STYLE}<div class="svm">{exits}{end}</div>')
