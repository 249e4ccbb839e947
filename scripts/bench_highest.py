"""The search of `scripts/bench --highest`: steps up to the first rate that is not held, then halves of what is between."""

STEPS = [10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000]
HALVINGS = 2
# A rate is given up after so many tries that did not hold: other programs on the machine can spoil one.
TRIES = 2
# Ticks/s; what is finer is lost in the noise.
GRAIN = 1_000


def search(holds):
    """Asks `holds(rate)` of one rate after another."""

    def tried(rate):
        return any(holds(rate) for _ in range(TRIES))

    held = 0
    for rate in STEPS:
        if not tried(rate):
            break
        held = rate
    else:
        return
    failed = rate
    for _ in range(HALVINGS):
        middle = (held + failed) // 2 // GRAIN * GRAIN
        if middle <= held:
            return
        if tried(middle):
            held = middle
        else:
            failed = middle
