"""What each section of the page shows: one module and one frozen dataclass per section.

Each dataclass has a `takeaway`, a few sentences computed from the results. A `view` function returns None where its
section has nothing to show.
"""
