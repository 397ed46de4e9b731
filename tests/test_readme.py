"""What the README shows runs as written."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    assert len(blocks) >= 2
    namespace: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_commands_exist():
    shown = set(re.findall(r"^meanforce ([a-z]+)", README.read_text(), re.M))
    told = subprocess.run(
        [sys.executable, "-m", "meanforce", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert shown >= {"template", "run", "inspect"}
    for verb in shown:
        assert re.search(rf"\b{verb}\b", told), verb
