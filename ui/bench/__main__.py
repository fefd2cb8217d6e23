"""Measures the product: speed, generation, large, detection, closeness, mark and memorise.

    python -m ui.bench speed --images ../shared/data/known
    python -m ui.bench generation
    python -m ui.bench generation --model sdxl
    python -m ui.bench large --images ../shared/data/known --references 100000
    python -m ui.bench detection --images ../shared/data/known --unrelated ../shared/data/train
    python -m ui.bench closeness --pictures 200
    python -m ui.bench mark --images ../shared/data/known --unrelated ../shared/data/train
    python -m ui.bench memorise --run runs/memorise

Speed is told as ratios within one run: an absolute time says more of the machine than of the code.
"""

import argparse
from pathlib import Path

from provenance.threads import one_thread_for_products

KNOWN = Path("../shared/data/known")  # where they are


def main() -> None:
    one_thread_for_products()  # as the program does
    from ui.bench import closeness, detection, generation, large, mark, memorise, speed
    from ui.demo import GALLERY

    parser = argparse.ArgumentParser(
        prog="python -m ui.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        choices=["speed", "generation", "detection", "large", "closeness", "mark", "memorise"],
    )
    parser.add_argument(
        "--images", type=Path, help=f"known pictures (default: {KNOWN}, or the demo gallery)"
    )
    parser.add_argument(
        "--unrelated", type=Path, help="pictures that are none of them (default: every fifth)"
    )
    parser.add_argument("--every", type=int, default=4, help="edit every N-th known picture")
    parser.add_argument("--strangers", type=int, default=1000, help="unrelated pictures at most")
    parser.add_argument("--side", type=int, default=384, help="pixels of a reference, at most")
    parser.add_argument(
        "--distractors", type=int, default=0, help="further references, parts of pictures"
    )
    parser.add_argument(
        "--distract", type=Path, help="pictures to make those of (default: the unrelated left over)"
    )
    parser.add_argument(
        "--references", type=int, default=100_000, help="of the large library, most of them made up"
    )
    parser.add_argument(
        "--pictures", type=int, help="to paint and check (closeness: 200, generation: 16)"
    )
    parser.add_argument(
        "--model",
        default="starter",
        help="whose generation is measured: as for --model, or sdxl or flux with random weights",
    )
    parser.add_argument(
        "--run",
        type=Path,
        default=Path("runs/memorise"),
        help="folder of the model that is made to know the gallery by heart",
    )
    args = parser.parse_args()
    images = args.images or (KNOWN if KNOWN.is_dir() else GALLERY)
    if args.what == "speed":
        speed.measure(images)
    elif args.what == "large":
        large.measure(images, args.references)
    elif args.what == "closeness":
        closeness.measure(args.pictures or 200)
    elif args.what == "generation":
        generation.measure(args.model, args.pictures or 16)
    elif args.what == "memorise":
        memorise.measure(args.run)
    elif args.what == "mark":
        mark.measure(images, args.unrelated, args.every, (1024, 512, 256))
    else:
        detection.measure(
            detection.plan(
                images,
                args.unrelated,
                args.every,
                args.strangers,
                args.side,
                args.distractors,
                args.distract,
            )
        )


if __name__ == "__main__":
    main()
