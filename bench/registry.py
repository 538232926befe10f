"""Every figure by its name: `subject.figure`. A new subject is a module and a line here."""

from bench import spc
from bench.figure import Figure

SUBJECTS: dict[str, dict[str, Figure]] = {
    "spc": spc.FIGURES,
}
FIGURES: dict[str, Figure] = {
    f"{subject}.{name}": figure
    for subject, figures in SUBJECTS.items()
    for name, figure in figures.items()
}
