"""Coverage-guided fuzzing of one kind of file with atheris (``pip install atheris``; not among the dependencies).

    python -m Testing.Fuzz.guided KIND --seconds 120 --output FOLDER

Inputs that reach new lines of the readers are kept and damaged further. An input that raises anything but a
ReShapeITError ends the run and is kept in the folder as ``crash-*``; one that takes longer than 20 s as ``timeout-*``.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Command line."""
    import atheris

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args()
    with atheris.instrument_imports(include=["ReShapeITLib", "Testing.Fuzz.targets"]):
        from ReShapeITLib.core.errors import ReShapeITError
        from Testing.Fuzz.targets import make_targets

    corpus = told.output / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        target = make_targets(folder)[told.kind]
        for number, seed in enumerate(target.seeds):
            (corpus / f"seed{number}").write_bytes(seed)
        path = folder / f"damaged{target.suffix}"

        def read(content: bytes) -> None:
            path.write_bytes(content)
            with contextlib.suppress(ReShapeITError):
                target.read(path)

        words = [sys.argv[0], str(corpus), f"-max_total_time={told.seconds}", f"-artifact_prefix={told.output}/"]
        atheris.Setup([*words, "-timeout=20", "-rss_limit_mb=6000", "-max_len=20000"], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
