"""The engine on an NVIDIA GPU, beside the processor of the same machine: start-up, refinements, voxels, training.

    pip install torch --index-url https://download.pytorch.org/whl/cu126
    pip install .
    python -m Testing.Benchmarks.gpu [--minutes 8] [--output gpu.json] [--only startup,draft_liver,training]

The wheels above are all that it needs; organs are drawn from the shipped templates and damaged, so no data is needed.
Five lobes are a patient of the development data where that is there; elsewhere each lobe is drawn from its own template
and the lobes lie apart, because their templates do not say how they lie to each other. A Markdown table is printed, the
JSON file is written anew after each part, and what no time is left for is named. A part that fails is told; the others
go on. The exit code is 1 where a part failed or voxels differ too much (Dice below 0.9999), 2 without a GPU.

Refinements go from file to file in this process: the first one, then the median of ``--rounds``. 200 epochs of 40
shapes are the 500 steps of the preset ``paper``. ``--full-precision`` forbids the TF32 that torch allows in
convolutions. ``--device cpu`` tries the script out, small; its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from Testing.Benchmarks.gpu_parts import EPOCHS, Bench, Clock
from Testing.Benchmarks.measuring import machine, rounded

ORGANS, PRESETS = ("pancreas", "liver", "five_lobes"), ("draft", "standard")
REFINEMENTS = {f"{preset}_{organ}": (preset, organ) for organ in ORGANS for preset in PRESETS}
PARTS = ("startup", *REFINEMENTS, "training")
ASKED_DICE = 0.9999


def measure(bench: Bench, only: list[str], output: Path | None) -> dict:
    """All parts, then the refinements on the processor; ``output`` is written after each."""
    results: dict = {"benchmark": "gpu", "device": bench.device, "machine": _machine(bench.device), "parts": {}}
    parts = results["parts"]

    def run(name: str, work, *arguments) -> None:
        told = parts.setdefault(name, {})
        if bench.clock.left_s <= 0:
            told.setdefault("left_out", "no time was left")
        else:
            try:
                told |= work(*arguments)
            except Exception as error:  # noqa: BLE001 - the other parts go on
                over = bench.clock.left_s <= 0
                told["left_out" if over else "failed"] = "its time was over" if over else _sentence(error)
        print(name, told, file=sys.stderr, flush=True)
        if output:
            output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    for name in only:
        if name in REFINEMENTS:
            run(name, bench.refinement, *REFINEMENTS[name])
        else:
            run(name, getattr(bench, name))
    for name in only:
        if name in REFINEMENTS and "wall_s" in parts[name]:
            run(name, bench.on_processor, *REFINEMENTS[name])
    results["minutes_left"] = rounded(bench.clock.left_s / 60.0)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def table(results: dict) -> str:
    """Markdown: machine, start-up, refinements, training, and what was left out or failed."""
    parts, about, device = results["parts"], results["machine"], results["device"]
    name = about.get("gpu") or about["processor"]
    lines = [f"{name}, torch {about['torch']}, {about['cores']} cores, device {device}", ""]
    if "first_answer_s" in parts.get("startup", {}):
        told = parts["startup"]
        lines += ["| start-up, `draft` of a pancreas | s |", "|---|---|", f"| imports | {told['imports_s']} |"]
        lines += [f"| first answer of a new process | {told['first_answer_s']} |"]
        lines += [f"| second refinement of that process | {told['second_refinement_s']} |", ""]
    rows = [_row(name, parts[name]) for name in REFINEMENTS if "wall_s" in parts.get(name, {})]
    if rows:
        heads = [device, f"{device}, first time", "processor", "GPU memory", "Dice of the two", "voxels that differ"]
        lines += [f"| refinement | {' | '.join(heads)} |", "|---" * 7 + "|", *rows, ""]
    if "epoch_s" in parts.get("training", {}):
        lines += [_training_sentence(parts["training"]), ""]
    lines += [f"Failed: {n}: {told['failed']}" for n, told in parts.items() if "failed" in told]
    lines += [f"Not whole: {n}: {told['left_out']}" for n, told in parts.items() if "left_out" in told]
    return "\n".join(lines)


def _row(name: str, told: dict) -> str:
    memory, apart = told["gpu_memory_mb"], ", lobes apart" if "apart" in told["input"] else ""
    processor = f"{told['cpu_wall_s']} s" if "cpu_wall_s" in told else "-"
    cells = [
        f"{name.replace('_', ' ')}{apart}",
        f"{told['wall_s']} s",
        f"{told['first_s']} s",
        processor,
        "-" if memory is None else f"{memory} MB",
        told.get("dice", "-"),
        told.get("voxels_that_differ", "-"),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def _training_sentence(told: dict) -> str:
    whole = rounded(told[f"{EPOCHS}_epochs_s"] / 60.0)
    ran = f"{told['epochs_run']} epochs were run" + (", which is all" if told["all_epochs_run"] else "")
    per = f"an epoch of {told['shapes']} shapes takes {told['epoch_s']} s ({told['steps_measured']} steps measured)"
    return f"Training, the paper's configuration: {ran}; {per}, so {EPOCHS} epochs take {whole} minutes at that rate."


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _machine(device: str) -> dict:
    import torch

    told = machine()
    if device == "cuda":
        told |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "gpu_memory_gb": rounded(torch.cuda.get_device_properties(0).total_memory / 1e9),
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        }
    return told


def _failed(results: dict) -> bool:
    return any("failed" in told or told.get("dice", 1.0) < ASKED_DICE for told in results["parts"].values())


def main() -> int:
    """Command line."""
    import torch

    from ReShapeITLib.core.device import choose_device
    from ReShapeITLib.core.errors import BadInputError

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no part starts and refinements end")
    parser.add_argument("--output", type=Path, help="JSON file")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", type=int, default=40, help="of the training")
    parser.add_argument("--training-seconds", type=float, default=90.0, help="budget of the training's steps")
    parser.add_argument("--full-precision", action="store_true", help="no TF32 in convolutions")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    only = [name for name in PARTS if name in arguments.only.split(",")]
    unknown = set(arguments.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} is no part; parts are {', '.join(PARTS)}")
    try:
        choose_device(arguments.device)
    except BadInputError as error:
        print(f"This benchmark needs an NVIDIA GPU: {error}", file=sys.stderr)
        return 2
    torch.backends.cudnn.allow_tf32 = not arguments.full_precision
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            arguments.device,
            Path(folder),
            Clock(arguments.minutes),
            arguments.rounds,
            arguments.shapes,
            arguments.training_seconds,
        )
        results = measure(bench, only, arguments.output)
    print(table(results))
    return int(_failed(results))


if __name__ == "__main__":
    sys.exit(main())
