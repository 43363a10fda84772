"""Stands for verl's SFT trainer: reads its settings from the command line, logs steps, writes checkpoints, resumes.

Run as a module by the tests of stages, never imported by them. `STEPS` steps, a checkpoint every second one.
FAKE_HANG=n waits after step n until it is killed, FAKE_FAIL=n fails there, FAKE_NO_WEIGHTS leaves a checkpoint without
weights.
"""

import json
import os
import sys
import time
from pathlib import Path

STEPS = 6


def main() -> None:
    options = dict(text.lstrip("+").split("=", 1) for text in sys.argv[1:] if "=" in text)
    folder = Path(options["trainer.default_local_dir"].strip("'"))
    folder.mkdir(parents=True, exist_ok=True)
    tracker = folder / "latest_checkpointed_iteration.txt"
    first = int(tracker.read_text()) if tracker.exists() else 0
    start = json.loads((Path(options["model.path"].strip("'")) / "config.json").read_text())["history"]
    with open(os.environ["VERL_FILE_LOGGER_PATH"], "w", encoding="utf-8") as metrics:
        for step in range(first + 1, STEPS + 1):
            print(f"Epoch 1/1:  10%|#   | {step - 1}/{STEPS} [00:01<00:01]", flush=True)
            metrics.write(json.dumps({"step": step, "data": {"train/loss": 1.0 / step, "launch": os.getpid()}}) + "\n")
            metrics.flush()
            if step % 2 == 0:
                save(folder, step, [*start, options["trainer.seed"]])
                tracker.write_text(str(step))
            if step == int(os.environ.get("FAKE_FAIL", "0")):
                raise SystemExit("the disk is full")
            if step == int(os.environ.get("FAKE_HANG", "0")):
                time.sleep(600)


def save(folder: Path, step: int, history: list[str]) -> None:
    model = folder / f"global_step_{step}" / "huggingface"
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text(json.dumps({"history": history}))
    if "FAKE_NO_WEIGHTS" not in os.environ:
        (model / "model.safetensors").write_bytes(b"weights of " + repr(history).encode())


if __name__ == "__main__":
    main()
