"""Running it: commands, settings, split, cost, claims, and what the figures rest on."""

from fitserve.emit.commands import shell_texts
from fitserve.emit.of_plan import served_of
from fitserve.emit.steps import steps
from fitserve.foundation.reasons import Reason
from fitserve.guides.types import CommandSet, Guide, SplitGuide
from fitserve.render.guide.hardware_sections import link_name
from fitserve.render.guide.words import Words, engine_name, format_name, gib_text, model_name
from fitserve.render.human import bytes_text
from fitserve.render.money import money_text, price_text
from fitserve.render.page.document import Block, Bullets, Cell, Code, Heading, Paragraph, Section, Table

_HOURS_PER_DAY, _DAYS_PER_MONTH = 24, 30.4375
_FORMS = (
    ("linux", "bash", "bash"),
    ("windows", "powershell", "powershell"),
    ("docker", "docker", "bash"),
    ("compose", "compose", "yaml"),
)
_BATCHED = {"vllm", "sglang", "tensorrt-llm", "tgi"}
_TABLE_CLAIMS = ("limit", "size", "runs", "room", "speed_impossible", "speed", "speed_of_nothing")


def commands_section(guide: Guide, words: Words) -> Section:
    """The first set-up in every form, the others in that of the machine."""
    blocks: list[Block] = []
    shown: set[tuple[str, ...]] = set()
    for number, made in enumerate(guide.commands):
        if made.command.argv in shown:
            continue
        shown.add(made.command.argv)
        deployment = made.setup.item.deployment
        what = f"{model_name(deployment.model.id)} {format_name(deployment.weight_format.name)}"
        title = f"{words(f'purpose_{made.setup.purpose}')}: {what} · {engine_name(deployment.engine)}"
        blocks.append(Heading(text=title))
        blocks += _all_forms(made, words) if number == 0 else _own_form(guide, made, words)
    if not blocks:
        blocks.append(Paragraph(text=words("no_setup")))
    else:
        blocks.append(Paragraph(text=words("commands_note"), is_note=True))
    return Section(id="commands", title=words("title_commands"), blocks=tuple(blocks))


def _before(made: CommandSet, words: Words) -> list[Block]:
    """Download and files that the command needs."""
    blocks: list[Block] = []
    step = steps(served_of(made.setup.item, made.command))["download"]
    if step is not None and step.shells["bash"]:
        blocks.append(Code(text=step.shells["bash"], language="bash", title=words("download")))
    blocks += [Code(text=file.text, title=words("file_named", path=file.path)) for file in made.command.files]
    if made.setup.item.deployment.weight_format.gguf_mix and step is None:
        blocks.append(Paragraph(text=words("gguf_file", file=made.command.model_file or "")))
    return blocks


def _all_forms(made: CommandSet, words: Words) -> list[Block]:
    blocks = _before(made, words)
    texts = shell_texts(made.command, made.is_native)
    is_mac = made.setup.item.deployment.machine.host.os == "macos"
    for code, shell, language in _FORMS:
        text = texts.get(shell)
        if text is not None and not (is_mac and code == "windows"):
            blocks.append(Code(text=text, language=language, title=words(f"form_{code}")))
    test = steps(served_of(made.setup.item, made.command))["smoke_test"]
    if test is not None and test.shells["bash"]:
        blocks.append(Code(text=test.shells["bash"], language="bash", title=words("first_request")))
    return blocks


def _own_form(guide: Guide, made: CommandSet, words: Words) -> list[Block]:
    shell = "powershell" if guide.machine.host.os == "windows" else "bash"
    text = shell_texts(made.command, made.is_native)[shell]
    return [*_before(made, words), *([Code(text=text, language=shell)] if text else [])]


def settings_section(guide: Guide, words: Words) -> Section:
    """Options and variables: name, value, why, where it is written."""
    rows = tuple(
        (
            Cell(text=f"`{item.name}`"), Cell(text=f"`{item.value}`"),
            Cell(text=words("everywhere") if item.engine is None else f"{engine_name(item.engine)} {item.version}"),
            Cell(text=words(f"setting_{item.code}", dict(item.parameters))), Cell(text=item.source.ref),
        )
        for item in guide.settings
    )  # fmt: skip
    lead = Paragraph(text=words("settings_lead"))
    table = Table(headings=words.heads("setting", "value", "where", "why", "source"), rows=rows)
    return Section(id="settings", title=words("title_settings"), blocks=(lead, table))


def split_section(guide: Guide, words: Words) -> Section | None:
    """Layers by device and the options for it; None for one device."""
    split = guide.split
    if split is None:
        return None
    deployment = split.item.deployment
    named = {"model": model_name(deployment.model.id), "format": format_name(deployment.weight_format.name)}
    rows = tuple(
        (
            Cell(text=words("bar_name", device=part.device, gpu=guide.machine.devices[part.device].name)),
            Cell(text=f"{part.first_layer}–{part.last_layer}"), Cell(text=str(part.last_layer - part.first_layer + 1)),
            Cell(text=gib_text(part.weights_bytes)), Cell(text=gib_text(part.used_bytes)),
        )
        for part in split.parts
    )  # fmt: skip
    flags = f"--split-mode layer --tensor-split {split.tensor_split}"
    link = min(guide.profiles, key=lambda profile: profile.link_bytes_per_s or 0.0)
    blocks: list[Block] = [
        Paragraph(text=words("split_lead", named)),
        Table(headings=words.heads("device", "layers", ">count", ">weights_gib", ">used_gib"), rows=rows),
        Heading(text="llama.cpp"),
        Code(text=flags, language="sh"),
        Paragraph(text=words("split_modes")),
        Heading(text="Transformers"),
        Code(text=_device_map(split), language="python"),
        Paragraph(text=words("split_map")),
    ]
    if split.tp:
        blocks.append(Heading(text="vLLM"))
        blocks.append(Bullets(items=tuple(_size_text(size, reason, words) for size, reason in split.tp)))
    if link.link_bytes_per_s:
        blocks.append(
            Paragraph(
                text=words(
                    "split_link",
                    hop_bytes=split.hop_bytes,
                    link=link_name(link.link_name),
                    rate=f"{link.link_bytes_per_s / 1e9:,.0f}",
                )
            )
        )
    return Section(id="split", title=words("title_split"), blocks=tuple(blocks))


