"""What each section of the page shows, computed from the artefacts: one module and one frozen record per
section.

Every record carries `takeaway`, one sentence made from the numbers, so that a bad run says so as plainly as a
good one. A `view` function returns None where its section has nothing to show.
"""
