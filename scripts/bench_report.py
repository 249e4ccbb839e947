"""Table and plot of `scripts/bench`, from its raw lines."""

import json
import math
import re
import statistics
from html import escape

BASE = "bare copy"
# A server that delivers less falls behind: its figures are of another load. Not more, because some symbols have more
# subscribers than others, and chance decides how many ticks of a window are theirs.
HELD = 0.995
# And for a rate to count as the highest, the latency must not be that of a queue that grows.
HELD_P99_MS = 50
# A load generator so busy may itself be what bounds a rate.
LOAD_BUSY = 0.85
# What the load generator says when a server lets its clients in too slowly.
LATE = re.compile(r"only (\d+) of (\d+) clients were subscribed within (\d+) s")
COLOURS = ["#555555", "#999999", "#e6820a", "#c8283c", "#8c1e78", "#2860b4", "#1e8c6e"]
WHAT = {
    "W1": "1,000 clients on 1 symbol",
    "W2": "2,000 clients, each on 20 of 500 symbols",
    "W3": "10,000 idle connections",
}


def figures(line):
    """What a run says, flat; None where it failed."""
    load = line["loadtest"]
    if not load or not load.get("server"):
        return None
    server, connecting = load["server"], load["connecting"]
    good = next((group for group in load["groups"] if group["name"] == "good"), {})
    latency = good.get("latency_us") or {}
    window = load["window_seconds"]
    return {
        "cpu": server["cpu_us_per_delivery"],
        "core": server["cpu_seconds"] / window,
        "gen": server["generator_cpu_seconds"] / window,
        "p50": latency.get("p50", math.nan) / 1e3,
        "p99": latency.get("p99", math.nan) / 1e3,
        "p999": latency.get("p99_9", math.nan) / 1e3,
        "reach": load.get("reach_by_rate"),
        "gaps": good.get("gaps", 0),
        "closes": sum(good.get("closes", {}).values()),
        "rss": server["bytes_per_connection"],
        "connects": connecting["per_second"],
        "busy": max((thread["busy_share"] for thread in load.get("threads", [])), default=math.nan),
    }


def is_held(run):
    """Whether a server kept up in this run."""
    return run is not None and (run["reach"] or 0) >= HELD and run["p99"] < HELD_P99_MS and not run["closes"]


def error_of(line):
    """Why there is no result. That clients did not get in is one: the server fell behind."""
    error = line.get("error", "no result")
    late = LATE.search(error)
    return "falls behind: " + late.group() if late else "FAILED: " + error


def one_line(line):
    """A run in a line of the terminal."""
    head = f"round {line['round'] + 1}  {line['workload']} {line['rate']:>6}/s  {line['server']:<24}"
    got = figures(line)
    if got is None:
        text = error_of(line)
    elif line["workload"] == "W3":
        text = f"{got['rss']:>8.0f} B/connection  {got['connects']:>8.0f} connects/s"
    else:
        cpu = got["cpu"] if got["cpu"] is not None else math.nan
        text = f"{cpu:>7.3f} us/delivery  p50 {got['p50']:>8.2f}  p99 {got['p99']:>8.2f} ms  reach {got['reach'] or 0:.4f}  gen {got['gen']:.2f}"
        text += f"  gaps {got['gaps']}" if got["gaps"] else ""
        text += f"  CLOSED {got['closes']}" if got["closes"] else ""
    if not line["quiet"]:
        text += f"  NOT QUIET: others use {line['others']:.0%} of a core"
    for warning in line["loadtest"].get("warnings", []):
        text += f"\n            {warning}"
    return head + text