def _size_text(size: int, reason: Reason | None, words: Words) -> str:
    if reason is None:
        return words("tp_works", size=size)
    return words("tp_refused", size=size, why=words.texts.reason(reason))


def _device_map(split: SplitGuide) -> str:
    """A dictionary as Transformers takes it: module names, no ranges."""
    first, last = split.parts[0].device, split.parts[-1].device
    lines = ["device_map = {", f'    "model.embed_tokens": {first},', f'    "model.rotary_emb": {first},']
    lines += [
        f'    **{{f"model.layers.{{i}}": {part.device} for i in range({part.first_layer}, {part.last_layer + 1})}},'
        for part in split.parts
    ]
    return "\n".join([*lines, f'    "model.norm": {last},', f'    "lm_head": {last},', "}"])


def cost_section(guide: Guide, words: Words) -> Section:
    """Electricity and rent."""
    cost, blocks = guide.cost, []
    if cost.watts is None:
        blocks.append(words("power_unknown"))
    else:
        kwh_day = cost.watts / 1000 * _HOURS_PER_DAY
        blocks.append(
            words(
                "energy", watts=f"{cost.watts:,.0f}", day=f"{kwh_day:,.1f}", month=f"{kwh_day * _DAYS_PER_MONTH:,.0f}"
            )
        )
        if cost.usd_per_kwh is not None:
            usd = float(cost.usd_per_kwh) * kwh_day * _DAYS_PER_MONTH
            amount = money_text(usd * float(cost.rate.per_usd), cost.rate.currency, words.texts.language)
            blocks.append(words("energy_price", price=f"${cost.usd_per_kwh}", amount=amount))
        else:
            blocks.append(words("energy_ask"))
    if cost.kwh_per_million is not None and cost.item is not None:
        blocks.append(
            words("energy_tokens", model=model_name(cost.item.deployment.model.id), kwh=f"{cost.kwh_per_million:,.1f}")
        )
    if cost.rent is None:
        blocks.append(words("rent_unknown" if guide.machine.devices else "rent_cpu"))
    else:
        quotes = cost.rent.quotes
        low, middle, high = cost.rent.cheapest, cost.rent.median, cost.rent.highest
        prices = {
            key: price_text(cost.rate.of(quote.usd_per_hour), cost.rate.currency, words.texts.language)
            for key, quote in (("low", low), ("middle", middle), ("high", high))
        }
        dates = [quote.price_date for quote in quotes if quote.price_date]
        blocks.append(
            words(
                "rent",
                prices,
                count=len(quotes),
                provider=middle.provider,
                oldest=min(dates, default="?"),
                newest=max(dates, default="?"),
            )
        )
    return Section(id="cost", title=words("title_cost"), blocks=(Bullets(items=tuple(blocks)),))


def claims_section(guide: Guide, words: Words) -> Section:
    """What is said, and what is so: figures in tables, the rest in sentences."""
    blocks: list[Block] = [Paragraph(text=words("claims_lead"))]
    groups = (("limit",), ("size",), ("runs", "room"), ("speed_impossible", "speed", "speed_of_nothing"))
    for codes in groups:
        found = [claim for claim in guide.claims if claim.code in codes]
        rows = tuple(
            (
                Cell(text=_quoted(words.texts.text("claim", claim.says, dict(claim.parameters)), words)),
                Cell(text=words.texts.text("truth", claim.code, dict(claim.parameters))),
            )
            for claim in found
        )
        if rows:
            blocks.append(Heading(text=words(f"claims_{codes[0]}")))
            blocks.append(Table(headings=words.heads("claim", "truth"), rows=rows))
    rest = [claim for claim in guide.claims if claim.code not in _TABLE_CLAIMS]
    items = []
    for claim in rest:
        named = dict(claim.parameters)
        if "link" in named:
            named["link"] = link_name(str(named["link"]))
        says = words.texts.text("claim", claim.says, named)
        items.append(f"**{_quoted(says, words)}** {words.texts.text('truth', claim.code, named)}")
    if items:
        blocks += [Heading(text=words("claims_more")), Bullets(items=tuple(items))]
    return Section(id="claims", title=words("title_claims"), blocks=tuple(blocks))


def _quoted(text: str, words: Words) -> str:
    return f"“{text}”"


def basis_section(guide: Guide, words: Words) -> Section:
    """What the figures rest on."""
    items = [words(f"basis_{name}") for name in ("memory", "speed", "quality", "support", "prices")]
    capacity = [bytes_text(device.memory_bytes) for device in guide.machine.devices[:1]]
    if capacity and any(device.is_recalled and not device.is_unified for device in guide.machine.devices):
        items.append(words("basis_memory_recalled", memory=capacity[0]))
    return Section(id="basis", title=words("title_basis"), blocks=(Bullets(items=tuple(items)),))
