"""Figures of several runs to lines on the terminal, a Markdown table and a plot."""

import statistics

# Colours of the bars, suiro's first.
COLOURS = ("#1b6ca8", "#4f9bd0", "#b0b7bd", "#c9ced2", "#d8b26e", "#a4b494", "#c79292", "#9d8fb3")


def rates(run):
    """What one run's figures come to."""
    found = {k: run[k] for k in ("peak", "rss", "idle_cpu", "p50", "p99", "rate", "open") if k in run}
    if run.get("seconds"):
        found["mb_s"] = run["mb"] / run["seconds"]
        found["ev_s"] = run["events"] / run["seconds"]
        found["cpu_gb"] = run["cpu"] / run["gb"]
    elif "cpu" in run:
        found["cpu"] = run["cpu"]
    return found


def spread(runs):
    """Figure to (min, median, max)."""
    each = [rates(run) for run in runs]
    return {k: (min(v), statistics.median(v), max(v)) for k in each[0] for v in [[one[k] for one in each if k in one]]}


def number(value):
    """Three figures, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ranged(values):
    low, middle, high = values
    return number(middle) if number(low) == number(high) else f"{number(middle)} ({number(low)}–{number(high)})"


COLUMNS = (("MB/s", "mb_s"), ("events/s", "ev_s"), ("CPU s/GB", "cpu_gb"), ("peak MB", "peak"), ("p50 ms", "p50"),
           ("p99 ms", "p99"), ("lossless/s", "rate"), ("resident MB", "rss"), ("idle CPU s/s", "idle_cpu"))


def line(rival, figures):
    """One line for the terminal."""
    parts = [f"{title} {ranged(figures[key])}" for title, key in COLUMNS if key in figures]
    return f"  {rival:15} " + ", ".join(parts)


def score(figures):
    """What a ratio is made of: (key, whether more is better)."""
    for key, more in (("cpu_gb", False), ("rate", True), ("p99", False), ("rss", False)):
        if key in figures:
            return key, more
    return None


def ratio(figures, own):
    """How many times better suiro is; empty for itself."""
    wanted = score(figures)
    if not wanted or not own or figures is own or wanted[0] not in own:
        return ""
    key, more = wanted
    theirs, ours = figures[key][1], own[key][1]
    top, bottom = (ours, theirs) if more else (theirs, ours)
    return f"{top / bottom:.1f}×" if bottom else ""


def table(title, rows, skipped, how=""):
    """The lines of one workload: heading, how it was measured, table, who is missing."""
    shown = [(t, k) for t, k in COLUMNS if any(k in figures for _, figures in rows)]
    out = [f"## {title}", ""] + ([how, ""] if how else [])
    if rows:
        out += ["| |" + "".join(f" {t} |" for t, _ in shown) + " suiro's advantage |", "|---|" + "---|" * (len(shown) + 1)]
        own = next((figures for name, figures in rows if name.startswith("suiro")), None)
        for name, figures in rows:
            cells = "".join(f" {ranged(figures[k]) if k in figures else '-'} |" for _, k in shown)
            better = "" if name.startswith("suiro") else ratio(figures, own)
            out.append(f"| {name} |{cells} {better} |")
        out.append("")
    for why in dict.fromkeys(why for _, why in skipped):
        out.append(f"- {', '.join(name for name, reason in skipped if reason == why)}: {why}")
    if skipped:
        out.append("")
    return out


def markdown(results, notes, about):
    """The document: a table for each workload."""
    out = ["# Performance, side by side", "", *about, ""]
    for result in results:
        out += table(*result)
    return "\n".join([*out, *notes, ""])


def plot(results):
    """CPU seconds for a GB of input, a group of bars for each workload, as SVG."""
    groups = [(title, [(n, f["cpu_gb"][1]) for n, f in rows if "cpu_gb" in f]) for title, rows, _ in results]
    groups = [(title, bars) for title, bars in groups if bars]
    names = list(dict.fromkeys(name for _, bars in groups for name, _ in bars))
    most = max((value for _, bars in groups for _, value in bars), default=1)
    left, width, bar, y, body = 130, 460, 15, 46, []
    for title, bars in groups:
        body.append(f'<text x="10" y="{y}" class="t">{escaped(title)}</text>')
        y += 8
        for name, value in bars:
            long = max(1.5, width * value / most)
            colour = COLOURS[names.index(name) % len(COLOURS)]
            body.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{escaped(name)}</text>')
            body.append(f'<rect x="{left}" y="{y}" width="{long:.1f}" height="{bar - 3}" fill="{colour}"/>')
            body.append(f'<text x="{left + long + 5:.1f}" y="{y + 11}">{number(value)}</text>')
            y += bar
        y += 24
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 680 {y}" font-family="sans-serif" font-size="11">'
    style = '<style>text{fill:#333}.t{font-weight:bold}</style><rect width="100%" height="100%" fill="#fff"/>'
    title = '<text x="10" y="20" font-size="14">CPU seconds for each GB of input; less is better</text>'
    return "\n".join([head, style, title, *body, "</svg>", ""])


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def write_part(page, heading, text, following):
    """Puts a part of the document, which begins with its heading, in the place of the one before, ahead of the part that follows."""
    before, mark, after = page.read_text().partition(following)
    page.write_text(before.partition(heading)[0] + text + mark + after)
    print(f"\nwritten: {page}")
