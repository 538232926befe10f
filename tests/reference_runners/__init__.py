"""Reference cases by subject: each runner maps the fields of a case to the public API.

A runner has ``load(folder)``, which yields (id, case), and ``faults(case, folder)``, which lists
what differs from the case's expected values. A new subject is one module and one line here.
"""

RUNNERS = {
    "spc": "reference_runners.spc",
    "survey": "reference_runners.survey",
}
