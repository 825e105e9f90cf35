"""The fingerprint as lines for a terminal."""

from collections.abc import Iterator, Sequence

from input_pipeline.fingerprint.dataset_fingerprint import Class, Fingerprint, Spread

MOST_GROUPS = 8  # in one line


def lines(found: Fingerprint) -> list[str]:
    """Counts, sizes and grey values, a table of the classes, then warnings and notes."""
    rows = [*_counts(found), *_geometry(found), *_intensity(found)]
    text = [f"{found.title} ({found.version})", *(f"{label:11}{words}" for label, words in rows)]
    if found.n_labelled:
        text += ["", *_table(found)]
    remarks = [*(f"warning: {each}" for each in found.warnings), *(f"note: {each}" for each in found.notes)]
    return text + ([""] if remarks else []) + remarks


def _counts(found: Fingerprint) -> Iterator[tuple[str, str]]:
    unlabelled = found.n_images - found.n_labelled
    yield found.words.unit, f"{found.n_images:,}: {found.n_labelled:,} labelled, {unlabelled:,} unlabelled"
    several = found.n_images > found.n_subjects
    each = (
        f"{_range(found.images_a_subject)} {found.words.unit} each" if several else f"one {found.words.unit[:-1]} each"
    )
    partly = f"; {found.n_labelled_subjects:,} with labels" if 0 < found.n_labelled_subjects < found.n_subjects else ""
    yield "subjects", f"{found.n_subjects:,}, {each}{partly}"
    if found.groups:
        some = [f"{name} {count:,}" for name, count in list(found.groups.items())[:MOST_GROUPS]]
        more = [f"and {len(found.groups) - MOST_GROUPS} more"] if len(found.groups) > MOST_GROUPS else []
        yield "groups", ", ".join(some + more)


def _geometry(found: Fingerprint) -> Iterator[tuple[str, str]]:
    sizes, spacing = found.sizes, found.spacing
    yield "size", f"{_axes(sizes.axes, found.words.axes)} px"
    if sizes.n_distinct > 1:
        commonest, share = " × ".join(map(str, sizes.commonest)), _percent(sizes.n_commonest / found.n_images)
        yield "", f"{sizes.n_distinct:,} different sizes; {share} are {commonest}"
    if spacing.axes_mm is None or spacing.anisotropy is None:
        yield "spacing", "unknown"
        return
    known = "known for all" if spacing.n_known == found.n_images else f"known for {spacing.n_known:,}"
    square = spacing.anisotropy.maximum < 1.0005
    shape = found.words.even if square else f"longest side {_range(spacing.anisotropy)} times the shortest"
    yield "spacing", f"{_axes(spacing.axes_mm, found.words.axes)} mm"
    yield "", f"{known}; {shape}"


def _intensity(found: Fingerprint) -> Iterator[tuple[str, str]]:
    for number, channel in enumerate(found.intensity, 1):
        label = "intensity" if len(found.intensity) == 1 else f"channel {number}"
        black = f"{_percent(channel.black)} black; the rest has"
        yield label, f"{black} mean {channel.mean:,.1f}, SD {channel.sd:,.1f} of {channel.highest:,}"
        values = " / ".join(f"{value:,}" for value in channel.percentiles.values())
        yield "", f"percentiles {' / '.join(channel.percentiles)}: {values}"
    if found.n_sampled < found.n_images:
        yield "", f"of {found.n_sampled:,} {found.words.unit} drawn at random"


def _table(found: Fingerprint) -> list[str]:
    extents = [f"{unit}: median (5 – 95 %)" for unit in (found.words.pixel, found.words.extent)]
    head = ["class", "of all pixels", "shown by", "", *extents]
    rows = [head, *(_row(each) for each in found.classes)]
    if all(each.extent_mm is None for each in found.classes):
        rows = [row[:-1] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(_align(cell, width, i) for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _row(each: Class) -> list[str]:
    extents = ["—" if extent is None else _middle(extent) for extent in (each.extent_px, each.extent_mm)]
    share, presence = each.share or 0.0, each.presence or 0.0  # there is no table where nothing is labelled
    return [each.name, _percent(share), f"{each.n_images:,}", _percent(presence), *extents]


def _middle(spread: Spread) -> str:
    return f"{_number(spread.median)} ({_number(spread.p5)} – {_number(spread.p95)})"


def _axes(spreads: Sequence[Spread], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {_range(spread)}" for name, spread in zip(names, spreads, strict=True))


def _range(spread: Spread) -> str:
    """Minimum, maximum and median; one number where they agree."""
    low, middle, high = map(_number, (spread.minimum, spread.median, spread.maximum))
    return low if low == high else f"{low} – {high} (median {middle})"


def _percent(share: float) -> str:
    """At most three digits; 0 % and 100 % are exact."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:
        return "< 0.1 %"
    return "> 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def _number(value: float) -> str:
    """Three significant digits of a fraction; whole numbers in full."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