class Results:
    """The raw lines, by point and server."""

    def __init__(self, path):
        with open(path) as file:
            self.head, *self.lines = map(json.loads, file)
        self.points, self.servers, self.runs = [], [], {}
        self.errors = {}
        self.searches = Searches(line for line in self.lines if line.get("search"))
        for line in self.lines:
            if line.get("search"):
                continue
            point, server = (line["workload"], line["rate"]), line["server"]
            self.points += [point] if point not in self.points else []
            self.servers += [server] if server not in self.servers else []
            run = figures(line)
            self.runs.setdefault((point, server), {})[line["round"]] = run
            if run is None:
                self.errors.setdefault((point, server), []).append(error_of(line))

    def of(self, point):
        return [server for server in self.servers if (point, server) in self.runs]

    def good(self, point, server):
        return {number: run for number, run in self.runs.get((point, server), {}).items() if run}

    def median(self, point, server, key):
        values = [run[key] for run in self.good(point, server).values() if run[key] is not None]
        return statistics.median(values) if values else math.nan

    def ratio(self, point, server, key):
        """The median over the rounds of the ratio to the base of the same round, and its range."""
        base = self.good(point, BASE)
        ratios = []
        for number, run in self.good(point, server).items():
            if number in base and base[number][key] and run[key] is not None:
                ratios.append(run[key] / base[number][key])
        return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None

    def failed(self, point, server):
        """A note of the runs without a result."""
        errors = self.errors.get((point, server), [])
        late = [error for error in errors if error.startswith("falls behind")]
        notes = [f"**{late[-1].replace(':', '**:', 1)}"] if late else []
        return notes + ([f"{len(errors) - len(late)} runs failed"] if len(errors) > len(late) else [])


class Searches:
    """The searches for the highest rate: by server and round, the rates and what each try gave."""

    def __init__(self, lines):
        self.tried = {}
        for line in lines:
            rates = self.tried.setdefault(line["server"], {}).setdefault(line["round"], {})
            rates.setdefault(line["rate"], []).append(line)

    def best(self, server, number):
        """The highest rate held in a round and the run that held it; 0 and None without any."""
        held = [
            (rate, figures(line)) for rate, lines in self.tried[server][number].items() for line in lines if is_held(figures(line))
        ]
        return max(held, key=lambda pair: pair[0], default=(0, None))

    def end(self, server, number):
        """What ended the search in a round: the lowest rate that was not held, as a text; None when every step was."""
        highest, _ = self.best(server, number)
        above = [rate for rate in self.tried[server][number] if rate > highest]
        if not above:
            return None
        line = self.tried[server][number][min(above)][-1]
        run = figures(line)
        if run is None:
            return f"{min(above):,}: {error_of(line)}"
        text = f"{min(above):,}: {(run['reach'] or 0) * 100:.1f} % in time, p99 {run['p99']:,.0f} ms"
        return text + (f", {run['closes']:,} closed" if run["closes"] else "") + load_note(run)


def load_note(run):
    return f", **load generator {run['busy'] * 100:.0f} % busy**" if run["busy"] > LOAD_BUSY else ""


def number(value, digits):
    return "-" if value is None or math.isnan(value) else f"{value:,.{digits}f}"


def times(ratio):
    return "-" if ratio is None else f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})"


def load_row(results, point, server):
    median = lambda key: results.median(point, server, key)
    runs = results.good(point, server).values()
    notes = []
    if median("reach") < HELD:
        notes.append("**falls behind**")
    if gaps := sum(run["gaps"] for run in runs):
        notes.append(f"{gaps:,} gaps")
    if closes := sum(run["closes"] for run in runs):
        notes.append(f"{closes:,} closed")
    notes += results.failed(point, server)
    cells = [server, number(median("cpu"), 3), times(results.ratio(point, server, "cpu"))]
    cells += [number(median("p50"), 2), number(median("p99"), 2), times(results.ratio(point, server, "p99"))]
    cells += [number(median("p999"), 2), number(median("core") * 100, 0), number(median("gen") * 100, 1)]
    cells += [number(median("reach") * 100, 2), ", ".join(notes)]
    return "| " + " | ".join(cells) + " |"


def idle_row(results, point, server):
    median = lambda key: results.median(point, server, key)
    cells = [server, number(median("rss"), 0), number(median("connects"), 0), times(results.ratio(point, server, "connects"))]
    return "| " + " | ".join([*cells, ", ".join(results.failed(point, server))]) + " |"


def highest_row(searches, server):
    best = {number: searches.best(server, number) for number in searches.tried[server]}
    rates = sorted(rate for rate, _ in best.values())
    runs = [run for _, run in best.values() if run]
    median = lambda key: statistics.median([run[key] for run in runs]) if runs else math.nan
    # The round whose rate is the median, or just below it.
    number_shown = next(number for number, (rate, _) in best.items() if rate == rates[(len(rates) - 1) // 2])
    ended = searches.end(server, number_shown) or "no step was too high"
    cells = [server, f"{statistics.median(rates):,.0f} ({rates[0]:,}-{rates[-1]:,})"]
    cells += [number(median("cpu"), 3), number(median("p50"), 1), number(median("p99"), 1), number(median("core") * 100, 0)]
    cells += [number(median("gen") * 100, 0), number(median("busy") * 100, 0), ended]
    return "| " + " | ".join(cells) + " |"


def highest(searches):
    lines = ["", f"## Highest rate held: {WHAT['W2']}", ""]
    lines += [
        f"Held: at least {HELD * 100:g} % delivered in time and p99 under {HELD_P99_MS} ms, in one of two tries. Rates in steps, then twice the middle "
        "between held and not held; median of the rounds (least-most). The figures are those at the rate held; the last column is the lowest rate "
        "that was not.",
        "",
        "| server | ticks/s | CPU us per delivery | p50 ms | p99 ms | core % | gen % | load busy % | not held |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    return lines + [highest_row(searches, server) for server in searches.tried]


def about(results):
    machine, head = results.head["machine"], results.head
    noisy = sum(not line["quiet"] for line in results.lines)
    lines = [
        f"# Measured on {machine['date']}",
        "",
        f"{machine['cpu']}{' (virtual)' if machine['virtual'] else ''}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"Linux {machine['kernel']}, {machine['congestion_control']}; {machine['rustc']}; commit {machine['commit']}.",
        "",
        f"Medians of {head['rounds']} round{'s' * (head['rounds'] > 1)} with windows of {head['seconds']:g} s after {head['warmup']:g} s of load. The server on one core, the load "
        "(tickcast-loadtest --spin) on another, over loopback. "
        f"`x` is the ratio to `{BASE}` of the same round: median (least-most).",
        "",
        "CPU is that of all the server's threads but those named gen*, which make the ticks and are stated apart; the bare server makes its ticks "
        "inline. Reach is what was delivered of what was due, in time: until 0.3 s after the window; "
        f"a server below {HELD * 100:g} % falls behind, and its figures are those of another load. Gaps are looked for at some of the clients.",
    ]
    if noisy:
        lines += ["", f"**NOT QUIET: before {noisy} of {len(results.lines)} runs other processes used more than 10 % of a core.**"]
    return lines


def table(results):
    lines = about(results)
    for point in results.points:
        workload, rate = point
        if workload == "W3":
            lines += ["", f"## W3: {WHAT[workload]}", ""]
            lines += ["| server | RSS per connection, B | connects/s | x | |", "|---|--:|--:|--:|---|"]
            lines += [idle_row(results, point, server) for server in results.of(point)]
            continue
        lines += ["", f"## {workload} at {rate:,} ticks/s: {WHAT[workload]}", ""]
        lines += ["| server | CPU us per delivery | x | p50 ms | p99 ms | x | p99.9 ms | core % | gen % | reach % | |"]
        lines += ["|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
        lines += [load_row(results, point, server) for server in results.of(point)]
    if results.searches.tried:
        lines += highest(results.searches)
    return "\n".join(lines) + "\n"


# The plot: a panel per point, p99 against CPU per delivery


WIDTH, HEIGHT, MARGIN, COLUMNS = 300, 220, 46, 3


def scale(values, length, low_at_end=False):
    """A logarithmic axis that holds these values: the function to a place, and its marks."""
    low, high = min(values) / 1.3, max(values) * 1.3
    span = math.log(high / low)

    def place(value):
        share = math.log(value / low) / span
        return length * (1 - share if low_at_end else share)

    marks = [step * 10.0**power for power in range(-4, 6) for step in (1, 2, 5)]
    return place, [mark for mark in marks if low <= mark <= high]


def panel(results, point, left, top):
    dots = []
    for server in results.of(point):
        cpu, p99 = results.median(point, server, "cpu"), results.median(point, server, "p99")
        if cpu > 0 and p99 > 0:
            dots.append((server, cpu, p99))
    title = f"{point[0]} at {point[1]:,} ticks/s"
    out = [f'<g transform="translate({left},{top})"><text x="0" y="-8" font-weight="bold">{title}</text>']
    out.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#bbb"/>')
    if dots:
        across, across_marks = scale([dot[1] for dot in dots], WIDTH)
        up, up_marks = scale([dot[2] for dot in dots], HEIGHT, low_at_end=True)
        for mark in across_marks:
            out.append(f'<path d="M{across(mark):.1f} 0V{HEIGHT}" stroke="#eee"/>')
            out.append(f'<text x="{across(mark):.1f}" y="{HEIGHT + 14}" text-anchor="middle">{mark:g}</text>')
        for mark in up_marks:
            out.append(f'<path d="M0 {up(mark):.1f}H{WIDTH}" stroke="#eee"/>')
            out.append(f'<text x="-5" y="{up(mark) + 4:.1f}" text-anchor="end">{mark:g}</text>')
        for server, cpu, p99 in dots:
            held = results.median(point, server, "reach") >= HELD
            colour = COLOURS[results.servers.index(server) % len(COLOURS)]
            fill = colour if held else "none"
            title = escape(f"{server}: {cpu:.3f} us, p99 {p99:.2f} ms{'' if held else ', falls behind'}")
            out.append(f'<circle cx="{across(cpu):.1f}" cy="{up(p99):.1f}" r="6" fill="{fill}" stroke="{colour}" stroke-width="2"><title>{title}</title></circle>')
    return "".join(out) + "</g>"


def plot(results):
    points = [point for point in results.points if point[0] != "W3"]
    rows = max(1, math.ceil(len(points) / COLUMNS))
    width, step = COLUMNS * (WIDTH + MARGIN) + 30, HEIGHT + 70
    height = rows * step + 84
    machine = results.head["machine"]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">']
    out.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    out.append('<text x="16" y="22" font-size="15" font-weight="bold">p99 latency (ms, up) against server CPU per delivery (us, across); both logarithmic</text>')
    out.append(f'<text x="16" y="40" fill="#555">{escape(machine["cpu"])}, {machine["cores"]} cores, {machine["date"]}; hollow: falls behind</text>')
    left = 16
    for index, server in enumerate(results.servers):
        colour = COLOURS[index % len(COLOURS)]
        out.append(f'<circle cx="{left + 6}" cy="57" r="5" fill="{colour}"/><text x="{left + 16}" y="61">{escape(server)}</text>')
        left += 40 + 6.2 * len(server)
    for index, point in enumerate(points):
        column, row = index % COLUMNS, index // COLUMNS
        out.append(panel(results, point, MARGIN + column * (WIDTH + MARGIN), 100 + row * step))
    return "\n".join(out) + "\n</svg>\n"


def write(directory):
    """Writes table.md and plot.svg beside raw.jsonl; says where."""
    results = Results(directory / "raw.jsonl")
    (directory / "table.md").write_text(table(results))
    (directory / "plot.svg").write_text(plot(results))
    return f"{directory / 'table.md'}\n{directory / 'plot.svg'}"
